"""Traces: which there are; one of them span by span, what it reported and what really happened, with the evidence."""

from __future__ import annotations

import json
import re
from typing import Final

import pandas as pd
import streamlit as st

from dashboard import charts, chosen, parts, queries, traces
from dashboard.chosen import Filter
from dashboard.queries import View

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
_LONGEST: Final = 64


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
            "tokens": [
                _tokens(*row) for row in tree[["counted", "input_tokens", "output_tokens"]].itertuples(index=False)
            ],
            "cost": [_usd(usd) for usd in tree["cost_usd"].where(tree["counted"])],
        }
    )


def _usd(usd: float) -> str:
    return "" if pd.isna(usd) else f"$ {usd:.4f}"


def _tokens(counted: bool, given: int | None, made: int | None) -> str:
    told = [0 if pd.isna(tokens) else int(tokens or 0) for tokens in (given, made)]
    return f"{told[0]:,} → {told[1]:,}" if counted and any(told) else ""


def _head_of_open(spans: pd.DataFrame) -> None:
    cards = st.columns(6)
    cards[0].metric("Outcome", "open", border=True, help="More spans may come; it is judged when it is over.")
    cards[1].metric("Spans", f"{len(spans):,}", border=True)


def _head(trace: pd.Series) -> None:
    cards = st.columns(6)
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
                parts.payload([(_pretty(finding["evidence"]), False)])


