"""One tree of settings: defaults, then a TOML file, then the environment (`DIMWATCH_RECEIVER__GRPC_PORT`).

Every process reads the same tree; `dimwatch doctor` prints it with secrets masked.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ByteSize, ConfigDict, Field, SecretStr, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from dimwatch.lists import documents, told_apart, words
from dimwatch.targets import Notify

MIB = 1024 * 1024


class Receiver(BaseModel):
    """The OTLP doors."""

    host: str = Field(
        "127.0.0.1",
        description="Address to listen on; anything but loopback needs a token, or certificates of senders.",
    )
    grpc_port: int = Field(4317, description="OTLP/gRPC port.")
    http_port: int = Field(4318, description="OTLP/HTTP port.")
    token: SecretStr | None = Field(None, description="Bearer token that senders must present.")
    tls_cert: Path | None = Field(None, description="Certificate chain, PEM, for both doors; with `tls_key`.")
    tls_key: Path | None = Field(None, description="Private key of the certificate, PEM, without a password.")
    tls_client_ca: Path | None = Field(
        None, description="Certificates, PEM, of who signs senders' certificates; then senders need one."
    )
    max_body: ByteSize = Field(ByteSize(16 * MIB), description="Largest request body as sent (compressed).")
    max_decompressed: ByteSize = Field(ByteSize(64 * MIB), description="Largest request after decompression.")
    max_spans: int = Field(100_000, description="Most spans (or log records, data points) in one request.")
    max_attributes: int = Field(1_024, description="Most attributes on one span; the rest is cut and counted.")
    max_attribute_value: ByteSize = Field(
        ByteSize(1 * MIB), description="Longest attribute value; the rest is cut and counted."
    )
    request_timeout_s: float = Field(30.0, description="A request that is not complete by then is closed.")


class Redaction(BaseModel):
    """What is masked before anything is stored."""

    enabled: bool = Field(True, description="Mask secrets and personal data in everything that is received.")


class Kafka(BaseModel):
    """Kafka as eventlog: with `eventlog.backend = "kafka"`."""

    model_config = ConfigDict(extra="forbid")

    bootstrap_servers: Annotated[list[str], NoDecode, BeforeValidator(words)] = Field(
        default_factory=lambda: ["127.0.0.1:9092"],
        min_length=1,
        description="Brokers to ask first, `host:port`, with commas between.",
    )
    topic_prefix: str = Field(
        "", pattern=r"^[a-zA-Z0-9._-]{0,100}$", description="Put before the names of all topics and groups."
    )
    partitions: int = Field(
        12,
        ge=1,
        le=10_000,
        description="Partitions of the topics that workers share: most workers that there can be. "
        "It may not change later: keys would go elsewhere.",
    )
    replication: int = Field(
        -1, ge=-1, le=10, description="Copies of each partition of topics that are made; -1: the brokers' default."
    )
    min_insync_replicas: int | None = Field(
        None, ge=1, description="Copies that must have a record before it counts; none: the brokers' default."
    )
    retention_hours: float = Field(
        24.0, gt=0, description="How long the brokers keep records: as long as the store or a worker may be away."
    )
    retention_bytes: ByteSize = Field(
        ByteSize(0), description="Most bytes of a partition that the brokers keep; 0: no bound but the time."
    )
    compression: Literal["none", "lz4", "zstd", "gzip"] = Field(
        "lz4", description="How producers compress. Arrow streams are compressed already."
    )
    max_message: ByteSize = Field(
        ByteSize(64 * MIB), ge=1 * MIB, description="Largest message; the topics are made to allow it."
    )
    client_id: str = Field("dimwatch", min_length=1, description="What the brokers call this installation in logs.")
    instance_id: str | None = Field(
        None,
        pattern=r"^[a-zA-Z0-9._-]{1,200}$",
        description="A name for this process that survives its restart, unique in the installation: it gets its "
        "partitions back without a rebalance (static membership).",
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="How to speak to the brokers."
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512", description="How to sign in, with a SASL protocol."
    )
    sasl_user: str | None = Field(None, description="User, with a SASL protocol.")
    sasl_password: SecretStr | None = Field(None, description="Password of that user.")
    tls_ca: Path | None = Field(
        None, description="Certificates, PEM, of who signs the brokers'; none: those of the system."
    )
    tls_cert: Path | None = Field(None, description="Certificate of this client, PEM, if the brokers ask for one.")
    tls_key: Path | None = Field(None, description="Private key of that certificate, PEM, without a password.")
    request_timeout_s: float = Field(30.0, gt=0, description="Longest wait for an answer of a broker.")
    delivery_timeout_s: float = Field(
        10.0,
        gt=0,
        description="Longest wait until a record is durable, retries included; then senders are asked to wait.",
    )
    session_timeout_s: float = Field(
        30.0, gt=0, description="A process that was not heard of for so long loses its partitions to others."
    )
    spool: ByteSize = Field(
        ByteSize(1024 * MIB),
        description="Disk space of a collector, under `data`, for what it accepts while Kafka is away; 0: none.",
    )

    @model_validator(mode="after")
    def _whole(self) -> Kafka:
        if "SASL" in self.security_protocol and (self.sasl_user is None or self.sasl_password is None):
            raise ValueError(f"security_protocol {self.security_protocol} needs sasl_user and sasl_password")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key go together")
        return self


class EventLogSettings(BaseModel):
    """The eventlog."""

    backend: Literal["sqlite", "kafka"] = Field(
        "sqlite", description="`sqlite`: a file, for one machine. `kafka`: a cluster, for many."
    )
    max_bytes: ByteSize = Field(
        ByteSize(4096 * MIB), description="Size of the log on disk at which senders are asked to wait."
    )
    keep_hours: float = Field(24.0, description="How long records are kept after everybody has read them.")
    kafka: Kafka = Field(default_factory=Kafka)


class Store(BaseModel):
    """The ClickHouse interface."""

    mode: Literal["embedded", "server"] = Field(
        "embedded",
        description="`embedded`: the store role is ClickHouse itself; `server`: it writes to the one at `store.host`.",
    )
    host: str = Field("127.0.0.1", description="Where the embedded store listens, or the server to write to.")
    http_port: int = Field(8123, description="ClickHouse HTTP port; of a server with TLS mostly 8443.")
    user: str = Field("default", description="User that Dimwatch writes as.")
    password: SecretStr = Field(SecretStr(""), description="Password of that user.")
    database: str = Field("dimwatch", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="Database of all tables.")
    keep_days: int = Field(30, description="Days that spans are kept; traces and observations three times as long.")
    tls: bool = Field(False, description="Speak HTTPS to the server.")
    tls_ca: Path | None = Field(None, description="Certificates, PEM, of who signed the server's; none: the system's.")
    tls_cert: Path | None = Field(
        None, description="Certificate, PEM, to show to the server; without a password it is the account's proof."
    )
    tls_key: Path | None = Field(None, description="Private key of `tls_cert`, PEM, without a password.")
    tls_verify: bool = Field(True, description="Check the server's certificate and name; off is for tests only.")
    cluster: str = Field(
        "",
        pattern=r"^[A-Za-z0-9_.-]*$",
        description="Cluster of the server, as its `remote_servers` calls it: tables are then replicated and sharded.",
    )
    insert_quorum: int = Field(
        0, ge=0, le=100, description="In a cluster, so many replicas hold rows before they count as stored; 0: one."
    )
    migrate: bool = Field(
        True, description="Create and upgrade the tables at start; off: only check that they are there."
    )
    batch_bytes: ByteSize = Field(
        ByteSize(8 * MIB),
        description="Records are inserted together up to this size, encoded; rows are three times it.",
    )
    linger_s: float | None = Field(
        None,
        ge=0,
        le=60,
        description="Least time between two inserts, to gather what comes one by one; none: 0.4 s, with a server 2 s.",
    )


class Assembly(BaseModel):
    """How spans become traces."""

    linger_s: float = Field(6.0, description="Wait for more spans after the last one, once the root is there.")
    idle_s: float = Field(600.0, description="Wait for more spans while the root is missing; learned per service.")
    max_idle_s: float = Field(1800.0, description="Longest wait that is learned.")
    max_open_traces: int = Field(200_000, description="Most open traces; the stalest are closed beyond that.")
    max_open_bytes: ByteSize = Field(
        ByteSize(384 * MIB),
        description="Most bytes of spans in open traces; the stalest are closed beyond that.",
    )
    max_judged_traces: int = Field(
        400_000,
        ge=1,
        description="Judged traces that are remembered, for spans that come late; 2 to 3 kB each, the oldest go first.",
    )
    max_trace_spans: int = Field(20_000, description="Most spans of one trace; the rest is dropped and counted.")


class Objective(BaseModel):
    """A declared service level objective: of the trials of a signal so large a share goes well, over a time."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=100, description="What incidents call it.")
    signal: str = Field(description="A signal of form hits: what is a trial, and which went badly.")
    scope: dict[Literal["agent", "provider", "model", "tool"], str] = Field(
        default_factory=dict, description="Which part of the fleet; without it, all."
    )
    objective: float = Field(gt=0, lt=1, description="Share that goes well, as 0.99.")
    window_d: float = Field(30.0, ge=7, le=90, description="Days over which it holds.")


