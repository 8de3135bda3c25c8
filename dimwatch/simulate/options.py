"""How durations, faults and scheduled effects are written on the command line."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from dimwatch.errors import InvalidError
from dimwatch.simulate.agents import FLEET
from dimwatch.simulate.faults import DEFAULT_SHARES, shares
from dimwatch.simulate.models import MODELS, NS, PROVIDERS
from dimwatch.simulate.scenario import Brownout, Effect, EmptyTool, ModelChange, Scenario

_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_FOR_EVER: Final = 1 << 62


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


def scenario(
    begin_ns: int, brownouts: Iterable[str], model_changes: Iterable[str], empty_tools: Iterable[str]
) -> Scenario:
    """Effects whose times count from the start of simulated time. Raises InvalidError."""
    tools = {tool.name for agent in FLEET for tool in agent.tools}
    effects: list[Effect] = []
    for text in brownouts:
        provider, start, end = _span(text, begin_ns)
        effects.append(Brownout(_known("provider", provider, PROVIDERS), start, end))
    for text in model_changes:
        names, start, _ = _span(text, begin_ns)
        model, _, answered = names.partition("=")
        if not answered:
            raise InvalidError(f"{text!r} is not a model change; write for example gpt-4.1=gpt-4.1-nano@5m")
        effects.append(ModelChange(_known("model", model, [model.name for model in MODELS]), answered, start))
    for text in empty_tools:
        tool, start, end = _span(text, begin_ns)
        effects.append(EmptyTool(_known("tool", tool, sorted(tools)), start, end))
    return Scenario(tuple(effects))


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
