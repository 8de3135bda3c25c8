"""Real agent frameworks with their own instrumentation and real exporters into a running Dimwatch: what SQL shows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ModelRetryMiddleware
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from openai import AsyncOpenAI
from openinference.instrumentation.langchain import LangChainInstrumentor
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from pydantic import SecretStr
from pydantic_ai import Agent, UnexpectedModelBehavior
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.models.instrumented import InstrumentationSettings
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from benchmarks.running import Running
from tests.fake_model import ANSWERS_AS, MODEL, FakeModel, Turn, serving

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(600),
    # Frameworks warn of their own future; that is not this project's code.
    pytest.mark.filterwarnings("default::DeprecationWarning"),
    pytest.mark.filterwarnings("default::PendingDeprecationWarning"),
]

DONE = Turn(text="Order 4711 was sent yesterday and should arrive tomorrow.")


def asks(name: str) -> Turn:
    return Turn(tool=name, arguments={"number": "4711"})


SCRIPTS = {
    "fine": [asks("lookup"), DONE],
    "raises": [asks("broken"), DONE],
    "error_text": [asks("error_text"), DONE],
    "empty": [asks("search"), DONE],
    "unknown_tool": [asks("refund"), DONE],
    "rate_limited": [Turn(status=429), DONE],
    "truncated": [Turn(text="Your order was sent on", finish="length")],
}
WANTED = {
    "fine": set[str](),
    "raises": {"tool_error"},
    "error_text": {"silent_tool_failure"},
    "empty": {"empty_tool_result"},
    "unknown_tool": {"invalid_tool_call"},
    "rate_limited": {"rescued_failure"},
    "truncated": {"truncated_output"},
}
ALLOWED = {
    # The framework answers the model that there is no such tool, and reports no error.
    "unknown_tool": {"silent_tool_failure"},
}


def lookup(number: str) -> str:
    """Find an order."""
    return json.dumps({"number": number, "state": "sent"})


def broken(number: str) -> str:
    """Find where an order is."""
    raise RuntimeError("connection pool is exhausted")


def error_text(number: str) -> str:
    """Find the invoice of an order."""
    return "Error: 503 Service Unavailable"


def search(number: str) -> list[str]:
    """Find the complaints about an order."""
    return []


TOOLS = [lookup, broken, error_text, search]


class Traces:
    """A tracer provider that exports to Dimwatch, and knows which trace a script ran in."""

    def __init__(self, service: str, exporter: SpanExporter) -> None:
        self.of_script: dict[str, str] = {}
        self.provider = TracerProvider(resource=Resource({"service.name": service}), shutdown_on_exit=False)
        self.provider.add_span_processor(BatchSpanProcessor(exporter))

    def run(self, script: str, work: Callable[[str], object]) -> None:
        """Run inside of a span of the application's own; the application tries again when the model is busy."""
        with self.provider.get_tracer("shop").start_as_current_span("handle_request") as span:
            self.of_script[script] = f"{span.get_span_context().trace_id:032x}"
            question = f"{script} Where is my order 4711?"
            try:
                work(question)
            except ModelHTTPError:
                work(question)
            except (RuntimeError, UnexpectedModelBehavior):
                pass  # the application tells its user that it is sorry


def run_pydantic_ai(model: FakeModel, endpoint: str) -> dict[str, str]:
    traces = Traces("pydantic-shop", HttpExporter(endpoint=f"{endpoint}/v1/traces", timeout=120))
    Agent.instrument_all(InstrumentationSettings(tracer_provider=traces.provider))
    client = AsyncOpenAI(base_url=model.url, api_key="none", max_retries=0)
    chat = OpenAIChatModel(MODEL, provider=OpenAIProvider(openai_client=client))
    agent = Agent(chat, name="orders", tools=TOOLS)
    with asyncio.Runner() as runner:
        try:
            for script in SCRIPTS:
                traces.run(script, lambda text: runner.run(agent.run(text), context=copy_context()))
        finally:
            runner.run(client.close())
            Agent.instrument_all(False)
            traces.provider.shutdown()
    return traces.of_script


