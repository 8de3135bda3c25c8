"""Everything that Dimwatch says of itself: every metric, in one place, and structured logs."""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import Final, TextIO, cast

import structlog
from prometheus_client import Counter, Gauge, Histogram

RECEIVED_REQUESTS: Final = Counter(
    "dimwatch_received_requests_total", "OTLP export requests by outcome.", ["signal", "transport", "code"]
)
RECEIVED_ITEMS: Final = Counter(
    "dimwatch_received_items_total", "Spans, log records and data points acknowledged.", ["signal"]
)
RECEIVED_BYTES: Final = Counter("dimwatch_received_bytes_total", "Bytes acknowledged, decompressed.", ["signal"])
DROPPED: Final = Counter(
    "dimwatch_dropped_total", "What was refused, cut or given up, by reason.", ["stage", "signal", "reason"]
)
REDACTED: Final = Counter(
    "dimwatch_redacted_total", "Secrets and personal data masked before storing, by rule.", ["rule"]
)
PROCESSED_SPANS: Final = Counter("dimwatch_processed_spans_total", "Spans that went through the worker.")
OPEN_TRACES: Final = Gauge("dimwatch_open_traces", "Traces that wait for more spans.", multiprocess_mode="livesum")
CLOSED_TRACES: Final = Counter("dimwatch_closed_traces_total", "Traces judged, by cause.", ["cause"])
OBSERVATIONS_FOUND: Final = Counter("dimwatch_observations_total", "Observations, by rule.", ["rule"])
CLOSED_WINDOWS: Final = Counter("dimwatch_closed_windows_total", "Minutes of the fleet that were closed.")
INCIDENTS_FOUND: Final = Counter("dimwatch_incidents_total", "Incidents that opened, by kind.", ["kind"])
ORDERS: Final = Counter("dimwatch_orders_total", "What people said of incidents by the API, by action.", ["action"])
CANARIES: Final = Counter(
    "dimwatch_canaries_total", "Canaries: seen in the store, lost on the way, or refused by the receiver.", ["outcome"]
)
CANARY_SECONDS: Final = Gauge(
    "dimwatch_canary_seconds",
    "From sending the last canary that arrived to reading it in the store.",
    multiprocess_mode="livemostrecent",
)
CANARY_SEEN_SECONDS: Final = Gauge(
    "dimwatch_canary_seen_timestamp_seconds",
    "When the last canary arrived, in Unix time; it stands still while Dimwatch is blind.",
    multiprocess_mode="livemostrecent",
)
SHADOW_ALERTS: Final = Counter(
    "dimwatch_shadow_alerts_total", "What detectors in shadow would have paged, by plug-in.", ["plugin"]
)
OPEN_INCIDENTS: Final = Gauge("dimwatch_open_incidents", "Incidents that are open.", multiprocess_mode="livesum")
WATCHED_STREAMS: Final = Gauge(
    "dimwatch_watched_streams", "Streams of the fleet that are watched and may page.", multiprocess_mode="livesum"
)
FLEET_SERIES: Final = Gauge("dimwatch_fleet_series", "Series of the fleet that are kept.", multiprocess_mode="livesum")
PAGE_THRESHOLD: Final = Gauge(
    "dimwatch_page_threshold_nats",
    "Evidence that opens an incident, by the promise about false pages.",
    multiprocess_mode="livemax",
)
WATERMARK_LAG_SECONDS: Final = Gauge(
    "dimwatch_watermark_lag_seconds",
    "Age of the newest moment that all workers have judged; below 0 when the clock was set back.",
    multiprocess_mode="livemostrecent",
)
CLOCK_SET_BACK: Final = Counter(
    "dimwatch_clock_set_back_total",
    "How often a partition's watermark went back, because the clock that had moved it ahead was set back.",
)
LATE_POINTS: Final = Gauge(
    "dimwatch_late_points", "Points that came after their window, since the state began.", multiprocess_mode="livesum"
)
WINDOWS_TAKEN_BACK: Final = Gauge(
    "dimwatch_windows_taken_back",
    "How often minutes were opened again because the clocks that had closed them were set back, since the state began.",
    multiprocess_mode="livesum",
)
OTHER_SERIES: Final = Gauge(
    "dimwatch_other_series",
    "Series, once a minute, that were counted under `other`, since the state began.",
    multiprocess_mode="livesum",
)
DELIVERIES: Final = Counter(
    "dimwatch_deliveries_total",
    "Attempts to tell a target something, by how they ended.",
    ["target", "event", "state"],
)
DELIVERY_SECONDS: Final = Histogram("dimwatch_delivery_seconds", "Time of one attempt.", ["target"])
PAGES_SKIPPED: Final = Counter(
    "dimwatch_pages_skipped_total", "Incidents that nobody was told of, by reason.", ["reason"]
)
OUTBOX: Final = Gauge("dimwatch_outbox_messages", "Messages that have not arrived yet.", multiprocess_mode="livesum")
CIRCUIT_OPEN: Final = Gauge(
    "dimwatch_circuit_open",
    "1 while a target fails so often that it is tried rarely.",
    ["target"],
    multiprocess_mode="livemax",
)
SINK_ROWS: Final = Counter("dimwatch_sink_rows_total", "Rows inserted into ClickHouse.", ["table"])
SINK_ERRORS: Final = Counter("dimwatch_sink_errors_total", "Inserts that failed, by kind.", ["table", "kind"])
HOURS_TO_SUM: Final = Gauge(
    "dimwatch_hours_to_sum",
    "Hours whose sums by model and agent are due, of one run at most; 0 when all were made.",
    multiprocess_mode="livemax",
)
SUM_ERRORS: Final = Counter("dimwatch_sum_errors_total", "Runs that could not make all sums of hours that were due.")
LAG_RECORDS: Final = Gauge(
    "dimwatch_lag_records",
    "Records not yet processed; on Kafka with the marks of transactions, of which a few always stay.",
    ["group", "topic"],
    multiprocess_mode="livemax",
)
SPOOL_RECORDS: Final = Gauge(
    "dimwatch_spool_records", "Records on a collector's disk that wait for Kafka.", multiprocess_mode="livesum"
)
STAGE_SECONDS: Final = Histogram("dimwatch_stage_seconds", "Time for one batch.", ["stage"])
PROCESS_RESTARTS: Final = Counter("dimwatch_process_restarts_total", "Restarts by the supervisor.", ["role"])
PROCESS_READY: Final = Gauge("dimwatch_process_ready", "1 when the process answers, by role.", ["role"])
PROCESS_RESIDENT_BYTES: Final = Gauge(
    "dimwatch_process_resident_bytes", "Resident memory of the process and those it started.", ["role"]
)
PROCESS_CPU_SECONDS: Final = Gauge(
    "dimwatch_process_cpu_seconds", "CPU time of the process and those it started, since it started.", ["role"]
)


class _LastingStderr:
    """Standard error for logs: a reader that has gone away (a closed terminal, a dead pipe) ends no process."""

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()


def configure_logging(level: str = "info", log_format: str = "auto", role: str = "dimwatch") -> None:
    """Send structured logs to standard error: JSON lines, or coloured text on a terminal."""
    json_lines = log_format == "json" or (log_format == "auto" and not sys.stderr.isatty())
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if json_lines else structlog.dev.ConsoleRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, _LastingStderr())),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(role=role)
