"""How durations, faults and scheduled effects are written on the command line."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import Final

from dimwatch.errors import InvalidError
from dimwatch.simulate.agents import FLEET
from dimwatch.simulate.faults import DEFAULT_SHARES, shares
from dimwatch.simulate.models import MODELS, NS, PROVIDERS
from dimwatch.simulate.scenario import PLACES, Effect, Kind, Scenario

_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_FOR_EVER: Final = 1 << 62
_NAMES: Final[Mapping[str, Collection[str]]] = {
    "provider": PROVIDERS,
    "model": [model.name for model in MODELS],
    "tool": sorted({tool.name for agent in FLEET for tool in agent.tools}),
    "agent": [agent.name for agent in FLEET],
}


def duration_ns(text: str) -> int:
    """`90`, `90s`, `1.5m`, `6h` or `2d`, in nanoseconds. Raises InvalidError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text.strip())
    if match is None:
        raise InvalidError(f"{text!r} is not a duration; write for example 90s, 5m, 6h or 2d")
    return int(float(match[1]) * _UNITS[match[2]] * NS)


def start_ns(since: str | None, now_ns: int) -> int:
    """When simulated time starts: now, a duration ago, or at a date and time (UTC unless it says otherwise)."""
    if since is None:
        return now_ns
    try:
        moment = datetime.fromisoformat(since)
    except ValueError:
        return now_ns - duration_ns(since)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * NS)


def fault_shares(texts: Iterable[str]) -> dict[str, float]:
    """`name=share` pairs on top of the defaults; `none` first sets all to zero. Raises InvalidError."""
    changes: dict[str, float] = {}
    for text in texts:
        if text == "none":
            changes |= dict.fromkeys(DEFAULT_SHARES, 0.0)
            continue
        name, _, number = text.partition("=")
        try:
            changes[name] = float(number)
        except ValueError:
            raise InvalidError(f"{text!r} is not a fault; write for example silent_tool_failure=0.03") from None
    return shares(changes)


def scenario(begin_ns: int, effects: Iterable[str]) -> Scenario:
    """Effects as `kind:where@start+length`, for example `brownout:openai@2m+5m`; a model change names what answers,
    as `model_change:gpt-4.1=gpt-4.1-nano@5m`. Times count from the start of simulated time. Raises InvalidError.
    """
    return Scenario(tuple(_effect(text, begin_ns) for text in effects))


def _effect(text: str, begin_ns: int) -> Effect:
    kind, _, what = text.partition(":")
    if kind not in set(Kind):
        raise InvalidError(f"unknown effect {kind!r}; there are {', '.join(Kind)}, as in brownout:openai@2m+5m")
    where, start, end = _span(what, begin_ns)
    answered = ""
    if kind == Kind.MODEL_CHANGE:
        where, _, answered = where.partition("=")
        if not answered:
            raise InvalidError(f"{what!r} is not a model change; write for example gpt-4.1=gpt-4.1-nano@5m")
    place = PLACES[Kind(kind)]
    return Effect(Kind(kind), _known(place, where, _NAMES[place]), start, end, answered)


def _span(text: str, begin_ns: int) -> tuple[str, int, int]:
    """`what@start+duration`; without a duration it lasts for ever."""
    what, at, when = text.rpartition("@")
    if not at:
        raise InvalidError(f"{text!r} lacks its time; write for example {text}@2m+5m")
    start, plus, length = when.partition("+")
    first = begin_ns + duration_ns(start)
    return what, first, first + duration_ns(length) if plus else _FOR_EVER


def _known(kind: str, name: str, names: Iterable[str]) -> str:
    if name not in names:
        raise InvalidError(f"unknown {kind} {name!r}; there are {', '.join(names)}")
    return name
