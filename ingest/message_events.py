"""Messages that arrive as one event each (`gen_ai.user.message`, `gen_ai.choice`, ...), on spans or as logs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from ingest.fields import FieldReader
from ingest.otlp.attributes import Attributes, Indices
from ingest.otlp.columns import RawSpans

INPUT_EVENTS: Final = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}
OUTPUT_EVENT: Final = "gen_ai.choice"
_CONTENT: Final = ("gen_ai.event.content", "event_content")


def is_message_event(names: pa.Array) -> pa.Array:
    """Which of the event names carry one message each."""
    return pc.is_in(names, pa.array([*INPUT_EVENTS, OUTPUT_EVENT]))


def messages_of_span_events(raw: RawSpans, *, outputs: bool) -> pa.Array | None:
    """One JSON array of messages a span, from its message events; null where there is none, None if no span has one."""
    count = len(raw)
    wanted = pa.array([OUTPUT_EVENT] if outputs else list(INPUT_EVENTS))
    rows = np.flatnonzero(pc.is_in(raw.event_name, wanted).to_numpy(zero_copy_only=False))
    if not len(rows):
        return None
    bodies = _bodies(raw.event_attributes, len(raw.event_name), rows)
    return grouped(count, raw.event_span[rows], raw.event_name.take(pa.array(rows)).to_pylist(), bodies)


def _bodies(attributes: Attributes, events: int, rows: Indices) -> list[dict[str, object]]:
    reader = FieldReader(events, attributes)
    bodies: list[dict[str, object]] = [{} for _ in range(events)]
    for key in list(reader.names()):
        owners, values = reader.values(key)
        for owner, value in zip(owners.tolist(), values.to_pylist(), strict=True):
            if key in _CONTENT:
                content = _loads(value)
                bodies[owner].update(content if isinstance(content, dict) else {"content": value})
            else:
                bodies[owner][key.removeprefix("gen_ai.")] = _loads(value)
    return [bodies[row] for row in rows.tolist()]


def grouped(count: int, owners: Indices, names: Iterable[str], bodies: Iterable[dict[str, object]]) -> pa.Array:
    """Put each event's body, with the role that its name means, into its owner's array."""
    messages: dict[int, list[dict[str, object]]] = defaultdict(list)
    for owner, name, body in zip(owners.tolist(), names, bodies, strict=True):
        messages[owner].append(_message(name, body))
    documents: list[str | None] = [None] * count
    for owner, found in messages.items():
        documents[owner] = _document(found)
    return pa.array(documents, pa.string())


def _document(messages: list[dict[str, object]]) -> str:
    try:
        return orjson.dumps(messages).decode()
    except orjson.JSONEncodeError:  # nested deeper than JSON is written: keep what is not nested
        flat = [{key: value for key, value in message.items() if isinstance(value, str)} for message in messages]
        return orjson.dumps(flat).decode()


def _message(name: str, body: dict[str, object]) -> dict[str, object]:
    if name == OUTPUT_EVENT:
        message = body.get("message")
        flat = message if isinstance(message, dict) else {}
        return {"role": "assistant", **flat, **{key: body[key] for key in body if key != "message"}}
    message_with_role: dict[str, object] = {"role": INPUT_EVENTS[name], **body}
    if name == "gen_ai.tool.message" and "id" in body:
        message_with_role["tool_call_id"] = body["id"]
    return message_with_role


def _loads(text: str | None) -> object:
    if text and text[:1] in '{["':
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            return text
    return text
