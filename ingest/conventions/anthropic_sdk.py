"""The Anthropic SDK's own spans (2.12 and later): OpenTelemetry GenAI with a stop reason of its own."""

from ingest.conventions.base import Convention

CONVENTION = Convention(name="anthropic_sdk", texts={"finish_reason": ("anthropic.message.stop_reason",)})
