"""Long conversations: what happened in one turn is told once, though every later trace repeats the history."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence

import pytest

from tests.scenario.dialects import Message, answers, asks, genai_agent, genai_llm, openinference_llm, says, user
from tests.telemetry import Span, Value, seen, spans_request

TURNS = 10
FAILED = "Error: 503 Service Unavailable"

Model = Callable[[int, int, int, float, Sequence[Message], Message], Span]


def genai(id: int, parent: int, trace: int, start: float, given: Sequence[Message], said: Message) -> Span:
    """Chat messages as one attribute."""
    finish = "tool_calls" if said.get("tool_calls") else "stop"
    return genai_llm(id, parent, list(given), [said], finish, trace=trace, start=start)


def openinference(id: int, parent: int, trace: int, start: float, given: Sequence[Message], said: Message) -> Span:
    """Chat messages as one attribute for each field."""
    attributes: dict[str, Value] = {}
    for side, messages in (("input", given), ("output", [said])):
        for number, message in enumerate(messages):
            prefix = f"llm.{side}_messages.{number}.message"
            attributes[f"{prefix}.role"] = message["role"]
            for key in ("content", "tool_call_id"):
                if message.get(key) is not None:
                    attributes[f"{prefix}.{key}"] = message[key]
            for call in message.get("tool_calls") or ():
                attributes[f"{prefix}.tool_calls.0.tool_call.id"] = call["id"]
                attributes[f"{prefix}.tool_calls.0.tool_call.function.name"] = call["function"]["name"]
                attributes[f"{prefix}.tool_calls.0.tool_call.function.arguments"] = call["function"]["arguments"]
    return openinference_llm(id, parent, attributes, trace=trace, start=start)


def responses(id: int, parent: int, trace: int, start: float, given: Sequence[Message], said: Message) -> Span:
    """The items of OpenAI's Responses."""
    items: list[dict[str, object]] = []
    for message in given:
        if message["role"] == "tool":
            items.append(
                {"type": "function_call_output", "call_id": message["tool_call_id"], "output": message["content"]}
            )
        elif message.get("tool_calls"):
            (call,) = message["tool_calls"]
            items.append({"type": "function_call", "call_id": call["id"], **call["function"]})
        else:
            items.append({"type": "message", "role": message["role"], "content": message["content"]})
    finish = "tool_calls" if said.get("tool_calls") else "stop"
    return genai_llm(
        id, parent, None, [said], finish, {"gen_ai.input.messages": json.dumps(items)}, trace=trace, start=start
    )


def conversation(model: Model, *, agents: bool, result: Callable[[int], str] = lambda _: "18C") -> list[Span]:
    """Ten turns, in each of which a tool is called; the first one fails. With agents a turn is a trace; without, every
    model call is."""
    spans: list[Span] = []
    history: list[Message] = []
    id = trace = 0
    for turn in range(1, TURNS + 1):
        call = f"call_{turn:08}"
        history.append(user(f"And on day {turn}?"))
        parent = 0
        if agents:
            id, trace = id + 1, trace + 1
            parent = id
            spans.append(genai_agent(id, trace=trace, start=turn * 10, seconds=9))
        for step, said in enumerate((asks(call), says(f"It is sunny on day {turn}."))):
            id += 1
            trace += not agents
            spans.append(model(id, parent, trace, turn * 10 + 4 * step, tuple(history), said))
            history.append(said)
            if step == 0:
                history.append(answers(call, FAILED if turn == 1 else result(turn)))
    return spans


@pytest.mark.parametrize("agents", [True, False], ids=["a trace a turn", "a trace a call"])
@pytest.mark.parametrize("model", [genai, openinference, responses])
def test_a_failure_of_the_first_turn_is_told_once(model: Model, agents: bool) -> None:
    found = seen([spans_request(conversation(model, agents=agents))])
    assert [row["rule"] for row in found.observations.values()] == ["silent_tool_failure"]
    assert sum(row["tool_calls"] for row in found.traces.values()) == (TURNS if agents else 2 * TURNS)
    assert Counter(row["outcome"] for row in found.traces.values())["degraded"] == 1


def test_the_same_question_in_every_turn_is_no_loop() -> None:
    spans = conversation(genai, agents=True, result=lambda _: "18C")
    assert "tool_loop" not in seen([spans_request(spans)]).rules()


def test_a_loop_within_a_turn_is_told_where_every_call_is_a_trace_of_its_own() -> None:
    history: list[Message] = [user("Weather?")]
    spans = []
    for number in range(1, 7):
        call = f"call_{number:08}"
        spans.append(genai(number, 0, number, number * 10, tuple(history), asks(call)))
        history += [asks(call), answers(call, "try again")]
    found = seen([spans_request(spans)])
    loops = [row for row in found.observations.values() if row["rule"] == "tool_loop"]
    assert loops
    assert max(json.loads(row["evidence"])["repeats"] for row in loops) >= 4


def test_results_of_calls_in_parallel_are_all_new() -> None:
    first, second = asks("call_00000001"), asks("call_00000002")
    both = {**first, "tool_calls": [*first["tool_calls"], *second["tool_calls"]]}
    given = [user("Weather?"), both, answers("call_00000001", FAILED), answers("call_00000002", FAILED)]
    found = seen([spans_request([genai(1, 0, 1, 0, given, says("Sunny."))])])
    assert found.trace["tool_calls"] == 2
    assert found.rules() == {"silent_tool_failure"}
