"""HTTP client and server spans of any instrumentation: the dependencies that tools and model calls sit on."""

from ingest.conventions.base import Convention

CONVENTION = Convention(
    name="http", kind_if_present={"http.request.method": "http", "http.method": "http", "rpc.system": "http"}
)
