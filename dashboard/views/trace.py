"""Trace: one trace span by span, what it reported and what really happened, with the evidence."""

from __future__ import annotations

import json
import re
from typing import Final

import pandas as pd
import streamlit as st

from dashboard import charts, parts, queries

_TRACE_ID: Final = re.compile(r"[0-9a-f]{32}")
_CONTENT: Final = {
    "tool_arguments": "Tool arguments",
    "tool_result": "Tool result",
    "output_messages": "Output messages",
    "input_messages": "Input messages",
    "system_instructions": "System instructions",
    "tool_definitions": "Tools offered",
}
_SHOWN_SPANS: Final = 300
_INDENT: Final = "\N{NO-BREAK SPACE}" * 3
_TALLEST: Final = 420


def _asked() -> str:
    """The trace id in the address or typed by hand."""
    typed = st.text_input(
        "Trace id", key="trace_id", bind="query-params", placeholder="trace id, 32 hex digits", max_chars=64
    )
    return (typed or "").strip().lower()


def _order(spans: pd.DataFrame) -> pd.DataFrame:
    """Spans as a tree: children under their parents, by time; a span whose parent is missing is a root."""
    known = set(spans["span_id"])
    children: dict[str, list[int]] = {}
    for place, parent in enumerate(spans["parent_span_id"]):
        children.setdefault(parent if parent in known else "", []).append(place)
    order: list[tuple[int, int]] = []
    waiting = [(place, 0) for place in reversed(children.get("", []))]
    seen: set[int] = set()
    while waiting:
        place, depth = waiting.pop()
        if place in seen:
            continue
        seen.add(place)
        order.append((place, depth))
        below = children.get(spans["span_id"].iloc[place], [])
        waiting.extend((child, depth + 1) for child in reversed(below))
    # Spans in a circle of parents hang nowhere; they are shown all the same.
    order.extend((place, 0) for place in range(len(spans)) if place not in seen)
    tree = spans.iloc[[place for place, _ in order]].reset_index(drop=True)
    begin = (tree["start_time"] - tree["start_time"].min()) / pd.Timedelta(milliseconds=1)
    took = tree["duration_ns"] / 1e6
    return pd.DataFrame(
        {
            "row": range(len(tree)),
            "depth": [depth for _, depth in order],
            "name": tree["name"],
            "label": [_INDENT * depth + name for (_, depth), name in zip(order, tree["name"], strict=True)],
            "kind": tree["kind"],
            "reported": tree["reported_status"],
            "effective": tree["effective_status"],
            "reason": tree["effective_reason"],
            "begin_ms": begin,
            "took_ms": took,
            "span_id": tree["span_id"],
        }
    )


def _head(trace: pd.Series | None, spans: pd.DataFrame) -> None:
    cards = st.columns(6)
    if trace is None:
        cards[0].metric("Outcome", "open", border=True, help="More spans may come; it is judged when it is over.")
        cards[1].metric("Spans", f"{len(spans):,}", border=True)
        return
    cards[0].metric("Outcome", str(trace["outcome"]), border=True)
    cards[1].metric("Reported", str(trace["reported_status"]), border=True, help="What the sender said.")
    cards[2].metric("Effective", str(trace["effective_status"]), border=True, help="What really happened.")
    cards[3].metric("Took", f"{trace['duration_ns'] / 1e9:,.2f} s", border=True)
    calls = f"{trace['steps']} + {trace['tool_calls']}"
    cards[4].metric("Model + tool calls", calls, border=True)
    cost = "unknown" if pd.isna(trace["cost_usd"]) else f"$ {trace['cost_usd']:,.4f}"
    cards[5].metric("Cost", cost, border=True)
    facts = {
        "agent": trace["agent"],
        "service": f"{trace['service']} {trace['service_version']}".strip(),
        "user": trace["user_id"],
        "conversation": trace["conversation_id"],
        "start (UTC)": f"{trace['start_time']:%Y-%m-%d %H:%M:%S}",
        "tokens": f"{trace['input_tokens']:,} in, {trace['output_tokens']:,} out",
    }
    st.dataframe(pd.DataFrame([{name: str(value) for name, value in facts.items()}]), hide_index=True, row_height=28)


