"""A local server that speaks the chat completions API: what it answers is written in the test, not thought up."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "gpt-4o-mini"
ANSWERS_AS = "gpt-4o-mini-2024-07-18"


@dataclass(frozen=True)
class Turn:
    """One answer: a tool call, a text, or an HTTP error."""

    tool: str = ""
    arguments: Mapping[str, object] = field(default_factory=dict)
    text: str | None = None
    finish: str = ""
    status: int = 200


@dataclass
class Usage:
    """What was charged for."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


class FakeModel:
    """Answers by script. The first word of the first user message names the script.

    Turns are given in order, one a request; each costs another number of tokens, so that nothing that is counted twice
    can go unseen.
    """

    def __init__(self, scripts: Mapping[str, Sequence[Turn]]) -> None:
        self.usage: dict[str, Usage] = {name: Usage() for name in scripts}
        self._scripts = scripts
        self._given: Counter[str] = Counter()
        self._lock = threading.Lock()
        self.url = ""

    def answer(self, request: dict[str, Any]) -> tuple[int, dict[str, object]]:
        """Status and body of the answer to a request."""
        asked = next(message["content"] for message in request["messages"] if message["role"] == "user")
        text = asked if isinstance(asked, str) else asked[0]["text"]
        script = text.split()[0]
        with self._lock:
            number = self._given[script]
            self._given[script] += 1
        turn = self._scripts[script][number]
        if turn.status != 200:
            error = {"message": "Rate limit reached for requests", "type": "requests", "code": "rate_limit_exceeded"}
            return turn.status, {"error": error}
        used = {"prompt_tokens": 101 + 10 * number, "completion_tokens": 7 + number}
        usage = self.usage[script]
        usage.calls += 1
        usage.input_tokens += used["prompt_tokens"]
        usage.output_tokens += used["completion_tokens"]
        message: dict[str, object] = {"role": "assistant", "content": turn.text, "refusal": None}
        if turn.tool:
            function = {"name": turn.tool, "arguments": json.dumps(turn.arguments)}
            message["tool_calls"] = [{"id": f"call_{script}_{number}", "type": "function", "function": function}]
        return 200, {
            "id": f"chatcmpl-{script}-{number}",
            "object": "chat.completion",
            "created": 1_760_000_000,
            "model": ANSWERS_AS,
            "system_fingerprint": "fp_test",
            "choices": [
                {
                    "index": 0,
                    "message": message,
                    "finish_reason": turn.finish or ("tool_calls" if turn.tool else "stop"),
                    "logprobs": None,
                }
            ],
            "usage": used | {"total_tokens": sum(used.values())},
        }


@contextmanager
def serving(model: FakeModel) -> Iterator[FakeModel]:
    """Serve on loopback while the block runs; `model.url` is the base URL for clients."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            status, answer = model.answer(json.loads(body))
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, name="fake-model")
        thread.start()
        model.url = f"http://127.0.0.1:{server.server_port}/v1"
        try:
            yield model
        finally:
            server.shutdown()
            thread.join()
