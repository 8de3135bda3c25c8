"""What can go wrong between real processes, a real broker and the store: is anything lost, shown twice or found
differently, and how long until all is well again?

    python -m benchmarks.faults                      # all, in full: about two hours
    python -m benchmarks.faults kills poison         # some of them
    python -m benchmarks.faults --scale 0.1          # outages and numbers of kills a tenth as long

Prints a table and one JSON line a figure; exit status 1 when something was lost, doubled or different.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.as_sent import Page
from benchmarks.fault_scenarios import SCENARIOS, Stage
from benchmarks.figures import Figure
from benchmarks.oracle import Oracle, Sent, traffic
from benchmarks.proof import Proof, compare, compare_as_sent, wait_for_minutes
from benchmarks.roles import Roles
from dimwatch.app.demo import learned
from dimwatch.clock import SystemClock
from dimwatch.settings import Settings
from tests.kafka_broker import Broker, running


@dataclass(slots=True)
class Result:
    """One scenario."""

    name: str
    sent: Sent
    proof: Proof
    recovery_s: Mapping[str, Sequence[float]] = field(default_factory=dict)
    drain_s: float = 0.0
    wrong: list[str] = field(default_factory=list)
    """What the scenario itself found amiss."""
    exits: Mapping[str, Sequence[int]] = field(default_factory=dict)
    load: float = 0.0
    """Of the machine, over the last five minutes."""

    @property
    def good(self) -> bool:
        """Whether nothing was lost, doubled or found differently."""
        proof = self.proof
        different = proof.missing or proof.surplus or proof.other_traces or proof.other_windows or proof.other_incidents
        as_sent = proof.unexplained or proof.other_pages
        return not (proof.lost or proof.doubles or different or as_sent or self.wrong)

    @property
    def slowest_s(self) -> float:
        """The longest time until all was well again."""
        return max((max(times) for times in self.recovery_s.values() if times), default=0.0)


def run(
    name: str,
    folder: Path,
    *,
    scale: float = 1.0,
    traces_per_s: float = 10.0,
    load_spans_per_s: float = 300.0,
    seed: int = 1,
    seconds: float | None = None,
    roles: Sequence[str] | None = None,
    settings: Mapping[str, str] | None = None,
    minutes: bool = True,
    past: bytes | None = None,
) -> Result:
    """Send while the scenario does its worst, drain and compare. `seconds`: of traffic, else as the scenario needs;
    `minutes`: wait until windows are closed, so that there are some to compare; `past`: what a fleet stage knows that
    has watched this fleet for hours. With it a provider fails meanwhile, and there is an incident to compare."""
    scenario = SCENARIOS[name]
    length = scenario.seconds(scale) if seconds is None else seconds
    rng = random.Random(seed)
    broker = Broker(folder / "kafka")
    given = scenario.settings | dict(settings or {})
    if past is not None:
        state = folder / "past"
        state.write_bytes(past)
        given["detection__state"] = str(state)
        given["detection__lateness_s"] = str(Settings().detection.lateness_s)  # what is held up by less is not late
    with (
        running(broker),
        Roles(folder, broker, roles=roles or scenario.roles, settings=given, wrap=scenario.wrap(folder)) as installed,
    ):
        start_ns = SystemClock().now_ns()  # what is due is not late, then
        exports = traffic(
            start_ns, length, traces_per_s=traces_per_s, load_spans_per_s=load_spans_per_s, outage=past is not None
        )
        exports = scenario.change(exports, rng)
        oracle = Oracle(installed.http, installed.grpc, folder / "requests")
        stage = Stage(installed, broker, rng, scale, time.monotonic() + length, defaultdict(list))
        oracle.start(exports)
        try:
            scenario.act(stage)
        except BaseException:
            oracle.finish(now=True)
            raise
        sent = oracle.finish()
        drain_s = installed.drain()
        if minutes:
            wait_for_minutes(installed, incident=past is not None)
        wrong = scenario.check(stage)
        exits = installed.exits()
        proof = compare(installed, oracle.acknowledged | stage.acknowledged)
    compare_as_sent(proof, installed.settings(), oracle)
    return Result(name, sent, proof, stage.recovery_s, drain_s, wrong, exits, os.getloadavg()[1])


def table(result: Result) -> str:
    """The result for people."""
    proof, sent = result.proof, result.sent
    different = len(proof.missing) + len(proof.surplus)
    lines = [
        f"{result.name}: {'good' if result.good else 'NOT GOOD'}, load average {result.load:.1f}",
        f"  sent       {sent.spans:>9,} spans acknowledged in {sent.requests:,} requests, {sent.seconds:.0f} s, "
        f"{sent.retries:,} retries, {sent.given_up:,} given up",
        f"  visible    {proof.spans:>9,} spans, {proof.traces:,} traces, {proof.findings:,} findings, "
        f"{proof.windows:,} points of windows, {proof.incidents:,} incidents; drained in {result.drain_s:.0f} s",
        f"  lost       {len(proof.lost):>9,} acknowledged spans; {proof.doubles:,} shown twice",
        f"  different  {different:>9,} findings, {len(proof.other_traces):,} trace rows, "
        f"{len(proof.other_windows):,} points, {len(proof.other_incidents):,} incidents",
    ]
    lines.append(
        f"  as sent    {len(proof.unexplained):>9,} findings of traces that arrived whole are others, "
        f"{len(proof.other_pages):,} pages; pages here: {_told(proof.pages)}; as sent: {_told(proof.pages_as_sent)}"
    )
    for what, times in result.recovery_s.items():
        ordered = sorted(times)
        lines.append(
            f"  well again {ordered[-1]:>9.1f} s at most, {ordered[len(ordered) // 2]:.1f} s median, "
            f"{len(ordered)} times: {what}"
        )
    lines += [f"  ended by themselves: {name} with status {', '.join(map(str, s))}" for name, s in result.exits.items()]
    lines += [f"  WRONG: {what}" for what in result.wrong]
    return "\n".join(lines)


def _told(pages: set[Page]) -> str:
    return "; ".join(sorted(" ".join(filter(None, page)) for page in pages)) or "none"


def figures(result: Result) -> list[Figure]:
    """The result for machines."""
    proof, name = result.proof, f"faults_{result.name}"
    different = len(proof.missing) + len(proof.surplus) + len(proof.other_traces)
    return [
        Figure(f"{name}_spans", proof.spans, "spans"),
        Figure(f"{name}_lost", len(proof.lost), "spans"),
        Figure(f"{name}_doubles", proof.doubles, "spans"),
        Figure(f"{name}_different", different + len(proof.other_windows) + len(proof.other_incidents), "rows"),
        Figure(f"{name}_recovery_max", result.slowest_s, "s"),
    ]


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=", ".join(SCENARIOS))
    parser.add_argument("--scale", type=float, default=1.0, help="of outages and numbers of kills")
    parser.add_argument("--traces", type=float, default=10.0, help="a second")
    parser.add_argument("--load", type=float, default=300.0, help="plain spans a second, beside")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="folder for logs and data; a temporary one without")
    given = parser.parse_args()
    unknown = [name for name in given.scenarios if name not in SCENARIOS]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(SCENARIOS)}")
    bad = 0
    past = learned(Settings(), SystemClock().now_ns(), lambda: None, lambda: False)
    for name in given.scenarios or SCENARIOS:
        with tempfile.TemporaryDirectory() as throw_away:
            folder = Path(throw_away) if given.keep is None else given.keep / name
            folder.mkdir(parents=True, exist_ok=True)
            result = run(
                name,
                folder,
                scale=given.scale,
                traces_per_s=given.traces,
                load_spans_per_s=given.load,
                seed=given.seed,
                past=past,
            )
        bad += not result.good
        print(table(result), flush=True)
        for figure in figures(result):
            print(figure.json(), flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
