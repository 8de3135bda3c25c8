"""The telemetry conventions of the fleet, by the name that an agent gives."""

from collections.abc import Mapping
from typing import Final

from dimwatch.simulate.conventions.base import Convention
from dimwatch.simulate.conventions.langfuse import Langfuse
from dimwatch.simulate.conventions.openinference import OpenInference
from dimwatch.simulate.conventions.openllmetry import OpenLlmetry
from dimwatch.simulate.conventions.otel_genai import OtelGenAi
from dimwatch.simulate.conventions.otel_genai_logs import OtelGenAiLogs
from dimwatch.simulate.conventions.vercel_ai import VercelAi

CONVENTIONS: Final[Mapping[str, Convention]] = {
    "otel_genai": OtelGenAi(),
    "otel_genai_logs": OtelGenAiLogs(),
    "openinference": OpenInference(),
    "openllmetry": OpenLlmetry(),
    "vercel_ai": VercelAi(),
    "langfuse": Langfuse(),
}
