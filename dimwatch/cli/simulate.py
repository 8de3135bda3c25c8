"""`dimwatch simulate`: the fleet on the wire."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Final, TextIO

import click
import orjson
from rich.console import Console

from dimwatch.app.stopping import Stop
from dimwatch.clock import Clock, SystemClock
from dimwatch.errors import DimwatchError, InvalidError
from dimwatch.simulate import options
from dimwatch.simulate.export import Export
from dimwatch.simulate.faults import DEFAULT_SHARES
from dimwatch.simulate.fleet import Fleet
from dimwatch.simulate.models import MODELS, NS, PROVIDERS
from dimwatch.simulate.scenario import PLACES, Kind
from dimwatch.simulate.send import Delivery, GrpcSender, HttpSender

_REPORT_S: Final = 30.0
"""How often to print a line when standard error is no terminal."""


@click.command(
    epilog=f"Faults: {', '.join(DEFAULT_SHARES)}. Providers: {', '.join(PROVIDERS)}. "
    f"Models: {', '.join(model.name for model in MODELS)}. "
    f"Effects: {', '.join(f'{kind} (of a {place})' for kind, place in PLACES.items())}."
)
@click.option("--endpoint", help="OTLP endpoint. Default: http://127.0.0.1:4318, with --grpc 127.0.0.1:4317.")
@click.option("--grpc", is_flag=True, help="Send by gRPC instead of HTTP.")
@click.option("--token", envvar="DIMWATCH_RECEIVER__TOKEN", help="Bearer token of the receiver.")
@click.option("--rate", type=click.FloatRange(min=0), default=2.0, show_default=True, help="Traces a second.")
@click.option("--duration", help="Length of simulated time, as 60s or 6h. Default: until Ctrl-C.")
@click.option("--since", help="Start of simulated time: as 6h ago, or a date and time. Default: now.")
@click.option("--seed", type=int, default=1, show_default=True, help="Same seed, start, length: same bytes.")
@click.option("--fault", "faults", multiple=True, metavar="NAME=SHARE", help="Share of traces with a fault.")
@click.option("--brownout", multiple=True, metavar="PROVIDER@START+LENGTH", help="A provider turns slow.")
@click.option("--model-change", multiple=True, metavar="MODEL=ANSWERED@START", help="Another model answers.")
@click.option("--empty-tool", multiple=True, metavar="TOOL@START+LENGTH", help="A tool finds nothing.")
@click.option("--effect", "effects", multiple=True, metavar="KIND:WHERE@START+LENGTH", help="Something happens.")
@click.option("--labels", type=click.Path(path_type=Path, dir_okay=False), help="Write the truth, JSON lines.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Write .pb files, send nothing.")
def simulate(
    endpoint: str | None,
    grpc: bool,
    token: str | None,
    rate: float,
    duration: str | None,
    since: str | None,
    seed: int,
    faults: tuple[str, ...],
    brownout: tuple[str, ...],
    model_change: tuple[str, ...],
    empty_tool: tuple[str, ...],
    effects: tuple[str, ...],
    labels: Path | None,
    out: Path | None,
) -> None:
    """Send the traces of a simulated fleet of agents, faults included.

    Six agents, four models of three providers, each agent in another telemetry convention. Requests that are
    already due, as with --since, go at once; then the fleet runs in real time. A fault that leaves no trace in
    an agent's convention is not drawn for it. Scheduled effects count from the start of simulated time.

    \b
    Examples:
      dimwatch simulate --rate 5 --duration 60s
      dimwatch simulate --since 6h                            six hours of history, then on and on
      dimwatch simulate --since 6h --duration 6h              the history alone
      dimwatch simulate --fault none --fault tool_loop=0.1    one fault in a tenth of all traces
      dimwatch simulate --brownout openai@2m+5m --empty-tool search_flights@10m
      dimwatch simulate --effect outage:openai@10m+5m --effect silence:coding_agent@20m
      dimwatch simulate --duration 1h --out requests --labels truth.jsonl
    """
    clock = SystemClock()
    try:
        start = options.start_ns(since, clock.now_ns())
        end = start + options.duration_ns(duration) if duration else None
        fleet = Fleet(
            seed,
            start,
            end,
            rate,
            options.fault_shares(faults),
            options.scenario(start, _all_effects(effects, brownout, model_change, empty_tool)),
        )
        with ExitStack() as stack:
            truth = stack.enter_context(labels.open("w")) if labels else None
            if out is not None:
                _write(fleet, out, truth)
            else:
                chosen = endpoint or ("127.0.0.1:4317" if grpc else "http://127.0.0.1:4318")
                sender = GrpcSender(chosen, token) if grpc else HttpSender(chosen, token)
                _send(fleet, Delivery(sender), truth, clock, chosen)
    except (DimwatchError, OSError) as error:
        raise click.ClickException(str(error)) from error


def _all_effects(
    effects: Iterable[str], brownouts: Iterable[str], model_changes: Iterable[str], empty_tools: Iterable[str]
) -> list[str]:
    """The effects that have options of their own, too."""
    return [
        *effects,
        *(f"{Kind.BROWNOUT}:{text}" for text in brownouts),
        *(f"{Kind.MODEL_CHANGE}:{text}" for text in model_changes),
        *(f"{Kind.EMPTY_TOOL}:{text}" for text in empty_tools),
    ]


def _write(fleet: Fleet, folder: Path, truth: TextIO | None) -> None:
    """Write every request to a file, named so that the names sort by time and tell the signal."""
    if fleet.end_ns is None:
        raise InvalidError("--out needs --duration, else it never ends")
    folder.mkdir(parents=True, exist_ok=True)
    files = 0
    for export in fleet.requests():
        _note(truth, fleet)
        files += 1
        ending = ".pb" if export.signal == "traces" else ".logs.pb"
        (folder / f"{files:07}.{export.service}{ending}").write_bytes(export.body)
    _note(truth, fleet)
    click.echo(f"{fleet.traces:,} traces, {fleet.spans:,} spans in {files:,} requests in {folder}", err=True)


def _send(fleet: Fleet, delivery: Delivery, truth: TextIO | None, clock: Clock, endpoint: str) -> None:
    """Send every request when it is due, until the fleet ends or somebody stops it."""
    with _stopped_by_signals() as stop, _progress(fleet, delivery, endpoint):
        for export in fleet.requests():
            _note(truth, fleet)
            if not _wait_until_due(export, clock, stop):
                break
            delivery.submit(export)
        delivery.close(drain=not stop.requested)
        _note(truth, fleet)
    tally = delivery.tally
    click.echo(
        f"{tally.spans:,} spans and {tally.log_records:,} log records acknowledged in {tally.requests:,} requests, "
        f"{fleet.traces:,} traces complete; {tally.rejected:,} rejected, {tally.lost:,} lost, "
        f"{tally.retries:,} retries",
        err=True,
    )
    if tally.lost:
        raise click.ClickException(f"{tally.lost:,} items were not taken: {tally.trouble or 'see the receiver'}")


def _wait_until_due(export: Export, clock: Clock, stop: Stop) -> bool:
    """Wait for real time to reach the request's; False when it was stopped meanwhile."""
    return not stop.sleep(max(0.0, (export.due_ns - clock.now_ns()) / NS))


