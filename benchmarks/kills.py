"""`kill -9` of every process in turn, at random moments, under load: what is lost, doubled or found differently?

    python -m benchmarks.kills --kills 50 --seconds 300

Prints a table and one JSON line a figure; exit status 1 when something was lost, doubled, different or slow.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.oracle import Oracle, Sent, traffic
from benchmarks.proof import Proof, prove, wait_for_minutes
from benchmarks.running import ROLES, Running, until
from dimwatch.app.demo import learned
from dimwatch.clock import SystemClock
from dimwatch.settings import Settings

ANSWERS_WITHIN_S = 10.0


@dataclass(slots=True)
class Result:
    """One run."""

    sent: Sent
    proof: Proof
    recovery_s: dict[str, list[float]] = field(default_factory=dict)
    drain_s: float = 0.0
    started_s: float = 0.0
    """What the first start of everything took: the pace of the machine."""

    @property
    def slowest_s(self) -> float:
        """The longest time that a process took to answer again."""
        return max((max(times) for times in self.recovery_s.values()), default=0.0)

    @property
    def good(self) -> bool:
        """Whether nothing was lost, doubled, found differently, or slow."""
        proof = self.proof
        wrong = proof.lost or proof.doubles or proof.missing or proof.surplus or proof.other_traces or proof.unexplained
        wrong = wrong or proof.other_windows or proof.other_incidents
        return not wrong and not self.sent.given_up and self.slowest_s < ANSWERS_WITHIN_S


def run(
    folder: Path,
    *,
    kills: int,
    seconds: float,
    traces_per_s: float,
    load_spans_per_s: float,
    seed: int = 1,
    settings: dict[str, str] | None = None,
    past: bytes | None = None,
) -> Result:
    """Send for `seconds`, kill meanwhile, drain and compare. `past`: what a fleet stage knows that has watched this
    fleet for hours. With it a provider fails meanwhile, and there is an incident to compare."""
    exports = traffic(
        SystemClock().now_ns(),
        seconds,
        traces_per_s=traces_per_s,
        load_spans_per_s=load_spans_per_s,
        outage=past is not None,
    )
    given = dict(settings or {})
    if past is not None:
        state = folder / "past"
        state.write_bytes(past)
        given["detection__state"] = str(state)
    rng = random.Random(seed)
    recovery: dict[str, list[float]] = defaultdict(list)
    with Running(folder, given) as running:
        oracle = Oracle(running.http, running.grpc, folder / "requests")
        started = time.monotonic()
        oracle.start(exports)
        try:
            for number in range(kills):
                moment = started + (number + rng.random()) * seconds / kills
                time.sleep(max(0.0, moment - time.monotonic()))
                role = ROLES[number % len(ROLES)]
                recovery[role].append(_kill(running, role))
        except BaseException:
            oracle.finish(now=True)
            raise
        sent = oracle.finish()
        drain_s = running.drain()
        wait_for_minutes(running, incident=past is not None)
        proof = prove(running, oracle)
    return Result(sent, proof, dict(recovery), drain_s, running.started_s)


def _kill(running: Running, role: str) -> float:
    """Kill a process; return the seconds until its successor does the work."""
    old = running.pid(role)
    running.kill(role)
    return until(
        lambda: running.pid(role) not in (old, None) and running.answers(role), 120.0, f"{role} did not come back"
    )


def table(result: Result) -> str:
    """The result for people."""
    proof, sent = result.proof, result.sent
    lines = [
        f"sent        {sent.spans:>9,} spans and {sent.log_records:,} log records acknowledged in {sent.requests:,} "
        f"requests, {sent.seconds:.0f} s, {sent.retries:,} retries, {sent.given_up:,} given up",
        f"visible     {proof.spans:>9,} spans, {proof.traces:,} traces, {proof.findings:,} findings; "
        f"drained in {result.drain_s:.0f} s",
        f"lost        {len(proof.lost):>9,} acknowledged spans",
        f"doubled     {proof.doubles:>9,} spans",
        f"findings    {len(proof.missing):>9,} missing, {len(proof.surplus):,} too many, "
        f"{len(proof.other_traces):,} trace rows differ from the undisturbed run over the same eventlog",
        f"windows     {len(proof.other_windows):>9,} of {proof.windows:,} points differ, and "
        f"{len(proof.other_incidents):,} of {proof.incidents:,} incidents",
        f"replay      {len(proof.only_in_replay):>9,} findings only there, {len(proof.not_in_replay):,} only here; "
        f"{len(proof.unexplained):,} of them in traces that arrived whole",
        f"{'killed':<11} {'times':>6} {'median s':>9} {'max s':>7}",
    ]
    for role, times in result.recovery_s.items():
        ordered = sorted(times)
        lines.append(f"{role:<11} {len(times):>6} {ordered[len(ordered) // 2]:>9.1f} {ordered[-1]:>7.1f}")
    return "\n".join(lines)


def figures(result: Result) -> list[Figure]:
    """The result for machines."""
    proof = result.proof
    different = len(proof.missing) + len(proof.surplus)
    return [
        Figure("kills", sum(map(len, result.recovery_s.values())), "kills"),
        Figure("kills_spans_lost", len(proof.lost), "spans"),
        Figure("kills_spans_doubled", proof.doubles, "spans"),
        Figure("kills_findings_different", different, "findings"),
        Figure("kills_windows_different", len(proof.other_windows) + len(proof.other_incidents), "rows"),
        Figure("kills_recovery_max", result.slowest_s, "s"),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=300.0, help="length of the load")
    parser.add_argument("--traces", type=float, default=100.0, help="traces of the fleet a second, with faults")
    parser.add_argument("--load", type=float, default=700.0, help="plain spans a second beside them")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="work in this new folder and leave it there")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dimwatch-kills-") as temporary:
        folder = given.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        result = run(
            folder,
            kills=given.kills,
            seconds=given.seconds,
            traces_per_s=given.traces,
            load_spans_per_s=given.load,
            seed=given.seed,
            past=learned(Settings(), SystemClock().now_ns(), lambda: None, lambda: False),
        )
    print(table(result))
    for figure in figures(result):
        print(figure.json())
    return 0 if result.good else 1


if __name__ == "__main__":
    sys.exit(main())
