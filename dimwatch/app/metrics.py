"""The metrics of all processes as one: merged from the files that they write, and how fast spans flow.

Every process writes its metrics to files (prometheus_client's multiprocess mode, chosen by an environment
variable that must be there before the library is imported). The supervisor reads them and adds its own.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from dimwatch import telemetry
from dimwatch.app.instance import run_folder

# The library ships types, but not for these two.
_merge: Any = MultiProcessCollector.merge
_Mapped: Any = MmapedDict

VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
_OF_THE_DEAD: Final = "0"
_OWN: Final = (
    telemetry.PROCESS_RESTARTS,
    telemetry.PROCESS_READY,
    telemetry.PROCESS_RESIDENT_BYTES,
    telemetry.PROCESS_CPU_SECONDS,
)
FLOW_WINDOW_S: Final = 60.0
_FLOW_COUNTERS: Final = {
    "received": ("dimwatch_received_items_total", {"signal": "spans"}),
    "processed": ("dimwatch_processed_spans_total", {}),
}


class MergedMetrics:
    """The metrics of every process that writes to `data/run/metrics`. Safe to share between threads."""

    def __init__(self, data: Path) -> None:
        self.folder = run_folder(data) / "metrics"
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self._lock = threading.Lock()
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Merged(self))
        for metric in _OWN:
            self._registry.register(metric)

    def exposition(self) -> bytes:
        """All metrics in the Prometheus text format."""
        return generate_latest(self._registry)

    def collect(self) -> list[Metric]:
        """The merged metrics of the processes."""
        with self._lock:
            return list(_merge(map(str, self._readable("*.db"))))

    def total(self, sample: str, labels: dict[str, str], metrics: Iterable[Metric] | None = None) -> float:
        """Sum of all samples of that name that carry these labels."""
        return sum(
            found.value
            for metric in (self.collect() if metrics is None else metrics)
            for found in metric.samples
            if found.name == sample and labels.items() <= found.labels.items()
        )

    def fold_the_dead(self) -> None:
        """Keep what processes that died have counted, in one file, and forget what they measured."""
        with self._lock:
            for path in self._readable("*_*.db"):
                kind, pid = path.stem.rsplit("_", 1)
                if pid == _OF_THE_DEAD or _alive(pid):
                    continue
                if not kind.startswith("gauge"):
                    _add(path, path.with_name(f"{kind}_{_OF_THE_DEAD}.db"))
                path.unlink()

    def _readable(self, pattern: str) -> Iterator[Path]:
        # A process that was killed while it made a file leaves it empty.
        return (path for path in self.folder.glob(pattern) if path.stat().st_size)


class Flow:
    """Spans a second through each stage, over the last minute. Not safe to share between threads."""

    def __init__(self, metrics: MergedMetrics) -> None:
        self._metrics = metrics
        self._samples: deque[tuple[float, dict[str, float]]] = deque(maxlen=64)

    def sample(self) -> None:
        """Look at the counters now; to be called every few seconds."""
        collected = self._metrics.collect()
        totals = {
            stage: self._metrics.total(name, labels, collected) for stage, (name, labels) in _FLOW_COUNTERS.items()
        }
        now = time.monotonic()
        self._samples.append((now, totals))
        while now - self._samples[0][0] > FLOW_WINDOW_S:
            self._samples.popleft()

    def rates(self) -> dict[str, float]:
        """Spans a second by stage, and `window_s`, the seconds that they were measured over."""
        if len(self._samples) < 2:
            return dict.fromkeys(_FLOW_COUNTERS, 0.0) | {"window_s": 0.0}
        (start, first), (end, last) = self._samples[0], self._samples[-1]
        return {stage: round((last[stage] - first[stage]) / (end - start), 2) for stage in last} | {
            "window_s": round(end - start, 1)
        }


class _Merged(Collector):
    def __init__(self, metrics: MergedMetrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics.collect()


def _add(source: Path, target: Path) -> None:
    summed = _Mapped(str(target))
    try:
        for key, value, timestamp, _ in _Mapped.read_all_values_from_file(str(source)):
            summed.write_value(key, summed.read_value(key)[0] + value, timestamp)
    finally:
        summed.close()


def _alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except (PermissionError, ValueError):
        return True
    return True
