"""Traces of Dimwatch itself, sent by OTLP when `telemetry.otlp_endpoint` is set; free of cost otherwise."""

from __future__ import annotations

import atexit
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

    from dimwatch.settings import Settings

_tracer: Tracer | None = None


def configure_tracing(settings: Settings, role: str) -> None:
    """Trace this process if that is wanted; spans that nobody takes are given up in the background."""
    global _tracer  # one process has one tracer, as it has one log
    endpoint = settings.telemetry.otlp_endpoint
    if not endpoint or _tracer is not None:
        return
    # The SDK is only loaded by those who ask for it: it would cost every process 20 MB.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    version = metadata.version("dimwatch")
    provider = TracerProvider(
        resource=Resource.create({"service.name": f"dimwatch-{role}", "service.version": version}),
        shutdown_on_exit=False,
    )
    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=5)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    atexit.register(provider.shutdown)
    _tracer = provider.get_tracer("dimwatch", version)


@contextmanager
def span(name: str, **attributes: str | int | float | bool) -> Iterator[None]:
    """Time a step of the work, for instance a batch. An exception is recorded and goes on."""
    if _tracer is None:
        yield
        return
    with _tracer.start_as_current_span(name, attributes=attributes):
        yield
