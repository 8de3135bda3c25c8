"""How long to wait for the rest of a trace: learned from what each service shows.

What is learned of pauses depends on record times alone, not on how many records are read at a time.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from dimwatch.clock import NS_PER_SECOND
from dimwatch.settings import Assembly

Codes = npt.NDArray[np.int64]
Levels = npt.NDArray[np.float64]

_GAP_FACTOR: Final = 3.0
"""How many times the longest recent gap a service's traces may pause before they count as over."""
_GAP_FADES_NS: Final = 900.0 * NS_PER_SECOND
"""After that time without another one a gap counts for 1/e of its length."""
_ROOTLESS_WEIGHT: Final = 0.2
_ROOTLESS: Final = 0.6
"""From this share of traces without a root on, a service is one whose roots live elsewhere: nobody waits for them."""
_MAX_SERVICES: Final = 10_000
_UNKNOWN: Final = -np.inf


class Patience:
    """Waits by service. A service is a small number that `codes` gives."""

    def __init__(self, settings: Assembly) -> None:
        self.linger_ns: Final = int(settings.linger_s * NS_PER_SECOND)
        self.idle_ns: Final = int(settings.idle_s * NS_PER_SECOND)
        self._longest_ns = int(settings.max_idle_s * NS_PER_SECOND)
        self._code_of: dict[str, int] = {}
        self._names: list[str] = []
        # By service, the logarithm of its longest gap plus the time at which that ended in units of the fading: as
        # the gap fades, this stays the same.
        self._levels: Levels = np.empty(0)
        self._rootless: Levels = np.empty(0)

    def codes(self, services: list[str]) -> Codes:
        """Numbers of services. Beyond a bound, new services share one."""
        return np.array([self._code(service) for service in services], dtype=np.int64)

    def _code(self, service: str) -> int:
        code = self._code_of.get(service)
        if code is None:
            if len(self._names) > _MAX_SERVICES:
                return _MAX_SERVICES
            code = self._code_of[service] = len(self._names)
            self._names.append(service)
            if code >= len(self._levels):
                more = max(64, code)
                self._levels = np.append(self._levels, np.full(more, _UNKNOWN))
                self._rootless = np.append(self._rootless, np.zeros(more))
        return code

    def names(self, codes: Codes) -> list[str]:
        """The services with these numbers."""
        return [self._names[code] if code >= 0 else "" for code in codes.tolist()]

    def waits_ns(self, codes: Codes, at_ns: Codes, gaps_ns: Codes) -> Codes:
        """By row: how long to wait while the root is missing. `gaps_ns` are the pauses that ended at the rows' times;
        a row's wait follows from those until then."""
        if not len(codes):
            return np.empty(0, dtype=np.int64)
        order = np.lexsort((at_ns, codes))
        code, at = codes[order], at_ns[order]
        times = at / _GAP_FADES_NS
        levels = np.log(np.clip(gaps_ns[order], 1, self._longest_ns)) + times
        starts = np.flatnonzero(np.append(True, code[1:] != code[:-1])).tolist()
        for begin, end in zip(starts, [*starts[1:], len(code)], strict=True):
            own = levels[begin:end]
            own[0] = max(own[0], self._levels[code[begin]])
            np.maximum.accumulate(own, out=own)
            # Rows of one moment know of each other, in whatever order they stand.
            own[:] = own[np.searchsorted(at[begin:end], at[begin:end], side="right") - 1]
            self._levels[code[begin]] = own[-1]
        base = np.where(self._rootless[code] >= _ROOTLESS, self.linger_ns, self.idle_ns)
        waits = np.empty(len(codes), dtype=np.int64)
        waits[order] = np.clip(_GAP_FACTOR * np.exp(levels - times), base, self._longest_ns)
        return waits

    def learn_roots(self, codes: Codes, rooted: npt.NDArray[np.bool_]) -> None:
        """Traces of these services have come to their end, with a root or without."""
        for code in np.unique(codes).tolist():
            share = 1.0 - float(rooted[codes == code].mean())
            self._rootless[code] += _ROOTLESS_WEIGHT * (share - self._rootless[code])

    def levels(self) -> Levels:
        """What is known of pauses, to set it back to that later."""
        return self._levels.copy()

    def set_back(self, codes: Codes, levels: Levels) -> None:
        """Forget what was learned of pauses of these services since `levels` were taken (by service)."""
        known = np.full(len(self._levels), _UNKNOWN)
        known[: len(levels)] = levels
        self._levels[codes] = known[codes]

    def state(self, levels: Levels | None = None) -> dict[str, tuple[float, float]]:
        """What has been learned, by service: of pauses (as `levels` say), and the share of traces without a root."""
        levels = self._levels if levels is None else levels
        return {
            service: (float(levels[code]), float(self._rootless[code]))
            for code, service in enumerate(self._names[: len(levels)])
            if np.isfinite(levels[code])
        }

    def restore(self, state: dict[str, tuple[float, float]]) -> None:
        """Take up what had been learned."""
        for service, (level, rootless) in state.items():
            code = self._code(service)
            self._levels[code], self._rootless[code] = level, rootless