ShadowName = Literal["adwin", "half_space_trees", "isolation_forest", "page_hinkley"]


class Detection(BaseModel):
    """The fleet's statistics, and the promise about false pages."""

    false_pages_per_week: float = Field(
        1.0, gt=0, le=10_000, description="False pages that the whole fleet may cost in a week."
    )
    lateness_s: float = Field(60.0, ge=0, le=3_600, description="How long a window waits for runs that end late.")
    half_life_h: float = Field(6.0, gt=0, le=8_760, description="Memory of what is normal.")
    guard_h: float = Field(2.0, gt=0, le=168, description="The newest data that do not yet count as normal.")
    margin: float = Field(0.25, ge=0, le=1e6, description="A failure rate up to this much above normal never pages.")
    group_margin: float = Field(0.4, ge=0, le=1e6, description="The same, for series that are watched together.")
    tolerance: float = Field(0.1, ge=0, le=1e6, description="A latency, speed or size up to this much off never pages.")
    state: Path | None = Field(
        None,
        description="What `dimwatch replay --state` has learned of the normal: begun with where there is no state yet.",
    )
    max_series: int = Field(
        50_000,
        gt=0,
        description="Most series; new ones beyond that take the place of idle ones, or are `other`.",
    )
    slos: Annotated[list[Objective], NoDecode, BeforeValidator(documents), AfterValidator(told_apart)] = Field(
        default_factory=list,
        max_length=100,
        description="Declared objectives, a JSON list: `name`, `signal`, `scope`, `objective`, `window_d`.",
    )
    shadow: Annotated[list[ShadowName], NoDecode, BeforeValidator(words)] = Field(
        default_factory=list,
        description="Detectors that run in shadow and page nobody: "
        "`adwin`, `half_space_trees`, `isolation_forest`, `page_hinkley`.",
    )
    shadow_nodes: int = Field(
        12, ge=1, le=100, description="Of model calls, tools and runs each, so many of the busiest nodes do they watch."
    )


