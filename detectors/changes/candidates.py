"""Which changes may have caused what happened to a node, likeliest first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from detectors.alerts import Node
from detectors.changes.change import Change

MOST: Final = 500

_WEIGHT: Final = {
    "release": 1.0,
    "prompt": 0.9,
    "model": 0.9,
    "answered_model": 0.9,
    "tools": 0.8,
    "tool": 0.6,
    "instrumentation": 0.4,
    "fingerprint": 0.3,
}
"""How often such a change is to blame, before anything else is known. A judgement, not a measurement."""


def ranked(changes: Iterable[Change], node: Node, start_ns: int, end_ns: int) -> list[Change]:
    """Those that took place within the time and could reach the node: by what they are, how much of the traffic they
    took, whether they name what the node names, and, for a node of several agents, how many of those changed alike."""
    found = [
        (change, fit)
        for change in changes
        if any(start_ns <= time <= end_ns for time in (change.time_ns, change.moved_ns)) and (fit := _fit(change, node))
    ]
    alike = Counter((change.attribute, change.key, change.after) for change, _ in found)
    score = {
        change.id: _WEIGHT.get(change.attribute, 0.2)
        * fit
        * max(change.share_after, 0.05 if change.after else change.share_before)
        * alike[change.attribute, change.key, change.after]
        for change, fit in found
    }
    found.sort(key=lambda item: (-score[item[0].id], -item[0].moved_ns, item[0].id))
    return [change for change, _ in found[:MOST]]


def _fit(change: Change, node: Node) -> float:
    """0 where the change can not reach the node, more where it names what the node names."""
    if any(node.value(name) not in ("", value) for name, value in (("tenant", change.tenant), ("agent", change.agent))):
        return 0.0
    fit = 1.0 if node.value("agent") else 0.5
    names = {change.before, change.after}
    model, tool, provider = node.value("model"), node.value("tool"), node.value("provider")
    if change.attribute in ("answered_model", "fingerprint") and model:
        if change.key and change.key != model:
            return 0.0
        fit *= 2.0
    if change.attribute == "model" and (model or provider):
        asked = [name.partition("/") if "/" in name else ("", "/", name) for name in names if name]
        if not any(model in ("", of[2], "".join(of)) and provider in ("", of[0]) for of in asked):
            return 0.0
        fit *= 2.0
    if change.attribute == "tool" and tool:
        if tool not in names:
            return 0.0
        fit *= 2.0
    if change.attribute == "release" and node.value("release"):
        fit *= 2.0 if node.value("release") == change.after else 0.5
    return fit
