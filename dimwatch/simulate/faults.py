"""The faults of single runs: their names, how often they happen, and what a spoiled tool call looks like."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Final

import orjson

from dimwatch.errors import InvalidError
from dimwatch.simulate.models import NS, Failure
from dimwatch.simulate.runs import ToolCall

DEFAULT_SHARES: Final[Mapping[str, float]] = {
    "tool_error": 0.025,
    "silent_tool_failure": 0.03,
    "empty_tool_result": 0.02,
    "invalid_tool_call": 0.015,
    "tool_loop": 0.01,
    "llm_error": 0.015,
    "rescued_failure": 0.02,
    "truncated_output": 0.01,
    "filtered_output": 0.008,
    "empty_output": 0.008,
    "interrupted_stream": 0.008,
    "model_mismatch": 0.008,
    "stalled_trace": 0.005,
    "incomplete_trace": 0.008,
}
"""Share of an agent's runs that has the fault; a run has at most one."""

HIDDEN: Final[Mapping[str, frozenset[str]]] = {
    # The Langfuse SDK sends no finish reason and only the model that answered.
    "langfuse": frozenset({"truncated_output", "filtered_output", "model_mismatch"}),
}
"""Faults that leave no trace in a convention. They are not drawn there, so that the truth can be found."""

SILENT_FAILURES: Final = ("text", "is_error", "error_object", "html", "timeout_prose", "stack_trace")

_HTML: Final = (
    "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1>"
    "</center>\r\n<hr><center>nginx/1.25.3</center>\r\n</body>\r\n</html>\r\n"
)
_STACK_TRACE: Final = (
    'Traceback (most recent call last):\n  File "/app/tools/client.py", line 88, in call\n'
    "    response.raise_for_status()\nrequests.exceptions.HTTPError: 503 Server Error: Service Unavailable\n"
)
_EXCEPTIONS: Final = (
    Failure("requests.exceptions.HTTPError", "503 Server Error: Service Unavailable for url", 503),
    Failure("RuntimeError", "backend exploded: connection pool is exhausted"),
    Failure("TimeoutError", "timed out after 30 s"),
    Failure("PermissionError", "token expired", 401),
)


def shares(changes: Mapping[str, float]) -> dict[str, float]:
    """The default shares with some changed. Raises InvalidError for a name or a number that can not be."""
    for name, share in changes.items():
        if name not in DEFAULT_SHARES:
            raise InvalidError(f"unknown fault {name!r}; there are {', '.join(DEFAULT_SHARES)}")
        if not 0 <= share <= 1:
            raise InvalidError(f"the share of {name} is {share}, but must be between 0 and 1")
    chosen = {**DEFAULT_SHARES, **changes}
    if sum(chosen.values()) > 1 + 1e-9:
        raise InvalidError(f"the shares of all faults sum to {sum(chosen.values()):.2f}, which is more than 1")
    return chosen


def draw(rng: Random, chosen: Mapping[str, float], convention: str) -> str:
    """The fault of one run, or none (""). Draws the same amount of randomness whatever comes out."""
    point = rng.random()
    for name, share in chosen.items():
        point -= share
        if point < 0:
            return "" if name in HIDDEN.get(convention, ()) else name
    return ""


def fail_tool(rng: Random, call: ToolCall) -> str:
    """The tool raises; returns the variety."""
    failure = rng.choice(_EXCEPTIONS)
    call.failure, call.result = failure, None
    if failure.type == "TimeoutError":
        call.end_ns = call.start_ns + 30 * NS
    return failure.type


def fail_silently(rng: Random, call: ToolCall) -> str:
    """The tool fails inside a result that looks like any other; returns the variety."""
    variety = rng.choice(SILENT_FAILURES)
    results: dict[str, object] = {
        "text": f"Error: {rng.choice(['503 Service Unavailable', '401 Unauthorized', 'connection refused'])}",
        "is_error": {
            "content": [{"type": "text", "text": f"{call.name} failed: upstream connect error"}],
            "isError": True,
        },
        "error_object": {
            "error": {
                "code": rng.choice([500, 503, 429]),
                "message": "The service could not process the request",
            }
        },
        "html": _HTML,
        "timeout_prose": "The request timed out after 30 seconds. Please try again later.",
        "stack_trace": _STACK_TRACE,
    }
    call.result = results[variety]
    if variety == "timeout_prose":
        call.end_ns = call.start_ns + 30 * NS
    return variety


def empty_result(rng: Random, call: ToolCall) -> str:
    """The tool finds nothing; returns the variety."""
    if call.tool is not None:
        call.result = call.tool.empty
    return repr(call.result)


TOOL_FAULTS: Final = {
    "tool_error": fail_tool,
    "silent_tool_failure": fail_silently,
    "empty_tool_result": empty_result,
}


def invalidate(rng: Random, call: ToolCall) -> str:
    """Make the model's request itself wrong: unknown tool, broken schema, or no JSON; returns the variety."""
    variety = rng.choice(["unknown_tool", "schema", "unparseable"])
    if variety == "unknown_tool":
        call.name, call.tool, call.executed = call.name + rng.choice(["_v2", "_all", "s"]), None, False
        message = f"unknown tool {call.name}"
    elif variety == "schema":
        arguments = orjson.loads(call.arguments)
        missing = call.tool.required[0] if call.tool is not None else next(iter(arguments))
        del arguments[missing]
        call.arguments = orjson.dumps(arguments).decode()
        message = f"1 validation error for {call.name}: {missing}: field required"
    else:
        call.arguments, call.executed = call.arguments[: max(3, len(call.arguments) // 2)], False
        message = f"arguments of {call.name} are not valid JSON: unterminated string"
    call.failure, call.result = Failure("ValidationError", message), None
    call.end_ns = call.start_ns + NS // 1000
    return variety