def run_langgraph(model: FakeModel, endpoint: str) -> dict[str, str]:
    traces = Traces("langgraph-shop", GrpcExporter(endpoint=endpoint, insecure=True, timeout=120))
    instrumentor = LangChainInstrumentor()
    instrumentor.instrument(tracer_provider=traces.provider)
    try:
        chat = ChatOpenAI(model=MODEL, base_url=model.url, api_key=SecretStr("none"), max_retries=0)
        retry = ModelRetryMiddleware(max_retries=1, initial_delay=0.0, jitter=False)
        agent: Any = create_agent(chat, [tool(function) for function in TOOLS], middleware=[retry], name="orders")
        for script in SCRIPTS:
            traces.run(script, lambda text: agent.invoke({"messages": [{"role": "user", "content": text}]}))
    finally:
        instrumentor.uninstrument()
        traces.provider.shutdown()
    return traces.of_script


class Observed:
    """What a framework did, and where to look."""

    def __init__(self, running: Running, model: FakeModel, trace_of: dict[str, str]) -> None:
        self.running = running
        self.model = model
        self.trace_of = trace_of

    def one(self, sql: str, script: str) -> list[Any]:
        (row,) = self.running.rows(sql.format(trace=self.trace_of[script]))
        return row


@pytest.fixture(scope="module")
def frameworks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Observed]]:
    folder: Path = tmp_path_factory.mktemp("frameworks")
    with Running(folder, {"assembly__linger_s": "2"}) as running:
        found = {}
        for name, run, endpoint in (
            ("pydantic_ai", run_pydantic_ai, running.http),
            ("langgraph", run_langgraph, running.grpc),
        ):
            with serving(FakeModel(SCRIPTS)) as model:
                found[name] = Observed(running, model, run(model, endpoint))
        running.drain()
        yield found


@pytest.fixture(params=["pydantic_ai", "langgraph"])
def framework(frameworks: dict[str, Observed], request: pytest.FixtureRequest) -> Observed:
    return frameworks[request.param]


@pytest.mark.parametrize("script", list(SCRIPTS))
def test_what_is_wrong_is_found_and_nothing_else(framework: Observed, script: str) -> None:
    rows = framework.running.rows(
        f"SELECT rule, severity, summary FROM observations WHERE trace_id = '{framework.trace_of[script]}'"
    )
    found = {rule for rule, _, _ in rows}
    assert found >= WANTED[script], rows
    assert found <= WANTED[script] | ALLOWED.get(script, set()), rows


def test_the_trace_says_how_it_ended(framework: Observed) -> None:
    outcome = {
        script: framework.one("SELECT outcome FROM traces WHERE trace_id = '{trace}'", script)[0] for script in SCRIPTS
    }
    assert outcome["fine"] == outcome["empty"] == "ok"
    assert outcome["rate_limited"] == "rescued"
    assert outcome["error_text"] == "degraded"
    assert outcome["raises"] in ("failed", "degraded")


@pytest.mark.parametrize("script", ["fine", "error_text", "empty", "truncated", "rate_limited"])
def test_tokens_count_once(framework: Observed, script: str) -> None:
    usage = framework.model.usage[script]
    charged = [usage.calls, usage.input_tokens, usage.output_tokens]
    spans = """SELECT count(), sum(input_tokens), sum(output_tokens) FROM spans
        WHERE trace_id = '{trace}' AND kind = 'llm' AND counted AND effective_status != 'error'"""
    calls = "steps" if script != "rate_limited" else "steps - 1"  # the one that was refused is a step too
    traces = f"SELECT {calls}, input_tokens, output_tokens FROM traces WHERE trace_id = '{{trace}}'"
    if script != "truncated":
        assert framework.one(spans, script) == charged
    assert framework.one(traces, script) == charged


def test_canonical_columns_of_model_and_tool_calls(framework: Observed) -> None:
    model_calls = """SELECT any(request_model), any(response_model), any(provider), groupArray(finish_reason),
            countIf(notEmpty(output_messages))
        FROM (SELECT * FROM spans WHERE trace_id = '{trace}' AND kind = 'llm' AND counted ORDER BY start_time)"""
    assert framework.one(model_calls, "fine") == [MODEL, ANSWERS_AS, "openai", ["tool_call", "stop"], 2]
    tool_call = """SELECT tool, tool_arguments, tool_result, effective_status, reported_status
        FROM spans WHERE trace_id = '{trace}' AND kind = 'tool'"""
    name, arguments, result, status, _ = framework.one(tool_call, "fine")
    assert (name, status) == ("lookup", "ok")
    assert "4711" in arguments
    assert "sent" in result
    *_, status, reported = framework.one(tool_call, "error_text")
    assert (status, reported != "error") == ("error", True), "while the framework reports no error"
    assert framework.one("SELECT agent, complete FROM traces WHERE trace_id = '{trace}'", "fine") == ["orders", True]