def _findings(found: pd.DataFrame, tree: pd.DataFrame) -> None:
    st.markdown("#### Findings")
    if found.empty:
        st.caption("Nothing was found in this trace.")
        return
    names = dict(zip(tree["span_id"], tree["name"], strict=True))
    for _, finding in found.iterrows():
        with st.container(border=True):
            left, right = st.columns([5, 7])
            with left:
                st.text(
                    f"{parts.SEVERITIES[finding['severity']]}   {finding['rule']}   "
                    f"confidence {finding['confidence']:.2f}"
                )
                st.text(
                    f"{finding['summary']}\nspan: {names.get(finding['span_id'], finding['span_id'] or 'the trace')}"
                )
            with right:
                _code(finding["evidence"])


def _span(trace_id: str, tree: pd.DataFrame) -> None:
    st.markdown("#### Content of a span")
    bad = tree.index[tree["effective"] == "error"]
    labels = dict(zip(tree["span_id"], tree["label"], strict=True))
    marks = dict(zip(tree["span_id"], tree["effective"], strict=True))
    span_id = st.selectbox(
        "Span",
        list(tree["span_id"]),
        index=int(bad[-1]) if len(bad) else 0,
        format_func=lambda span: labels[span] + ("   ✕" if marks[span] == "error" else ""),
        label_visibility="collapsed",
    )
    span = queries.span(trace_id, span_id) if span_id else None
    if span is None:
        return
    if span["status_message"]:
        st.caption("Status message")
        st.code(span["status_message"], language=None, wrap_lines=True)
    shown = [(title, span[column]) for column, title in _CONTENT.items() if not pd.isna(span[column])]
    if not shown:
        st.caption("This span carries no content.")
    left, right = st.columns(2)
    for number, (title, value) in enumerate(shown):
        with (left, right)[number % 2]:
            st.caption(title)
            _code(value)
    with st.expander("Attributes that no convention claimed, and the resource"):
        attributes = {**span["resource_attributes"], **span["attributes"]}
        st.dataframe(
            pd.DataFrame({"attribute": list(attributes), "value": list(attributes.values())}, dtype=str),
            hide_index=True,
            row_height=28,
        )


def _code(value: str) -> None:
    """A payload as it is, in a box that scrolls if it is long."""
    text = _pretty(value)
    lines = sum(1 + len(line) // 80 for line in text.splitlines())
    st.code(text or " ", language=None, wrap_lines=True, height=_TALLEST if lines > 18 else "content")


def _pretty(value: str) -> str:
    """JSON with indents, or the text as it is."""
    try:
        return json.dumps(json.loads(value), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return value


def _draw(trace_id: str) -> None:
    spans = queries.trace_spans(trace_id)
    if spans.empty:
        st.caption("No such trace. It may be older than the store keeps spans, or not have arrived yet.")
        return
    tree = _order(spans)
    _head(queries.trace(trace_id), spans)
    _findings(queries.trace_findings(trace_id), tree)
    st.markdown("#### Spans")
    if len(tree) > _SHOWN_SPANS:
        st.caption(f"The first {_SHOWN_SPANS} of {len(tree):,} spans.")
    with st.container(border=True):
        st.altair_chart(charts.waterfall(tree.head(_SHOWN_SPANS)), width="stretch")
    _span(trace_id, tree)


parts.style()
_trace_id = _asked()
if _TRACE_ID.fullmatch(_trace_id):
    parts.guarded(lambda: _draw(_trace_id))
elif _trace_id:
    st.caption("A trace id has 32 hexadecimal digits.")
else:
    st.caption("Follow a link from the findings on the page Now, or paste a trace id.")
