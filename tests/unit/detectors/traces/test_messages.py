"""Payloads of many dialects give the same facts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from detectors.traces.messages import MessageFacts, Usage, read_messages

ID, TOOL, ARGUMENTS, RESULT = "call_98f3a2c1", "get_weather", {"city": "Paris"}, "Paris: 18C, sunny"
WRITTEN = json.dumps(ARGUMENTS)
USER = {"role": "user", "content": "Weather in Paris?"}


def _openai_call(arguments: str = WRITTEN) -> dict[str, Any]:
    return {"id": ID, "type": "function", "function": {"name": TOOL, "arguments": arguments}}


CONVERSATIONS: dict[str, Any] = {
    "openai chat": [
        USER,
        {"role": "assistant", "content": None, "tool_calls": [_openai_call()]},
        {"role": "tool", "tool_call_id": ID, "content": RESULT},
    ],
    "otel parts": [
        {"role": "user", "parts": [{"type": "text", "content": "Weather?"}]},
        {"role": "assistant", "parts": [{"type": "tool_call", "id": ID, "name": TOOL, "arguments": ARGUMENTS}]},
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": ID, "response": RESULT}]},
    ],
    "otel parts, result by the user, arguments as text": [
        {"role": "assistant", "parts": [{"type": "tool_call", "id": ID, "name": TOOL, "arguments": WRITTEN}]},
        {"role": "user", "parts": [{"type": "tool_call_response", "id": ID, "name": TOOL, "result": RESULT}]},
    ],
    "anthropic": [
        {"role": "assistant", "content": [{"type": "tool_use", "id": ID, "name": TOOL, "input": ARGUMENTS}]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": ID, "content": [{"type": "text", "text": RESULT}]}]},
    ],
    "anthropic blocks serialised into text": [
        {"role": "assistant", "content": json.dumps([
            {"type": "tool_use", "id": ID, "name": TOOL, "input": ARGUMENTS}])},
        {"role": "user", "content": json.dumps([{"type": "tool_result", "tool_use_id": ID, "content": RESULT}])},
    ],
    "openai responses": {
        "input": [
            USER,
            {"type": "function_call", "id": "fc_1", "call_id": ID, "name": TOOL, "arguments": WRITTEN},
            {"type": "function_call_output", "call_id": ID, "output": RESULT},
        ]
    },
    "vercel": [
        {"role": "assistant", "content": [
            {"type": "tool-call", "toolCallId": ID, "toolName": TOOL, "input": ARGUMENTS}]},
        {
            "role": "tool",
            "content": [
                {"type": "tool-result", "toolCallId": ID, "toolName": TOOL, "output": {"type": "text", "value": RESULT}}
            ],
        },
    ],
    "vercel ui message": [
        {
            "role": "assistant",
            "parts": [
                {
                    "type": "tool-invocation",
                    "toolInvocation": {
                        "state": "result", "toolCallId": ID, "toolName": TOOL, "args": ARGUMENTS, "result": RESULT,
                    },
                }
            ],
        }
    ],
    "bedrock": [
        {"role": "assistant", "content": [{"toolUse": {"toolUseId": ID, "name": TOOL, "input": ARGUMENTS}}]},
        {"role": "user", "content": [
            {"toolResult": {"toolUseId": ID, "content": [{"text": RESULT}], "status": "success"}}]},
    ],
    "gemini with ids": {
        "contents": [
            {"role": "model", "parts": [{"functionCall": {"id": ID, "name": TOOL, "args": ARGUMENTS}}]},
            {"role": "user", "parts": [{"functionResponse": {"id": ID, "name": TOOL, "response": RESULT}}]},
        ]
    },
    "langchain constructors": {
        "messages": [[
            {"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", "AIMessage"], "kwargs": {
                "content": "", "additional_kwargs": {"tool_calls": [_openai_call()]},
                "tool_calls": [{"name": TOOL, "args": ARGUMENTS, "id": ID, "type": "tool_call"}]}},
            {"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", "ToolMessage"], "kwargs": {
                "content": RESULT, "tool_call_id": ID, "name": TOOL, "status": "success"}},
        ]]
    },
    "langchain dicts": {"messages": [
        {"type": "ai", "data": {"content": "", "tool_calls": [{"name": TOOL, "args": ARGUMENTS, "id": ID}]}},
        {"type": "tool", "data": {"content": RESULT, "tool_call_id": ID, "name": TOOL, "type": "tool"}},
    ]},
    "autogen": {"messages": [
        {"source": "a", "type": "ToolCallRequestEvent", "content": [
            {"id": ID, "name": TOOL, "arguments": WRITTEN}]},
        {"source": "a", "type": "ToolCallExecutionEvent", "content": [
            {"content": RESULT, "name": TOOL, "call_id": ID, "is_error": False}]},
    ]},
    "haystack": {"messages": [
        {"role": "assistant", "content": [{"tool_call": {"tool_name": TOOL, "arguments": ARGUMENTS, "id": ID}}]},
        {"role": "tool", "content": [{"tool_call_result": {
            "result": RESULT, "origin": {"tool_name": TOOL, "arguments": ARGUMENTS, "id": ID}, "error": False}}]},
    ]},
    "pydantic-ai": [
        {"kind": "response", "parts": [
            {"part_kind": "tool-call", "tool_name": TOOL, "args": ARGUMENTS, "tool_call_id": ID}]},
        {"kind": "request", "parts": [
            {"part_kind": "tool-return", "tool_name": TOOL, "content": RESULT, "tool_call_id": ID}]},
    ],
    "llamaindex blocks": [
        {"role": "assistant", "blocks": [
            {"block_type": "tool_call", "tool_call_id": ID, "tool_name": TOOL, "tool_kwargs": ARGUMENTS}]},
        {"role": "tool", "additional_kwargs": {"tool_call_id": ID}, "tool_call_id": ID,
         "blocks": [{"block_type": "text", "text": RESULT}]},
    ],
    "semantic kernel": [
        {"role": "assistant", "items": [
            {"content_type": "function_call", "id": ID, "name": TOOL, "arguments": WRITTEN}]},
        {"role": "tool", "items": [{"content_type": "function_result", "id": ID, "name": TOOL, "result": RESULT}]},
    ],
    "spring ai": [
        {"messageType": "ASSISTANT", "text": "", "toolCalls": [
            {"id": ID, "type": "function", "name": TOOL, "arguments": WRITTEN}]},
        {"messageType": "TOOL", "responses": [{"id": ID, "name": TOOL, "responseData": RESULT}]},
    ],
    "langchain4j": [
        {"type": "AI", "toolExecutionRequests": [{"id": ID, "name": TOOL, "arguments": WRITTEN}]},
        {"type": "TOOL_EXECUTION_RESULT", "id": ID, "toolName": TOOL, "text": RESULT},
    ],
    "cohere": [
        {"role": "assistant", "tool_calls": [_openai_call()]},
        {"role": "tool", "tool_call_id": ID, "content": [{"type": "text", "text": RESULT}]},
    ],
    "camel": [
        {"role": "assistant", "content": "", "tool_calls": [_openai_call()]},
        {"role": "tool", "content": RESULT, "tool_call_id": ID},
    ],
    "run record with its answer": {"tools": [
        {"tool_call_id": ID, "tool_name": TOOL, "tool_args": ARGUMENTS, "result": RESULT, "tool_call_error": False}]},
    "openinference dotted": [
        {"message.role": "assistant", "message.tool_calls": [
            {"tool_call.id": ID, "tool_call.function.name": TOOL,
             "tool_call.function.arguments": WRITTEN}]},
        {"message.role": "tool", "message.tool_call_id": ID, "message.content": RESULT},
    ],
    "openinference nested": [
        {"message": {"role": "user", "contents": [{"message_content": {"type": "text", "text": "Weather?"}}]}},
        {"message": {"role": "assistant", "tool_calls": [
            {"tool_call": {"id": ID, "function": {"name": TOOL, "arguments": WRITTEN}}}]}},
        {"message": {"role": "tool", "tool_call_id": ID,
                     "contents": [{"message_content": {"type": "text", "text": RESULT}}]}},
    ],
    "smolagents": [
        {"role": "tool-call", "content": [{"type": "text", "text": "Calling tools:\n" + repr([
            {"id": ID, "type": "function", "function": {"name": TOOL, "arguments": ARGUMENTS}}])}]},
        {"role": "tool-response", "content": [
            {"type": "text", "text": f"Call id: {ID}\nObservation:\n{RESULT}"}]},
    ],
    "cohere v1": [
        {"role": "CHATBOT", "message": "", "tool_calls": [{"id": ID, "name": TOOL, "parameters": ARGUMENTS}]},
        {"role": "TOOL", "tool_results": [
            {"call": {"id": ID, "name": TOOL, "parameters": ARGUMENTS}, "outputs": [{"text": RESULT}]}]},
    ],
    "logfire events": [
        {"event.name": "gen_ai.assistant.message", "role": "assistant", "tool_calls": [_openai_call()]},
        {"event.name": "gen_ai.tool.message", "id": ID, "role": "tool", "content": RESULT},
    ],
    "autogen core": [
        {"type": "AssistantMessage", "source": "a", "content": [{"id": ID, "name": TOOL, "arguments": WRITTEN}]},
        {"type": "FunctionExecutionResultMessage", "content": [
            {"call_id": ID, "name": TOOL, "content": RESULT, "is_error": False}]},
    ],
    "crewai task": {"raw": "done", "messages": [
        {"role": "assistant", "content": "", "tool_calls": [_openai_call()]},
        {"role": "tool", "content": RESULT, "tool_call_id": ID, "name": TOOL},
    ]},
    "list of JSON texts": [
        json.dumps({"role": "assistant", "content": "", "tool_calls": [_openai_call()]}),
        json.dumps({"role": "tool", "tool_call_id": ID, "content": RESULT}),
    ],
    "decorated function's arguments": {"args": [], "kwargs": {"messages": [
        {"role": "assistant", "content": "", "tool_calls": [_openai_call()]},
        {"role": "tool", "tool_call_id": ID, "content": RESULT},
    ]}},
}  # fmt: skip


@pytest.mark.parametrize("dialect", CONVERSATIONS)
def test_a_call_and_its_result_are_found_in_every_dialect(dialect: str) -> None:
    facts = read_messages(json.dumps(CONVERSATIONS[dialect]))

    assert [(call.id, call.name) for call in facts.calls] == [(ID, TOOL)]
    assert json.loads(facts.calls[0].arguments or "") == ARGUMENTS
    assert [(result.call_id, result.content) for result in facts.results] == [(ID, RESULT)]
    assert facts.results[0].is_error in (None, False)
    assert facts.calls[0].position < facts.results[0].position
    assert not facts.truncated


@pytest.mark.parametrize("dialect", CONVERSATIONS)
def test_payloads_that_were_serialised_again_read_the_same(dialect: str) -> None:
    document = json.dumps(CONVERSATIONS[dialect])
    once = read_messages(document)
    for _ in range(3):
        document = json.dumps(document)

    again = read_messages(document)

    assert (again.calls, again.results, again.text) == (once.calls, once.results, once.text)


@pytest.mark.parametrize("dialect", CONVERSATIONS)
def test_a_cut_payload_says_so_and_invents_nothing(dialect: str) -> None:
    document = json.dumps(CONVERSATIONS[dialect])
    whole = read_messages(document)
    for end in range(1, len(document)):
        facts = read_messages(document[:end])
        assert len(facts.calls) <= 1
        for call in facts.calls:
            assert call.name == TOOL
            assert call.arguments is None or json.loads(call.arguments) == ARGUMENTS
        for result in facts.results:
            assert result.content is None or (result.content and RESULT.startswith(result.content))
        if facts.calls or facts.results:
            assert facts.truncated or (facts.calls, facts.results) == (whole.calls, whole.results)


@pytest.mark.parametrize(
    ("printed", "content"),
    [
        (
            "{'messages': [ChatMessage(_role=<ChatRole.ASSISTANT: 'assistant'>, _content=[ToolCall("
            "tool_name='get_weather', arguments={'city': 'Paris'}, id='call_98f3a2c1', extra=None)],"
            " _name=None, _meta={}),"
            " ChatMessage(_role=<ChatRole.TOOL: 'tool'>, _content=[ToolCallResult(result='Paris: 18C, sunny',"
            " origin=ToolCall(tool_name='get_weather', arguments={'city': 'Paris'}, id='call_98f3a2c1'),"
            " error=False)])]}",
            RESULT,
        ),
        (
            "[AIMessage(content='', additional_kwargs={}, tool_calls=[{'name': 'get_weather', 'args': {"
            "'city': 'Paris'}, 'id': 'call_98f3a2c1', 'type': 'tool_call'}]), ToolMessage(content='Paris: 18C, sunny',"
            " name='get_weather', tool_call_id='call_98f3a2c1')]",
            RESULT,
        ),
        (
            "[ChatCompletionMessage(content=None, role='assistant', tool_calls=[ChatCompletionMessageToolCall("
            "id='call_98f3a2c1', function=Function(arguments='{\"city\": \"Paris\"}', name='get_weather'),"
            " type='function')]),"
            " {'role': 'tool', 'tool_call_id': 'call_98f3a2c1', 'content': \"it's sunny\"}]",
            "it's sunny",
        ),
        (
            "[ModelResponse(parts=[ToolCallPart(tool_name='get_weather', args={'city': 'Paris'},"
            " tool_call_id='call_98f3a2c1')]),"
            " ModelRequest(parts=[ToolReturnPart(tool_name='get_weather', content='Paris: 18C, sunny',"
            " tool_call_id='call_98f3a2c1', timestamp=datetime.datetime(2025, 1, 1, tzinfo=datetime.timezone.utc))])]",
            RESULT,
        ),
        (
            "[AssistantMessage [messageType=ASSISTANT, toolCalls=[ToolCall[id=call_98f3a2c1, type=function,"
            ' name=get_weather, arguments={"city": "Paris"}]], textContent=, metadata={finishReason=TOOL_CALLS}],'
            " ToolResponseMessage{responses=[ToolResponse[id=call_98f3a2c1, name=get_weather, responseData=sunny]]}]",
            "sunny",
        ),
    ],
)  # fmt: skip
def test_printed_objects_are_read(printed: str, content: str) -> None:
    facts = read_messages(printed)

    assert [(call.id, call.name) for call in facts.calls] == [(ID, TOOL)]
    assert json.loads(facts.calls[0].arguments or "") == ARGUMENTS
    assert [(result.call_id, result.content) for result in facts.results] == [(ID, content)]


def test_a_result_without_content_key_is_not_an_empty_result() -> None:
    parts = [{"role": "tool", "parts": [{"type": "tool_call_response", "id": ID, "name": TOOL}]}]
    assert read_messages(json.dumps(parts)).results[0].content is None

    chat = [{"role": "user"}, {"role": "tool", "tool_call_id": ID}]
    assert read_messages(json.dumps(chat)).results[0].content is None


def test_a_chat_result_without_content_is_empty_where_content_is_captured() -> None:
    """Instrumentations that flatten messages into attributes drop an empty content."""
    document = json.dumps([USER, {"role": "tool", "tool_call_id": ID}])

    assert read_messages(document).results[0].content == ""
    assert read_messages(document[:-1]).results[0].content is None


@pytest.mark.parametrize("mark", ["__REDACTED__", "[REDACTED]", "<redacted>", "***", "<elided>", "[Filtered]"])
def test_withheld_content_is_not_captured(mark: str) -> None:
    facts = read_messages(json.dumps([
        {"role": "assistant", "content": mark, "tool_calls": [_openai_call(mark)]},
        {"role": "tool", "tool_call_id": ID, "content": mark},
    ]))  # fmt: skip

    assert facts.calls[0].arguments is None
    assert facts.results[0].content is None
    assert facts.text is None
    assert read_messages(mark) == MessageFacts()


def test_invalid_arguments_are_kept_as_they_are() -> None:
    facts = read_messages(json.dumps({"role": "assistant", "tool_calls": [_openai_call('{"city": "Par')]}))

    assert facts.calls[0].arguments == '{"city": "Par'
    assert not facts.truncated


@pytest.mark.parametrize(
    ("output", "text"),
    [
        ("The weather is fine.", "The weather is fine."),
        ("", ""),
        ("null", ""),
        ({"role": "assistant", "content": ""}, ""),
        ({"role": "assistant", "content": None}, ""),
        ({"role": "assistant", "content": []}, ""),
        ([{"role": "assistant", "parts": []}], ""),
        ({"choices": [{"message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}]}, "hi"),
        ({"choices": [{"text": "hi", "index": 0, "finish_reason": "stop"}]}, "hi"),
        ({"choices": [{"message": {"role": "assistant"}, "finish_reason": "stop"}]}, None),
        ([{"role": "assistant", "parts": [{"type": "text"}], "finish_reason": "stop"}], None),
        ([{"role": "assistant", "parts": [{"type": "text", "content": "hi"}]}], "hi"),
        ({"output": [{"type": "message", "role": "assistant",
                      "content": [{"type": "output_text", "text": "hi"}]}]}, "hi"),
        ({"candidates": [{"content": {"parts": [{"text": "hi"}], "role": "model"}, "finishReason": "STOP"}]}, "hi"),
        ({"candidates": [{"content": {"parts": [{"text": "hm", "thought": True}], "role": "model"}}]}, None),
        ({"role": "assistant", "tool_calls": [_openai_call()]}, ""),
        ({"role": "assistant", "tool_calls": [{"id": ID, "function": {"name": TOOL}}]}, None),
        ({"generations": [[
            {"text": "hi", "message": {"lc": 1, "id": ["AIMessage"], "kwargs": {"content": "hi"}}}]]}, "hi"),
        ({"replies": []}, ""),
        ({"answer": "hi"}, "hi"),
        ({"city": "Paris", "temperature": 18}, '{"city": "Paris", "temperature": 18}'),
        ([{"role": "assistant", "content": "first"}, USER, {"role": "assistant", "content": "last"}], "last"),
        ([{"choices": [{"delta": {"role": "assistant", "content": c}, "index": 0}]}
          for c in ("The ", "end")], "The end"),
    ],
)  # fmt: skip
def test_the_text_that_the_assistant_said(output: Any, text: str | None) -> None:
    assert read_messages(output if isinstance(output, str) else json.dumps(output)).text == text


@pytest.mark.parametrize(
    ("response", "finish", "model", "usage"),
    [
        (
            {"id": "chatcmpl-1", "object": "chat.completion", "model": "gpt-4o-2024-08-06",
             "choices": [{"finish_reason": "length", "message": {"role": "assistant", "content": "x"}}],
             "usage": {"prompt_tokens": 10, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 4},
                       "completion_tokens_details": {"reasoning_tokens": 3}}},
            ("length",), "gpt-4o-2024-08-06", Usage(10, 7, 4, None, 3),
        ),
        (
            {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5",
             "stop_reason": "max_tokens", "content": [{"type": "text", "text": "x"}],
             "usage": {"input_tokens": 10, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 2,
                       "output_tokens": 7}},
            ("max_tokens",), "claude-sonnet-4-5", Usage(17, 7, 5, 2, None),
        ),
        (
            {"candidates": [{"content": {"role": "model", "parts": [{"text": "x"}]}, "finishReason": "MAX_TOKENS"}],
             "modelVersion": "gemini-3-pro", "responseId": "r1",
             "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 4, "thoughtsTokenCount": 3,
                               "totalTokenCount": 17}},
            ("MAX_TOKENS",), "gemini-3-pro", Usage(10, 7, None, None, 3),
        ),
        (
            {"id": "resp_1", "object": "response", "status": "incomplete", "model": "gpt-5",
             "incomplete_details": {"reason": "max_output_tokens"},
             "output": [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "x"}]}],
             "usage": {"input_tokens": 10, "output_tokens": 7, "output_tokens_details": {"reasoning_tokens": 3}}},
            ("incomplete", "max_output_tokens"), "gpt-5", Usage(10, 7, None, None, 3),
        ),
        (
            {"output": {"message": {"role": "assistant", "content": [{"text": "x"}]}}, "stopReason": "max_tokens",
             "usage": {"inputTokens": 10, "outputTokens": 7, "totalTokens": 17}, "modelId": "nova"},
            ("max_tokens",), "nova", Usage(10, 7),
        ),
        (
            {"model": "llama", "message": {"role": "assistant", "content": "x"}, "done_reason": "length",
             "prompt_eval_count": 10, "eval_count": 7},
            ("length",), "llama", Usage(10, 7),
        ),
    ],
)  # fmt: skip
def test_facts_about_the_response(response: Any, finish: tuple[str, ...], model: str, usage: Usage) -> None:
    facts = read_messages(json.dumps(response))

    assert facts.text == "x"
    assert sorted(facts.finish_reasons) == sorted(finish)
    assert facts.models == (model,)
    assert facts.usage == usage
    assert facts.response_id == response.get("id", response.get("responseId"))


def test_refusals_are_seen() -> None:
    assert read_messages('{"role":"assistant","content":null,"refusal":"I cannot help"}').refusal
    assert read_messages('{"role":"assistant","content":[{"type":"refusal","refusal":"no"}]}').refusal
    assert not read_messages('{"role":"assistant","content":"I cannot help","refusal":null}').refusal


def test_offered_tools_are_kept_and_are_no_calls() -> None:
    definition = {"type": "function", "function": {"name": TOOL, "parameters": {"type": "object", "properties": {}}}}
    facts = read_messages(json.dumps({"messages": [USER], "tools": [definition]}))

    assert json.loads(facts.tools or "") == [definition]
    assert facts.calls == ()
    assert facts.last_role == "user"


def test_one_call_stated_twice_is_one_call_and_a_repeated_call_is_two() -> None:
    call = {"role": "assistant", "content": "", "tool_calls": [_openai_call()]}
    result = {"role": "tool", "tool_call_id": ID, "content": RESULT}
    assert len(read_messages(json.dumps({"messages": [call, result], "last_message": call})).calls) == 1

    reused = json.dumps([call, result, call, result]).replace(ID, "call_0")
    facts = read_messages(reused)
    assert (len(facts.calls), len(facts.results)) == (2, 2)


def test_streamed_fragments_of_arguments_are_joined() -> None:
    chunks = [
        {"choices": [{"index": 0, "delta": {"role": "assistant", "tool_calls": [
            {"index": 0, "id": ID, "function": {"name": TOOL, "arguments": ""}}]}}]},
        {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": '{"city": '}}]}}]},
        {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": '"Paris"}'}}]}}]},
    ]  # fmt: skip
    facts = read_messages(json.dumps(chunks))
    assert [call.arguments for call in facts.calls] == ['{"city": "Paris"}']


def test_what_a_result_says_about_itself() -> None:
    def flag(part: dict[str, Any]) -> bool | None:
        return read_messages(json.dumps([{"role": "user", "content": [part]}])).results[0].is_error

    assert flag({"type": "tool_result", "tool_use_id": ID, "content": "x", "is_error": True}) is True
    assert flag({"type": "tool_result", "tool_use_id": ID, "content": "x"}) is None
    assert flag({"toolResult": {"toolUseId": ID, "content": [{"text": "x"}], "status": "error"}}) is True
    assert flag({"type": "tool-result", "toolCallId": ID, "output": {"type": "error-text", "value": "x"}}) is True
    assert flag({"call_id": ID, "content": "x", "is_error": False}) is False


def test_data_inside_arguments_and_results_is_not_searched_for_calls() -> None:
    trap = {"name": "other", "arguments": "{}", "id": "x1", "type": "function_call"}
    facts = read_messages(json.dumps([
        {"role": "assistant", "content": "", "tool_calls": [_openai_call(json.dumps({"payload": trap}))]},
        {"role": "tool", "tool_call_id": ID, "content": json.dumps({"calls": [trap]})},
        {"role": "assistant", "content": json.dumps({"calls": [trap]})},
    ]))  # fmt: skip
    assert [call.name for call in facts.calls] == [TOOL]


def test_huge_and_deep_payloads_are_bounded() -> None:
    many = json.dumps(
        [
            {"role": "assistant", "content": "", "tool_calls": [{"id": str(i), "name": "a", "args": {}}]}
            for i in range(30_000)
        ]
    )
    facts = read_messages(many)
    assert facts.truncated
    assert len(facts.calls) <= 20_000

    deep = read_messages('{"a":' * 900 + "1" + "}" * 900)
    assert deep.truncated
    assert deep.calls == ()


@pytest.mark.parametrize(
    "record",
    [
        {"id": "9", "name": "model", "input": {"a": 1}},
        {"id": "agent-1", "name": "weather_agent", "parameters": {"temperature": 0}},
        {"id": "t", "name": "get_weather", "description": "Weather", "args": {"city": "string"}},
        {"type": "function", "function": {"name": TOOL, "parameters": {}}},
        {"name": TOOL, "input_schema": {"type": "object"}},
        {"id": "1", "text": "x", "result": "y"},
    ],
)
def test_records_that_only_resemble_calls_and_results_are_neither(record: dict[str, Any]) -> None:
    facts = read_messages(json.dumps({"data": [record]}))

    assert facts.calls == ()
    assert facts.results == ()
