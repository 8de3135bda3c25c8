"""Whom incidents are told, and when: the settings of targets, routes and quiet hours.

A secret is given as text (`url`) or as a file that holds it (`url_file`), which is read at every attempt, so that it
can be renewed without a restart.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import time
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)
from pydantic_settings import NoDecode

from dimwatch.errors import PermanentError
from dimwatch.lists import documents, told_apart, words

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: Final[tuple[Day, ...]] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
SeverityName = Literal["ticket", "warning", "critical"]
Dimension = Literal["provider", "model", "agent", "tool", "release", "region"]
GroupField = Literal["kind", "severity", "provider", "model", "agent", "tool", "release", "region"]


def _named(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a name: lower-case letters, digits, - and _, at most 64")
    return name


Name = Annotated[str, AfterValidator(_named)]


class TargetBase(BaseModel):
    """What all targets have."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    secret_fields: ClassVar[tuple[str, ...]] = ()
    """Fields that hold a secret, each with a `_file` of the same name."""
    required: ClassVar[tuple[str, ...]] = ()
    """Those of them that must be there."""

    name: Name = Field(description="What routes, the ledger and commands call it.")

    @model_validator(mode="after")
    def _has_its_secrets(self) -> Self:
        for field in self.secret_fields:
            text, file = getattr(self, field), getattr(self, f"{field}_file")
            if text and file:
                raise ValueError(f"give either {field} or {field}_file, not both")
            if field in self.required and not text and not file:
                raise ValueError(
                    f"{field} is missing: give {field}, or {field}_file with the path of a file that has it"
                )
        return self

    def secret(self, field: str) -> str:
        """The secret of that name, "" where there is none. Raises PermanentError when its file can not be read."""
        path: Path | None = getattr(self, f"{field}_file")
        if path is None:
            text: SecretStr | None = getattr(self, field)
            return text.get_secret_value() if text else ""
        try:
            return path.expanduser().read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise PermanentError(f"target {self.name}: {field}_file {path} can not be read: {reason}") from None

    def all_secrets(self) -> list[str]:
        """Every secret of this target, for masking."""
        return [secret for field in self.secret_fields for secret in self.secret(field).split() if secret]


class WebhookTarget(TargetBase):
    """JSON over HTTP, signed by the Standard Webhooks specification."""

    secret_fields = ("url", "secrets", "bearer")
    required = ("url",)

    type: Literal["webhook"]
    url: SecretStr | None = Field(None, description="Where to POST.")
    url_file: Path | None = Field(None, description="A file that holds it.")
    secrets: SecretStr | None = Field(
        None, description="Signing secrets, `whsec_` and base64, with blanks between; a receiver may know any of them."
    )
    secrets_file: Path | None = Field(None, description="A file that holds them, one a line.")
    bearer: SecretStr | None = Field(None, description="Token of an `Authorization: Bearer` header.")
    bearer_file: Path | None = Field(None, description="A file that holds it.")


class SlackTarget(TargetBase):
    """A channel of Slack, by an incoming webhook."""

    secret_fields = ("url",)
    required = ("url",)

    type: Literal["slack"]
    url: SecretStr | None = Field(None, description="The incoming webhook.")
    url_file: Path | None = Field(None, description="A file that holds it.")


class PagerDutyTarget(TargetBase):
    """A service of PagerDuty, by its Events API v2."""

    secret_fields = ("routing_key",)
    required = ("routing_key",)

    type: Literal["pagerduty"]
    routing_key: SecretStr | None = Field(None, description="Integration key of the service.")
    routing_key_file: Path | None = Field(None, description="A file that holds it.")
    url: str = Field(
        "https://events.pagerduty.com/v2/enqueue", description="In Europe `https://events.eu.pagerduty.com/v2/enqueue`."
    )


class OpsgenieTarget(TargetBase):
    """A team of Opsgenie, by its Alert API."""

    secret_fields = ("api_key",)
    required = ("api_key",)

    type: Literal["opsgenie"]
    api_key: SecretStr | None = Field(None, description="Key of an API integration.")
    api_key_file: Path | None = Field(None, description="A file that holds it.")
    url: str = Field("https://api.opsgenie.com", description="In Europe `https://api.eu.opsgenie.com`.")
    team: str = Field("", max_length=100, description="The team that responds; by default that of the integration.")


