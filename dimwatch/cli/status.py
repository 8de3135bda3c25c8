"""`dimwatch status`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click
import orjson
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from dimwatch.app.status import Status, look
from dimwatch.cli.options import errors_as_messages, leave, quiet_logs, read_settings, settings_options

_WATCH_S = 2.0
_STATE_COLOURS = {"ready": "green", "starting": "yellow", "waiting": "yellow"}
_FIELDS = {
    "results": "tool_result",
    "args": "tool_arguments",
    "tokens": "output_tokens",
    "finish": "finish_reason",
    "texts": "output_messages",
    "model": "response_model",
}


@click.command()
@settings_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--watch", is_flag=True, help="Keep looking, every two seconds, until Ctrl-C.")
@errors_as_messages
def status(data: Path | None, config: Path | None, as_json: bool, watch: bool) -> None:
    """Show flow, lag, drops by reason and coverage by agent.

    Coverage is over the last hour: what share of an agent's tool calls carried results, of its model calls
    tokens, finish reasons, messages and the answering model; and so which rules can not see the agent. Exit
    status 1 when something is down or could not be asked.

    \b
    Examples:
      dimwatch status
      dimwatch status --watch
      dimwatch status --json | jq '.coverage[] | {agent, blind}'
    """
    quiet_logs()
    settings = read_settings(data, config).settings
    if watch and not as_json:
        with Live(_render(look(settings)), refresh_per_second=1, screen=False) as live:
            try:
                while True:
                    time.sleep(_WATCH_S)
                    live.update(_render(look(settings)))
            except KeyboardInterrupt:
                return
    while True:
        found = look(settings)
        if as_json:
            click.echo(orjson.dumps(_as_json(found)))
        else:
            Console().print(_render(found))
        if not watch:
            leave(int(bool(found.problems)))
        time.sleep(_WATCH_S)


def _as_json(found: Status) -> dict[str, object]:
    report = asdict(found) | {"ok": not found.problems}
    if found.coverage is not None:
        report["coverage"] = [asdict(one) | {"blind": one.blind, "partly": one.partly} for one in found.coverage]
    return report


def _render(found: Status) -> RenderableType:
    return Group(*_parts(found))


def _parts(found: Status) -> Iterator[RenderableType]:
    if found.problems:
        yield from (Text(f"! {problem}", style="red") for problem in found.problems)
    else:
        yield Text(f"Dimwatch runs on {found.data}, up {_duration(found.uptime_s)}", style="green")
    if found.processes:
        table = _table("process", "state", "pid", "restarts", "memory", "CPU time")
        for process in found.processes:
            table.add_row(
                process["process"],
                Text(process["state"], style=_STATE_COLOURS.get(process["state"], "red")),
                str(process["pid"] or "-"),
                str(process["restarts"]),
                _bytes(process["resident_bytes"]),
                f"{process['cpu_s']:.1f} s",
            )
        yield table
    if found.flow:
        stages = "   ".join(f"{stage} {_rate(found.flow.get(stage))}" for stage in ("received", "processed", "visible"))
        open_traces = "unknown" if found.open_traces is None else f"{found.open_traces:,}"
        yield Text(f"\nSpans a second over the last minute:   {stages}")
        incidents = "unknown" if found.open_incidents is None else f"{found.open_incidents:,}"
        behind = "no window yet" if found.watermark_lag_s is None else f"{found.watermark_lag_s:,.0f} s behind"
        if found.watermark_lag_s is not None and found.watermark_lag_s < -1:
            behind = f"{-found.watermark_lag_s:,.0f} s ahead: the clock was set back, and what comes is late until then"
        yield Text(f"Open traces: {open_traces}   Open incidents: {incidents}   Windows: {behind}")
        if found.clocks_set_back:
            yield Text(
                f"Clocks were set back by more than ten minutes: {found.clocks_set_back:,} times since the start"
            )
        if found.canary_s is not None and found.canary_age_s is not None:
            yield Text(f"Canary: readable after {found.canary_s:.1f} s, {_duration(found.canary_age_s)} ago")
    if found.lags:
        yield Text("\nLag")
        table = _table("group", "topic", "records", "seconds")
        for lag in found.lags:
            table.add_row(
                lag.group, lag.topic, f"{lag.records:,}", "-" if lag.seconds is None else f"{lag.seconds:,.1f}"
            )
        yield table
    yield Text("\nDrops" if found.drops else "\nDrops: none")
    if found.drops:
        table = _table("stage", "signal", "reason", "since start", "last 24 h")
        for drop in found.drops:
            table.add_row(drop.stage, drop.signal, drop.reason, f"{drop.since_start:,}", f"{drop.last_day:,}")
        yield table
    sizes = "   ".join(f"{name} {_bytes(size)}" for name, size in found.disk_bytes.items())
    yield Text(f"\nDisk: {sizes}")
    if found.findings:
        told = "   ".join(f"{rule} {count:,}" for rule, count in found.findings.items())
        yield Text(f"Findings of the last hour: {told}")
    yield from _coverage(found)


def _coverage(found: Status) -> Iterator[RenderableType]:
    if found.coverage is None:
        yield Text("\nCoverage: could not look", style="red")
        return
    if not found.coverage:
        yield Text("\nCoverage: no agent has sent anything in the last hour")
        return
    yield Text("\nCoverage of the last hour: tool and model calls, and the share of them that carried what rules need")
    table = _table("agent", "traces", "tools", "llm", *_FIELDS)
    for one in found.coverage:
        shares = [_percent(one.shares[name]) for name in _FIELDS.values()]
        table.add_row(Text(one.agent), f"{one.traces:,}", f"{one.tool_spans:,}", f"{one.llm_spans:,}", *shares)
    yield table
    for one in found.coverage:
        if one.blind:
            yield Text(f"  {one.agent}: not visible to {', '.join(one.blind)}", style="yellow")
        if one.partly:
            yield Text(f"  {one.agent}: partly visible to {', '.join(one.partly)}")


def _table(*columns: str) -> Table:
    # Nine columns of coverage fit into 80 characters.
    gap = 2 if len(columns) < 9 else 1
    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="dim")
    words = {"group", "topic", "process", "state", "stage", "signal", "reason", "agent"}
    for column in columns:
        table.add_column(column, justify="left" if column in words else "right", no_wrap=True)
    return table


def _percent(share: float | None) -> Text:
    if share is None:
        return Text("-", style="dim")
    return Text(f"{share:.0%}", style="red" if share == 0 else "yellow" if share < 0.9 else "")


def _rate(spans: float | None) -> str:
    return "unknown" if spans is None else f"{spans:,.1f}"


def _bytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
