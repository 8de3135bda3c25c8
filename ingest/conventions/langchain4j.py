"""LangChain4j in Quarkus: OpenTelemetry GenAI on model calls, tools known by the names of their spans."""

from ingest.conventions.base import Convention

CONVENTION = Convention(
    name="langchain4j",
    span_names={r"^langchain4j\.tools\.": "tool", r"^langchain4j\.aiservices\.": "agent"},
)