class AlertmanagerTarget(TargetBase):
    """A Prometheus Alertmanager, by its API v2: its own routes, silences and repeats take over."""

    secret_fields = ("bearer",)

    type: Literal["alertmanager"]
    url: str = Field(description="Where it is, as `http://alertmanager.internal:9093`.")
    bearer: SecretStr | None = Field(None, description="Token of an `Authorization: Bearer` header.")
    bearer_file: Path | None = Field(None, description="A file that holds it.")
    resend_m: float = Field(
        5.0, ge=0.1, le=60, description="Minutes between two sendings; an alert that does not come thrice is over."
    )
    labels: dict[str, str] = Field(default_factory=dict, description="Labels added to every alert.")

    @field_validator("labels")
    @classmethod
    def _names_of_labels(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if not re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", name):
                raise ValueError(f"{name!r} is not a label of Prometheus: letters, digits and _")
        return value


class EmailTarget(TargetBase):
    """Mail, by SMTP."""

    secret_fields = ("password",)

    type: Literal["email"]
    host: str = Field(description="The SMTP server.")
    port: int = Field(587, ge=1, le=65535, description="Its port.")
    tls: Literal["starttls", "tls", "none"] = Field(
        "starttls", description="`starttls` (refused without it), `tls` from the first byte, or `none`."
    )
    ca_file: Path | None = Field(None, description="Certificates, PEM, of who signs the server's; else the usual ones.")
    user: str = Field("", description="Account; without it, no sign-in.")
    password: SecretStr | None = Field(None, description="Its password.")
    password_file: Path | None = Field(None, description="A file that holds it.")
    sender: str = Field(description="The address it is from.")
    to: list[str] = Field(min_length=1, max_length=50, description="Addresses.")

    @field_validator("to", "sender")
    @classmethod
    def _addresses(cls, value: Any) -> Any:
        for address in [value] if isinstance(value, str) else value:
            if not re.fullmatch(r"[^\s@<>,;]+@[^\s@<>,;]+", address):
                raise ValueError(f"{address!r} is not a mail address")
        return value


class AppriseTarget(TargetBase):
    """Any of the services that Apprise speaks to."""

    secret_fields = ("url",)
    required = ("url",)

    type: Literal["apprise"]
    url: SecretStr | None = Field(None, description="One or more URLs of Apprise, with blanks between.")
    url_file: Path | None = Field(None, description="A file that holds them, one a line.")


Target = (
    WebhookTarget | SlackTarget | PagerDutyTarget | OpsgenieTarget | AlertmanagerTarget | EmailTarget | AppriseTarget
)
AnyTarget = Annotated[Target, Field(discriminator="type")]


class Escalation(BaseModel):
    """Who is told as well when nobody acknowledges."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    after_m: float = Field(gt=0, le=7 * 24 * 60, description="Minutes since the first page.")
    to: list[Name] = Field(min_length=1, description="Names of targets.")


class Route(BaseModel):
    """Which incidents go where. Every condition must hold; one that is left out holds always."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    name: Name = Field(description="What the ledger calls it.")
    tenants: list[str] = Field(default_factory=list, description="Patterns of tenants, as `acme-*`.")
    kinds: list[str] = Field(default_factory=list, description="Kinds of incidents.")
    severities: list[SeverityName] = Field(
        default=["warning", "critical"], min_length=1, description="`ticket` wakes nobody by itself."
    )
    scope: dict[Dimension, str] = Field(default_factory=dict, description="Patterns by part of the scope.")
    targets: list[Name] = Field(default_factory=list, description="Names of targets; none: nobody is told.")
    group_by: list[GroupField] | None = Field(
        None, description="Incidents that share these are one page (`[]`: all of a tenant); left out, each is its own."
    )
    wait_s: float | None = Field(None, ge=0, le=3600, description="Overrides `notify.wait_s`.")
    interval_m: float | None = Field(None, gt=0, le=1440, description="Overrides `notify.interval_m`.")
    repeat_h: float | None = Field(None, gt=0, le=720, description="Overrides `notify.repeat_h`.")
    quiet: bool = Field(True, description="Whether quiet hours hold it back.")
    escalate: list[Escalation] = Field(
        default_factory=list,
        max_length=10,
        description="Steps: after how many minutes without an acknowledgement (`after_m`) to tell whom (`to`).",
    )
    go_on: bool = Field(False, alias="continue", description="Whether the routes below are tried as well.")


class QuietHours(BaseModel):
    """When nobody is woken but for what is critical."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    start: time = Field(description="Time of day, as `22:00`.")
    end: time = Field(description="Time of day; before `start` it is that of the next day.")
    time_zone: str = Field("UTC", description="As `Europe/Zurich`.")
    days: list[Day] = Field(default=list(WEEKDAYS), min_length=1, description="Days they begin on.")

    @field_validator("time_zone")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(f"{value!r} is not a time zone of this machine, as Europe/Zurich is") from error
        return value

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if self.start == self.end:
            raise ValueError("quiet hours that start and end at the same time are none: leave them out")
        return self


def _networks(values: list[str]) -> list[str]:
    for value in values:
        try:
            ip_network(value)
        except ValueError as error:
            raise ValueError(f"{error}; give an address or a network, as 10.1.2.0/24") from error
    return values


class Notify(BaseModel):
    """Incidents to people; docs/pages.md shows every kind of target."""

    targets: Annotated[list[AnyTarget], NoDecode, BeforeValidator(documents), AfterValidator(told_apart)] = Field(
        default_factory=list, max_length=200, description="Whom to tell: tables of TOML, or a JSON list."
    )
    routes: Annotated[list[Route], NoDecode, BeforeValidator(documents), AfterValidator(told_apart)] = Field(
        default_factory=list,
        max_length=500,
        description="Which incidents go where; the first that fits, and the next ones where it says `continue`. "
        "Without any, what is more than a ticket goes to all targets that are not only for escalation or heartbeats.",
    )
    wait_s: float = Field(10.0, ge=0, le=3600, description="Wait before a new page, for what belongs to it.")
    interval_m: float = Field(5.0, gt=0, le=1440, description="Least minutes between a page and an update of it.")
    repeat_h: float = Field(4.0, gt=0, le=720, description="A page that nobody acknowledges comes again after that.")
    quiet_hours: Annotated[list[QuietHours], NoDecode, BeforeValidator(documents)] = Field(
        default_factory=list,
        max_length=50,
        description="When only what is critical wakes people; the rest comes afterwards, if it still goes on.",
    )
    heartbeat_targets: Annotated[list[Name], NoDecode, BeforeValidator(words)] = Field(
        default_factory=list,
        description="Targets (`webhook`, `alertmanager` or `apprise`) that are called while all is well: "
        "what should wake somebody when the calls stop.",
    )
    heartbeat_m: float = Field(5.0, ge=0.01, le=1440, description="Minutes between two such calls.")
    heartbeat_lag_m: float = Field(
        15.0, gt=0, le=1440, description="All is not well when a stage is so many minutes behind."
    )
    dashboard_url: str | None = Field(
        None, pattern=r"^https?://\S+$", description="Where people reach the dashboard: pages link to it."
    )
    templates: Path | None = Field(None, description="A folder of templates that go before the built-in ones.")
    timeout_s: float = Field(10.0, gt=0, le=120, description="An attempt that takes longer has failed.")
    give_up_d: float = Field(3.0, gt=0, le=30, description="Days of attempts.")
    max_age_h: float = Field(
        1.0, ge=0, le=720, description="At the very first start: incidents that opened longer ago are not sent."
    )
    allow_private: Annotated[list[str], NoDecode, BeforeValidator(words), AfterValidator(_networks)] = Field(
        default_factory=list,
        description="Networks that are not on the internet and may be called all the same, as `10.1.2.0/24`.",
    )

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        known = {target.name: target.type for target in self.targets}
        for who, names in self._uses():
            for name in names:
                if name not in known:
                    raise ValueError(f"{who} names the target {name!r}, which is not there: add it to notify.targets")
        for name in self.heartbeat_targets:
            if known[name] not in ("webhook", "alertmanager", "apprise"):
                raise ValueError(f"heartbeat_targets: {name!r} is of type {known[name]}, which would wake somebody")
        return self

    def _uses(self) -> Iterator[tuple[str, list[str]]]:
        yield "heartbeat_targets", self.heartbeat_targets
        for route in self.routes:
            yield f"route {route.name!r}", route.targets
            for step in route.escalate:
                yield f"route {route.name!r} (escalate)", step.to

    def effective_routes(self) -> list[Route]:
        """The routes, or the one that there is without any."""
        if self.routes or not self.targets:
            return self.routes
        names = [target.name for target in self.targets if target.name not in self.heartbeat_targets]
        return [Route(name="all", targets=names)]