class Api(BaseModel):
    """The HTTP API: incidents, and what people say of them."""

    host: str = Field(
        "127.0.0.1", description="Address to listen on; anything but loopback needs `api.responder_token`."
    )
    port: int = Field(8502, ge=0, le=65_535, description="API port.")
    url: str | None = Field(
        None, description="Where the dashboard and commands find it, as behind a proxy; none: at that host and port."
    )
    viewer_token: SecretStr | None = Field(None, description="Bearer token of those who may look.")
    responder_token: SecretStr | None = Field(
        None, description="Bearer token of those who may also acknowledge, silence, resolve and label."
    )
    service_token: SecretStr | None = Field(
        None,
        description="Bearer token of the dashboard, which says for whom it asks; none: the file `api-token` in the "
        "data folder, which the API makes.",
    )
    orders_per_minute: int = Field(60, ge=1, description="Orders that one person may give in a minute.")
    requests_per_minute: int = Field(1_200, ge=1, description="Requests that one person may make in a minute.")


class Canary(BaseModel):
    """A span that Dimwatch sends to itself and looks for in the store: whether it can see at all. Part of the API."""

    enabled: bool = Field(True, description="Send canaries; of several API processes only one should.")
    every_s: float = Field(60.0, ge=1, le=3_600, description="How often one is sent.")
    blind_after_s: float = Field(
        300.0, ge=5, le=86_400, description="When none has arrived for so long, Dimwatch is blind: an incident."
    )
    endpoint: str | None = Field(
        None,
        description="OTLP/HTTP address to send them to, as `https://collector:4318`; none: the receiver of this "
        "machine, and with Kafka no canary.",
    )