def _span(trace_id: str, tree: pd.DataFrame, findings: pd.DataFrame) -> None:
    st.markdown("#### Content of a span")
    bad = tree.index[tree["effective"] == "error"]
    if not len(bad) and not findings.empty:
        bad = tree.index[tree["span_id"].isin(findings["span_id"])]
    labels = dict(zip(tree["span_id"], tree["label"], strict=True))
    marks = dict(zip(tree["span_id"], tree["effective"], strict=True))
    span_id = st.selectbox(
        "Span",
        list(tree["span_id"]),
        index=int(bad[-1]) if len(bad) else 0,
        format_func=lambda span: labels[span] + ("   ✕" if marks[span] == "error" else ""),
        key="span_id",
        bind="query-params",
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
    cited = traces.evidence(list(findings.loc[findings["span_id"] == span_id, "evidence"]) if len(findings) else [])
    left, right = st.columns(2)
    for number, (title, value) in enumerate(shown):
        with (left, right)[number % 2]:
            pieces = traces.marked(_pretty(value), cited)
            st.caption(title + (", evidence marked" if any(mark for _, mark in pieces) else ""))
            parts.payload(pieces)
    with st.expander("Attributes that no convention claimed, and the resource"):
        attributes = {**span["resource_attributes"], **span["attributes"]}
        st.dataframe(
            pd.DataFrame({"attribute": list(attributes), "value": list(attributes.values())}, dtype=str),
            hide_index=True,
            row_height=28,
        )


def _pretty(value: str) -> str:
    """JSON with indents, or the text as it is."""
    try:
        return json.dumps(json.loads(value), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return value


def _trace(trace_id: str) -> None:
    judged = queries.trace(trace_id)
    if judged is not None:
        _head(judged)  # before anything else is asked for
    spans = queries.trace_spans(trace_id)
    if spans.empty:
        what = "No such trace. It" if judged is None else "None of its spans is here: it"
        st.caption(f"{what} may be older than the store keeps spans, or not have arrived yet.")
        return
    if judged is None:
        _head_of_open(spans)
    tree, findings = _order(spans), queries.trace_findings(trace_id)
    _findings(findings, tree)
    st.markdown("#### Spans")
    if len(tree) > _SHOWN_SPANS:
        st.caption(f"The first {_SHOWN_SPANS} of {len(tree):,} spans.")
    with st.container(border=True):
        st.altair_chart(
            charts.waterfall(tree.head(_SHOWN_SPANS)),
            width="stretch",
            alt=f"Waterfall of {len(tree)} spans; the table below has the same in words",
        )
    with st.expander("The same as a table"):
        parts.table(tree.drop(columns=["row", "depth", "name"]), {name: name for name in _COLUMNS}, empty="")
    _span(trace_id, tree, findings)
    if judged is not None and judged["conversation_id"]:
        _conversation(str(judged["conversation_id"]), trace_id, judged["start_time"])


def _conversation(conversation_id: str, trace_id: str, near: pd.Timestamp) -> None:
    st.markdown("#### The conversation")
    turns = traces.conversation(conversation_id, near)
    for turn in turns.to_dict("records"):
        here = turn["trace_id"] == trace_id
        with st.container(border=True):
            left, right = st.columns([2, 9])
            with left:
                st.text(f"{parts.clock(turn['start_time'])}{'   ← this trace' if here else ''}")
                st.text(f"{turn['class']}\n{', '.join(turn['rules'])}".strip())
                if not here:
                    st.link_button("Look at it", parts.trace_url(turn["trace_id"]))
            with right:
                st.text(f"asked      {turn['asked'] or '(not captured)'}")
                st.text(f"answered   {turn['answered'] or '(not captured)'}")
    if len(turns) == traces.TURNS:
        st.caption(f"The first {traces.TURNS} traces of it.")


@st.fragment(run_every=parts.REFRESH_S)
def _live(first: View, text: str) -> None:
    parts.guarded(lambda: _list(chosen.again(first), text))


def _list(view: View, text: str) -> None:
    if not queries.any_telemetry():
        parts.no_telemetry()
        return
    found = traces.search(view, text, view.picked["order"] or traces.ORDERS[0])
    st.markdown("#### Runs" + (f", the first {traces.FOUND} that fit" if len(found) == traces.FOUND else ""))
    if not found.empty:
        found = found.assign(
            start_time=parts.local(found["start_time"]),
            trace=found["trace_id"].map(parts.trace_url),
        )
        looks = pd.DataFrame("", index=found.index, columns=list(_FOUND))
        looks["class"] = [f"color: {charts.COLOURS[name]}; font-weight: 600" for name in found["class"]]
    parts.table(
        found,
        _FOUND,
        empty="No run fits. Take a longer time range, or fewer filters.",
        height=None if len(found) < 12 else 760,
        looks=None if found.empty else looks,
    )


_COLUMNS: Final = (
    "label", "kind", "reported", "effective", "reason", "begin_ms", "took_ms", "tokens", "cost",
)  # fmt: skip
_FOUND: Final = {
    "trace": parts.trace_link(),
    "start_time": parts.moment("time"),
    "agent": parts.text("agent", 130),
    "class": parts.text("what became of it", 124),
    "reported_status": parts.text("reported", 72),
    "rules": st.column_config.ListColumn("found", width=230),
    "seconds": parts.seconds("took"),
    "steps": parts.number("model calls"),
    "tool_calls": parts.number("tool calls"),
    "tokens": parts.number("tokens"),
    "cost_usd": st.column_config.NumberColumn("cost", format="$%.4f", width=74),
    "user_id": parts.text("user", 90),
    "conversation_id": parts.text("conversation", 130),
    "release": parts.text("release", 80),
}


def _page() -> None:
    asked = st.query_params.get("trace_id", "").strip().lower()
    if asked:
        known = _TRACE_ID.fullmatch(asked)
        left, middle, right = st.columns([3, 7, 2], vertical_alignment="center")
        with middle:  # first of all: whoever follows a link sees at once where it leads
            if known:
                st.markdown(f"#### Trace {asked}")  # the box to copy from, for which 1.5 MB are loaded, is in "Share"
            else:
                st.text(asked[:_LONGEST])
        with left:
            st.button("All traces", icon=":material/arrow_back:", on_click=st.query_params.clear)
        with right, st.popover("Share", icon=":material/link:", width="stretch"):
            st.caption("This address shows the same trace and span to everybody who may see the dashboard.")
            st.code(str(st.context.url or "").split("?")[0] + "?" + parts.query({"trace_id": asked[:_LONGEST]}))
        if known:
            parts.guarded(lambda: _trace(asked))
        else:
            st.caption("A trace id has 32 hexadecimal digits.")
        return
    view = chosen.view(
        chosen.AGENT,
        Filter("class", "whatever became of it", lambda _view: list(reversed(queries.CLASSES))),
        Filter("rule", "any finding or none", traces.rules),
        Filter("order", "newest first", lambda _view: traces.ORDERS[1:]),
    )
    text = chosen.words("text", "trace id, user, conversation, model, release, or part of a name")
    _live(view, text)


parts.style()
_page()
