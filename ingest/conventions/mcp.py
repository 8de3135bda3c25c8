"""Model Context Protocol: `mcp.method.name`. Arguments and results are not on these spans."""

from ingest.conventions.base import Convention

CONVENTION = Convention(
    name="mcp",
    kind_attribute="mcp.method.name",
    kinds={"tools/call": "tool", "*": "mcp"},
    texts={"tool": ("mcp.tool.name",)},
)
