"""What the API takes and gives."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from detectors.incidents.control import MOST_LABELS, Action
from detectors.incidents.incident import Severity, Status
from dimwatch.app.api.identity import Role

ID = r"^[0-9a-f]{8,64}$"
_DAY_S = 24 * 3600
_INCIDENT = "5f0c7d8e9a1b2c3d"
_ORDER = "9f2c4a7d1e8b3c6f5a0d7e4b2c9f1a68"
_AT = "2026-11-20T14:05:00Z"
_SCOPE = {"provider": "openai", "model": "gpt-4.1"}

Note = Annotated[str, Field(max_length=2_000, description="Anything else to be written down.")]
Seconds = Annotated[
    int, Field(ge=60, le=30 * _DAY_S, description="How long, in seconds: a minute to 30 days.", examples=[7_200])
]
Dimension = Literal["tenant", "kind", "provider", "model", "agent", "tool"]
Value = Annotated[str, Field(min_length=1, max_length=256)]
LabelName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_.-]{0,49}$")]
LabelValue = Annotated[str, Field(min_length=1, max_length=500)]


class _Given(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Said(_Given):
    """An order that needs no more than its address."""

    note: Note = Field("", examples=["on it"])


class SilenceIncident(_Given):
    """Nothing more is sent about one incident."""

    duration_s: Seconds
    note: Note = Field("", examples=["the provider says one hour"])


class SilenceScope(_Given):
    """Nothing more is sent about incidents of a scope, those to come included."""

    scope: dict[Dimension, Value] = Field(
        min_length=1,
        description="By dimension, the value that an incident has there; of several it must have all.",
        examples=[{"tool": "search"}],
    )
    duration_s: Seconds
    note: Note = Field("", examples=["index is rebuilt"])


class Label(_Given):
    """What people know of an incident."""

    labels: dict[LabelName, LabelValue] = Field(
        min_length=1,
        max_length=MOST_LABELS,
        examples=[{"cause": "quota", "ticket": "OPS-417"}],
        json_schema_extra={"additionalProperties": False},
    )
    note: Note = ""


class Order(BaseModel):
    """Something that somebody said."""

    id: str = Field(pattern=ID, examples=[_ORDER])
    at: datetime = Field(examples=[_AT])
    by: str = Field(description="Who, as far as they signed in.", examples=["ann@example.com"])
    action: Action
    incident: str = Field("", description='"" where it is about a scope.', examples=[_INCIDENT])
    scope: dict[str, str] = Field(default_factory=dict)
    until: datetime | None = None
    silence: str = Field("", description="The silence that ends.")
    labels: dict[str, str] = Field(default_factory=dict)
    note: str = Field("", examples=["on it"])
    outcome: str = Field(
        description="`pending` until it has been looked at, which takes seconds; then `obeyed`, `over`, "
        "`unknown_incident`, `unknown_silence` or `too_many_silences`.",
        examples=["pending"],
    )


class Incident(BaseModel):
    """What a person handles."""

    id: str = Field(examples=[_INCIDENT])
    tenant: str = Field(examples=[""])
    kind: str = Field(examples=["brownout"])
    severity: Severity
    status: Status
    scope: dict[str, str] = Field(examples=[_SCOPE])
    opened_at: datetime = Field(examples=[_AT])
    started_at: datetime = Field(description="Estimated onset.", examples=["2026-11-20T14:01:00Z"])
    resolved_at: datetime | None
    runs: float = Field(description="Runs that it touched so far.", examples=[312])
    cost_usd: float = Field(examples=[4.17])
    summary: str = Field(examples=["gpt-4.1 of openai: output tokens a second 41 instead of 68 since 14:01 UTC."])
    version: int = Field(description="Grows with every change.", examples=[3])


class IncidentDetail(Incident):
    """An incident with what was measured, what may be behind it, and what people said of it."""

    signals: list[dict[str, Any]]
    causes: list[dict[str, Any]] = Field(description="Likeliest first.")
    labels: dict[str, str] = Field(description="The latest of each name.")
    orders: list[Order] = Field(description="Newest first, at most 100.")


class Incidents(BaseModel):
    """A page of incidents, the newest first."""

    incidents: list[Incident]
    next: str | None = Field(description="What to give as `cursor` for the next page; null on the last.")


class Silence(BaseModel):
    """One that lasts."""

    id: str = Field(examples=[_ORDER])
    by: str = Field(examples=["ann@example.com"])
    note: str
    since: datetime = Field(examples=[_AT])
    until: datetime
    incident: str = Field(description='Of one incident; "" for one of a scope.')
    scope: dict[str, str] = Field(examples=[{"tool": "search"}])


class Silences(BaseModel):
    """Those that last, the one that ends first at the front."""

    silences: list[Silence]


class Me(BaseModel):
    """Who asks."""

    name: str = Field(description="What is written down as who did it.", examples=["responder token"])
    role: Role


class CanaryStatus(BaseModel):
    """How long telemetry takes to be readable, measured with Dimwatch's own."""

    enabled: bool
    took_s: float | None = Field(description="Of the last that arrived.", examples=[1.2])
    arrived_at: datetime | None
    blind: bool = Field(description="None has arrived for too long: what is not seen is not known.")


class Status_(BaseModel):
    """How Dimwatch is."""

    model_config = ConfigDict(title="Status")

    version: str = Field(examples=["0.1.0"])
    at: datetime = Field(examples=[_AT])
    store: Literal["answers", "away"]
    open_incidents: int | None = Field(description="null: could not look.")
    silences: int | None
    canary: CanaryStatus
