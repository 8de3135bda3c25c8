"""Runs that a person looks for, one conversation, and where in a payload the evidence is."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final

import pandas as pd

from dashboard.queries import View
from dashboard.source import source

FOUND: Final = 300
"""Most runs in the list."""
TURNS: Final = 30
"""Most runs of a conversation."""
ORDERS: Final = ("newest", "slowest", "dearest")
_LEAST: Final = 4
"""Shorter evidence would be found everywhere."""
_MARKS: Final = 20
_ROLES: Final = {"user": ("user", "human"), "assistant": ("assistant", "ai", "model")}


def search(view: View, text: str, order: str) -> pd.DataFrame:
    """Runs of the time range that fit the filters of the view (`class`, `rule`) and a text."""
    picked = {"class": view.picked.get("class", ""), "rule": view.picked.get("rule", "")}
    return source().frame("search", view.values(text=text, order=order, rows=FOUND, **picked))


def rules(view: View) -> list[str]:
    """Rules that found something in the time range."""
    found = source().frame("rule_names", view.values())
    return [] if found.empty else list(found["rule"])


def conversation(conversation_id: str, near: datetime) -> pd.DataFrame:
    """The runs of a conversation around that time, with what was asked and answered."""
    found = source().frame("conversation", {"id": conversation_id, "since": near, "rows": TURNS})
    if found.empty:
        return found
    said = source().frame("said", {"trace_ids": list(found["trace_id"]), "since": near})
    told = {} if said.empty else {row["trace_id"]: row for row in said.to_dict("records")}
    for name, role in (("asked", "user"), ("answered", "assistant")):
        found[name] = [last_said(told.get(trace_id, {}).get(name), role) for trace_id in found["trace_id"]]
    return found


def last_said(messages: object, role: str) -> str:
    """The last text of that role in messages of any convention; "" where none is found."""
    if not isinstance(messages, str) or not messages:
        return ""
    try:
        told = json.loads(messages)
    except (ValueError, RecursionError):
        return messages
    if isinstance(told, str):
        return told
    said = [text for who, text in _turns(told) if who in _ROLES[role] and text]
    return said[-1] if said else ""


def _turns(told: Any) -> Iterator[tuple[str, str]]:
    """Role and text of each message: a list of them, one, some under a name, or one attribute a part."""
    if isinstance(told, list):
        for one in told:
            yield from _turns(one)
    elif isinstance(told, dict):
        if "role" in told:
            yield str(told["role"]).lower(), _text(told.get("content", told.get("parts")))
        elif "messages" in told:
            yield from _turns(told["messages"])
        else:
            for name, role in told.items():
                if name.endswith("message.role"):
                    stem = name.removesuffix("role")
                    yield str(role).lower(), _text(told.get(f"{stem}content"))


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(filter(None, (_text(part) for part in content)))
    if isinstance(content, dict) and content.get("type", "text") == "text":
        return _text(content.get("text", content.get("content")))
    return ""


def evidence(findings: Sequence[str]) -> list[str]:
    """The texts that findings (JSON) cite, as they may stand in a payload, the longest first."""
    cited: set[str] = set()
    for told in findings:
        try:
            cited |= set(_leaves(json.loads(told)))
        except (ValueError, RecursionError):
            continue
    return sorted(cited, key=len, reverse=True)[:_MARKS]


def _leaves(told: Any) -> Iterator[str]:
    if isinstance(told, dict):
        for value in told.values():
            yield from _leaves(value)
    elif isinstance(told, list):
        for value in told:
            yield from _leaves(value)
    elif isinstance(told, str) and len(told.strip("… ")) >= _LEAST:
        yield told.strip("… ")
        if told.startswith(("{", "[")):  # shown with other spaces
            with contextlib.suppress(ValueError, RecursionError):
                yield from _leaves(json.loads(told))


def marked(text: str, cited: Sequence[str]) -> list[tuple[str, bool]]:
    """The text in pieces, and whether each is cited."""
    spans: list[tuple[int, int]] = []
    for words in cited:
        for form in dict.fromkeys((words, json.dumps(words, ensure_ascii=False)[1:-1])):
            begin = text.find(form)
            while begin >= 0 and len(spans) < _MARKS:
                end = begin + len(form)
                if all(end <= other or begin >= after for other, after in spans):
                    spans.append((begin, end))
                begin = text.find(form, end)
    pieces: list[tuple[str, bool]] = []
    at = 0
    for begin, end in sorted(spans):
        pieces += [(text[at:begin], False), (text[begin:end], True)]
        at = end
    return [piece for piece in (*pieces, (text[at:], False)) if piece[0]]
