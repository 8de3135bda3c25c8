"""A small process in place of a real one: `standin.py NAME FOLDER [MODE]`.

Appends what happens to it to `FOLDER/events`, beats `FOLDER/NAME.heartbeat`, and starts a child of its own, as
servers with workers do. MODE: `dies` (at once), `can-not-run` (exit status 78), `stubborn` (ignores SIGTERM).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from dimwatch.app.guard import follow_supervisor
from dimwatch.app.health import Heart

name, folder = sys.argv[1], Path(sys.argv[2])
mode = sys.argv[3] if len(sys.argv) > 3 else ""


def tell(event: str) -> None:
    with (folder / "events").open("a") as events:
        events.write(f"{name} {event} {os.getpid()}\n")


def ended(*_: object) -> None:
    tell("asked")
    if mode != "stubborn":
        tell("drained")
        sys.exit(0)


follow_supervisor()
signal.signal(signal.SIGTERM, ended)
tell("started")
if mode == "dies":
    sys.exit(3)
if mode == "can-not-run":
    sys.exit(78)
grandchild = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
tell(f"child {grandchild.pid}")
heart = Heart(folder, name, every_s=0.0)
while True:
    heart.beat()
    time.sleep(0.02)
