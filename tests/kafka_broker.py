"""A real Kafka broker for tests and benchmarks: KRaft, one node, on loopback, started in seconds.

`python -m tests.kafka_broker --port 9092 --data /tmp/kafka` runs one by hand until it is interrupted. Its jars come
from Maven Central by deploy/kafka/pom.xml, 45 MB, once.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from benchmarks.ports import free_ports
from tests import needs

_FOLDER: Final = Path(__file__).parents[1] / "deploy" / "kafka"
_RESOLVE: Final = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:build-classpath"
_START_S: Final = 120.0
_STOP_S: Final = 30.0
_JAVA: Final = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")


@cache
def classpath() -> str:
    """The jars of the broker, downloaded where they are missing. Skips, or fails in CI, without Java or Maven."""
    needs.program("java", remedy="apt-get install openjdk-17-jre-headless")
    maven = needs.program("mvn", remedy="apt-get install maven")
    pom = _FOLDER / "pom.xml"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dimwatch"
    cache.mkdir(parents=True, exist_ok=True)
    kept = cache / f"kafka-{hashlib.sha256(pom.read_bytes()).hexdigest()[:16]}.classpath"
    with (cache / "kafka.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one download, also when several test runs begin at once
        if not kept.exists() or not all(Path(jar).exists() for jar in kept.read_text().split(os.pathsep)):
            draft = kept.with_suffix(".draft")
            done = subprocess.run(
                [maven, "-q", "-B", "-f", str(pom), _RESOLVE, f"-Dmdep.outputFile={draft}"],
                capture_output=True,
                text=True,
                timeout=600,
                check=False,
            )
            if done.returncode:
                needs.missing(f"Maven could not fetch Kafka by {pom}: {done.stdout[-2000:]}")
            draft.replace(kept)
    return kept.read_text().strip()


class Broker:
    """One broker. Its port and its data stay the same over stop() or kill() and start()."""

    def __init__(
        self,
        data: Path,
        *,
        port: int | None = None,
        heap_mb: int = 512,
        settings: Mapping[str, str] | None = None,
        scram: Mapping[str, str] | None = None,
        jvm: tuple[str, ...] = _JAVA,
    ) -> None:
        """`settings` are added to server.properties; `scram` are users and passwords for SCRAM-SHA-512."""
        self.data = data
        ports = free_ports(2)
        self.port = port or ports[0]
        self._controller = ports[1]
        self._settings = dict(settings or {})
        self._scram = dict(scram or {})
        self._java = ["java", f"-Xmx{heap_mb}m", f"-Xms{min(heap_mb, 128)}m", *jvm]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """What clients connect to."""
        return f"127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """What the broker wrote on its standard output."""
        path = self.data / "broker.log"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def pid(self) -> int:
        """The process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> Broker:
        """Format on the first start; return when it answers."""
        properties = self.data / "server.properties"
        if not properties.exists():
            self._format(properties)
        with (self.data / "broker.log").open("ab") as out:
            self._process = subprocess.Popen(
                [*self._java, *self._logging(), "-cp", classpath(), "kafka.Kafka", str(properties)],
                stdout=out,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_S
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"the Kafka broker did not start:\n{self.log[-4000:]}")
            time.sleep(0.05)
        return self

    def stop(self) -> None:
        """End it in good order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, as a crash does."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Freeze it: connections stay, answers do not come."""
        os.kill(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """After pause()."""
        os.kill(self.pid, signal.SIGCONT)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.send_signal(how)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _ready(self) -> bool:
        # The port of clients is opened last, when the broker is no longer fenced.
        with socket.socket() as client:
            client.settimeout(1.0)
            return client.connect_ex(("127.0.0.1", self.port)) == 0

    def _format(self, properties: Path) -> None:
        self.data.mkdir(parents=True, exist_ok=True)
        settings = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{self._controller}",
            "listeners": f"CLIENTS://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{self._controller}",
            "advertised.listeners": f"CLIENTS://127.0.0.1:{self.port}",
            "listener.security.protocol.map": "CLIENTS:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "CLIENTS",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": str(self.data / "log"),
            "auto.create.topics.enable": "false",
            "default.replication.factor": "1",
            "offsets.topic.num.partitions": "4",
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            # A group of a test is complete with its first member.
            "group.initial.rebalance.delay.ms": "0",
            "group.min.session.timeout.ms": "1000",
            "log.cleaner.dedupe.buffer.size": str(4 * 1024 * 1024),
            "socket.request.max.bytes": str(256 * 1024 * 1024),
        }
        lines = [f"{name}={value}" for name, value in (settings | self._settings).items()]
        draft = properties.with_suffix(".draft")
        draft.write_text("\n".join(lines) + "\n")
        draft.chmod(0o600)
        cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A")
        users = [
            part
            for user, password in self._scram.items()
            for part in ("--add-scram", f"SCRAM-SHA-512=[name={user},password={password}]")
        ]
        command = [*self._java, "-cp", classpath(), "kafka.tools.StorageTool", "format"]
        done = subprocess.run(
            [*command, "-t", cluster, "-c", str(draft), *users], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"the Kafka broker's folder could not be formatted: {done.stdout}{done.stderr}")
        draft.replace(properties)

    def _logging(self) -> list[str]:
        return [f"-Dlog4j2.configurationFile={_FOLDER / 'log4j2.yaml'}"]


@contextlib.contextmanager
def running(broker: Broker) -> Iterator[Broker]:
    """The broker started, and killed at the end."""
    try:
        yield broker.start()
    finally:
        broker.kill()


@pytest.fixture(scope="session")
def kafka_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One broker for the tests of a session, which use topics of their own: `eventlog.kafka.topic_prefix`."""
    with running(Broker(tmp_path_factory.mktemp("kafka") / "broker")) as broker:
        yield broker


def main() -> None:
    """Run one by hand."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=9092)
    parser.add_argument("--data", type=Path, default=None, help="folder that is kept; a temporary one without")
    parser.add_argument("--heap-mb", type=int, default=512)
    options = parser.parse_args()
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    with tempfile.TemporaryDirectory() as throw_away:
        data = options.data or Path(throw_away) / "kafka"
        with running(Broker(data, port=options.port, heap_mb=options.heap_mb, jvm=("-XX:+UseSerialGC",))) as broker:
            print(f"Kafka on {broker.address}, pid {broker.pid}", flush=True)
            with contextlib.suppress(KeyboardInterrupt):
                ended.wait()
            broker.stop()


if __name__ == "__main__":
    main()
