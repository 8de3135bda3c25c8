"""When a change on purpose makes a new level normal.

Somebody who gives an agent another prompt, tool, model or release means its tokens, steps and times to change; to
alarm about it all day long would teach people to look away. So a level counts as normal at once, with before and
after in the ledger's entry, if

- the change is of the agent's own making (release, prompt, tools, model asked for, instrumentation), and took place
  about two hours ago at most,
- the level moved: by the 99% interval of the entry more than the engine tolerates anyway, by a factor of at most
  `BOUND`, and the interval does not reach half as far again,
- it moved with the change: at least three quarters of the shift were there in the first half of the time since then,
  and less than half of it in the last quarter of an hour before.

That is looked at whenever the time since the change has doubled: a busy agent shows it in minutes, another in hours.
Failures of any kind, empty answers and silence are never excused, nor is what is larger: that is an incident, with
the change as its likeliest cause.
"""

from __future__ import annotations

import math
from typing import Final

from detectors.windows.minute import MINUTE_NS
from detectors.windows.signals import SIGNALS, Form

EXCUSES_NS: Final = tuple(minutes * MINUTE_NS for minutes in (4, 8, 16, 32, 64, 128))
"""When it is looked at, after the change; the half of it is when what was early is kept."""
TOGETHER_NS: Final = 10 * MINUTE_NS
"""Changes of an agent so close to each other are one: a release with its prompt and tools excuses a shift once."""

EXCUSABLE: Final = frozenset(signal.name for signal in SIGNALS if signal.form is Form.LEVEL)
TOLERATED: Final = 0.1
"""A shift that may be smaller needs no excuse: the engine does not page for it by itself."""
BOUND: Final = 2.0
BOUNDS: Final = {"run_cost": 1.5}
"""Largest factor up or down that is excused, and of money."""


def excused(
    signal: str, limits: tuple[float, float] | None, shift: float, early: float | None, latest: float | None
) -> bool | None:
    """Whether a shift of the mean logarithm counts as normal: False if it is too large, None while it can not be told.

    `limits` are those of the shift, `early` is the shift of the first half of the time since and `latest` that of the
    last quarter of an hour before it, both against the hour before; None where nothing was measured then.
    """
    if signal not in EXCUSABLE or limits is None or limits[0] <= 0 <= limits[1]:
        return None
    near, far = sorted(abs(limit) for limit in limits)
    if near < math.log(1 + TOLERATED):
        return None
    bound = BOUNDS.get(signal, BOUND)
    if near > math.log(bound):
        return False
    size, sign = abs(shift), math.copysign(1.0, shift)
    with_it = early is not None and early * sign >= 0.75 * size and (latest or 0.0) * sign < 0.5 * size
    return True if with_it and size <= math.log(bound) and far <= math.log(1.5 * bound) else None
