"""Measured figures: as table rows, as JSON lines, and as pages of `benchmarks/results`."""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dimwatch.clock import NS_PER_SECOND, SystemClock


@dataclass(frozen=True, slots=True)
class Figure:
    """One measurement."""

    name: str
    value: float
    unit: str

    def json(self) -> str:
        """The line that machines read."""
        return json.dumps({"figure": self.name, "value": round(self.value, 4), "unit": self.unit})


def heading(title: str) -> str:
    """How a page that is kept begins: day, machine, commit and command. To be asked before the work, not after it."""
    day = datetime.fromtimestamp(SystemClock().now_ns() // NS_PER_SECOND, UTC).date()
    machine = f"{platform.machine()}, {os.cpu_count()} CPUs, {platform.system()}, Python {platform.python_version()}"
    command = f"python {shlex.join(sys.orig_argv[1:])}"
    return f"# {title}\n\n{day}, {machine}, {_commit()}.\n`{command}`\n\n"


def _commit() -> str:
    command = ["git", "--no-optional-locks", "describe", "--always", "--dirty", "--exclude=*"]
    found = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return f"commit {found.stdout.strip()}" if found.returncode == 0 else "commit unknown"
