"""Every telemetry convention that Dimwatch understands, by priority.

The order decides two things: whose word on a span's kind counts, and whose attribute a field is read from when a
span carries several.
"""

from __future__ import annotations

from typing import Final

from ingest.conventions import (
    agentops,
    anthropic_sdk,
    autogen,
    aws_sdk,
    claude_code,
    genkit,
    google_adk,
    haystack,
    http,
    laminar,
    langchain4j,
    langfuse,
    langsmith,
    langtrace,
    langwatch,
    livekit,
    mastra,
    mcp,
    mlflow,
    openinference,
    openlit,
    openllmetry,
    otel_genai,
    otel_genai_old,
    pydantic_ai,
    spring_ai,
    vercel,
)
from ingest.conventions.base import Convention

FIELD_ORDER: Final[tuple[Convention, ...]] = (
    otel_genai.CONVENTION,
    openinference.CONVENTION,
    langfuse.CONVENTION,
    vercel.CONVENTION,
    openllmetry.CONVENTION,
    pydantic_ai.CONVENTION,
    haystack.CONVENTION,
    google_adk.CONVENTION,
    langsmith.CONVENTION,
    anthropic_sdk.CONVENTION,
    mcp.CONVENTION,
    autogen.CONVENTION,
    mlflow.CONVENTION,
    genkit.CONVENTION,
    langwatch.CONVENTION,
    laminar.CONVENTION,
    agentops.CONVENTION,
    mastra.CONVENTION,
    spring_ai.CONVENTION,
    livekit.CONVENTION,
    openlit.CONVENTION,
    langtrace.CONVENTION,
    claude_code.CONVENTION,
    langchain4j.CONVENTION,
    aws_sdk.CONVENTION,
    otel_genai_old.CONVENTION,
    http.CONVENTION,
)
"""Whose attribute wins for a field."""

KIND_ORDER: Final[tuple[Convention, ...]] = (
    langfuse.CONVENTION,
    openinference.CONVENTION,
    mcp.CONVENTION,
    otel_genai.CONVENTION,
    openllmetry.CONVENTION,
    langsmith.CONVENTION,
    vercel.CONVENTION,
    haystack.CONVENTION,
    pydantic_ai.CONVENTION,
    mlflow.CONVENTION,
    genkit.CONVENTION,
    langwatch.CONVENTION,
    laminar.CONVENTION,
    agentops.CONVENTION,
    mastra.CONVENTION,
    spring_ai.CONVENTION,
    livekit.CONVENTION,
    langtrace.CONVENTION,
    langchain4j.CONVENTION,
    claude_code.CONVENTION,
    autogen.CONVENTION,
    http.CONVENTION,
)
"""Whose word on a span's kind wins. Presence rules and span names come after all kind attributes."""
