"""HTTP client and server spans of any instrumentation (OpenTelemetry old and new, Micrometer): the dependencies that
tools and model calls sit on."""

from ingest.conventions.base import Convention

CONVENTION = Convention(
    name="http",
    kind_if_present={
        "http.request.method": "http",
        "http.method": "http",
        "rpc.system": "http",
        "http.url": "http",
        "url.full": "http",
    },
    numbers={"http_status": ("status",)},
)
