"""AutoGen's runtime: message payloads in `message` on the spans that deliver them."""

from ingest.conventions.base import Convention

CONVENTION = Convention(
    name="autogen",
    kind_if_present={"sender_agent_type": "chain", "recipient_agent_type": "chain"},
    texts={"all_messages": ("message",)},
)