def _patterns(value: Any) -> Any:
    return [str(name).lower() for name in named] if isinstance(named := words(value), list) else named


People = Annotated[list[str], NoDecode, BeforeValidator(_patterns)]


class Dashboard(BaseModel):
    """The dashboard."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8501, description="Dashboard port.")
    sign_in: Literal["none", "token", "oidc"] = Field(
        "none",
        description="How people say who they are: `token` of the API, `oidc` by the provider in `secrets.toml`; with "
        "`none` everybody may look, and on loopback also act.",
    )
    viewers: People = Field(
        default_factory=list, description="Mail addresses that may look, by OIDC; `*@example.com` is all of a domain."
    )
    responders: People = Field(
        default_factory=list, description="Mail addresses that may also act on incidents, likewise."
    )


class Prices(BaseModel):
    """Model prices."""

    file: Path | None = Field(None, description="A price table that overrides the built-in one, same format.")


class SelfTelemetry(BaseModel):
    """What Dimwatch says of itself."""

    log_level: str = Field("info", description="debug, info, warning or error.")
    log_format: str = Field("auto", description="json, console, or auto: console on a terminal.")
    metrics_port: int = Field(9464, description="Prometheus metrics of the supervisor and, merged, of every process.")
    health_port: int | None = Field(
        None,
        ge=0,
        le=65_535,
        description="Health and metrics of a role that runs by itself; none: 9465 collector, 9466 worker, 9467 fleet, "
        "9468 store, 9469 notifier, 9470 api, 9471 dashboard; 0: not told.",
    )
    health_host: str = Field(
        "127.0.0.1", description="Address that a role tells that on; anything but loopback needs `telemetry.token`."
    )
    token: SecretStr | None = Field(
        None, description="Bearer token for metrics of a role that runs by itself; probes need none."
    )
    otlp_endpoint: str | None = Field(None, description="Where to send traces of Dimwatch itself, if anywhere.")


class Settings(BaseSettings):
    """Everything that can be set."""

    model_config = SettingsConfigDict(env_prefix="DIMWATCH_", env_nested_delimiter="__", extra="forbid", toml_file=None)

    data: Path = Field(Path("data"), description="Folder that holds everything Dimwatch keeps.")
    receiver: Receiver = Receiver()
    redaction: Redaction = Redaction()
    eventlog: EventLogSettings = EventLogSettings()
    store: Store = Store()
    assembly: Assembly = Assembly()
    detection: Detection = Detection()
    api: Api = Api()
    canary: Canary = Canary()
    dashboard: Dashboard = Dashboard()
    notify: Notify = Notify()
    prices: Prices = Prices()
    telemetry: SelfTelemetry = SelfTelemetry()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    @property
    def eventlog_path(self) -> Path:
        """The SQLite file of the embedded eventlog."""
        return self.data / "eventlog" / "eventlog.sqlite"

    @property
    def store_path(self) -> Path:
        """The folder of the embedded ClickHouse engine."""
        return self.data / "store"
