"""What a rule is: facts about one trace, stated with evidence and a confidence. Deciding whether to wake somebody
is not a rule's business."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from detectors.traces.context import Context


class Severity(StrEnum):
    """How bad the fact is by itself. `INFO` facts count in the fleet's rates and disturb nobody."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(slots=True)
class Finding:
    """One fact: the span row it rests on, how sure it is, and why."""

    row: int
    confidence: float
    summary: str
    evidence: Mapping[str, object] = field(default_factory=dict)
    severity: Severity | None = None
    """None: the rule's own severity."""
    tool: str = ""
    """The tool, where the span does not name it."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule and what people need to know of it."""

    name: str
    severity: Severity
    find: Callable[[Context], Iterable[Finding]]
    detects: str
    needs: tuple[str, ...]
    """Span columns without which it can not see; coverage reports them."""
    fails: bool = False
    """Does a finding make the span's effective status an error?"""
    kinds: tuple[str, ...] = ()
    """The kinds of span it speaks of; empty: the whole trace."""
    blind_spots: str = ""
