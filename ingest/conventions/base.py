"""What a telemetry convention is: which attribute says what.

A convention is data. `ingest.normalize` reads all of them together, because one span often mixes several: for
each canonical field the attribute names of all conventions form one list by priority, and the first that a span
carries wins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, eq=False)
class Convention:
    """One way of writing agent telemetry.

    Attribute names may end in `.*`: then all attributes with that prefix together are one value, kept as a JSON
    object of dotted keys (OpenInference and old OpenLLMetry write message lists that way).
    """

    name: str
    """As in the column `convention`."""

    kind_attribute: str = ""
    """The attribute that says what kind of span it is, if the convention has one."""

    kinds: Mapping[str, str] = field(default_factory=dict)
    """Its values (lower case), to canonical kinds. A key that ends in `*` is a prefix, one that starts with `*` a
    suffix; exact keys win, then the longest."""

    kind_if_present: Mapping[str, str] = field(default_factory=dict)
    """Attribute whose presence alone tells the kind, where nothing better does."""

    span_names: Mapping[str, str] = field(default_factory=dict)
    """Regular expression (RE2) over span names, to kinds, for conventions without any kind attribute."""

    texts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Canonical string column to attribute names, best first. Besides the columns of the span record there are
    `input` and `output`: what went in and came out of a span of any kind (for a tool, its arguments and result)."""

    numbers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Canonical number column to attribute names, best first."""

    durations: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Canonical `_ns` column to attribute names, each with its unit in nanoseconds."""

    times: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Canonical `_ns` column to attributes that hold a point in time (RFC 3339): the column is the time since
    the span's start."""

    json_numbers: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Attribute that holds a JSON object, to {path with dots: canonical number column}."""

    json_texts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """The same for canonical string columns."""

    error_flags: Mapping[str, str] = field(default_factory=dict)
    """Attribute to the value (lower case) by which the span says that it failed, whatever its status."""

    first_token_events: tuple[str, ...] = ()
    """Names of span events whose time is that of the first token."""
