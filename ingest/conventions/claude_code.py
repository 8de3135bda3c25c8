"""Claude Code and the Claude Agent SDK: `span.type` and plain attribute names."""

from ingest.conventions.base import Convention

CONVENTION = Convention(
    name="claude_code",
    kind_attribute="span.type",
    kinds={"llm_request": "llm", "tool": "tool", "interaction": "agent", "tool.execution": "chain", "hook": "chain"},
    span_names={r"^claude_code\.llm_request$": "llm", r"^claude_code\.tool$": "tool"},
)