def _note(truth: TextIO | None, fleet: Fleet) -> None:
    """Write down the truth about the traces that are over."""
    labels = fleet.take_labels()
    if truth is not None and labels:
        truth.writelines(orjson.dumps(asdict(label)).decode() + "\n" for label in labels)
        truth.flush()


@contextmanager
def _stopped_by_signals() -> Iterator[Stop]:
    """What Ctrl-C and SIGTERM request; a second one ends the process as usual."""
    stop = Stop()

    def handle(number: int, frame: FrameType | None) -> None:
        stop.request()
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _progress(fleet: Fleet, delivery: Delivery, endpoint: str) -> Iterator[None]:
    """Keep saying what was sent: a live line on a terminal, else a line now and then."""
    console = Console(stderr=True)
    done = threading.Event()
    begin = time.monotonic()

    def line() -> str:
        tally, seconds = delivery.tally, max(time.monotonic() - begin, 1e-3)
        text = (
            f"{endpoint}: {tally.spans:,} spans acknowledged ({tally.spans / seconds:,.0f}/s), "
            f"{fleet.traces:,} traces, {tally.rejected + tally.lost:,} refused"
        )
        return f"{text}; waiting: {tally.trouble}" if tally.trouble else text

    def show() -> None:
        if console.is_terminal:
            with console.status("") as status:
                while not done.wait(0.5):
                    status.update(line())
        else:
            while not done.wait(_REPORT_S):
                sys.stderr.write(line() + "\n")

    thread = threading.Thread(target=show, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
