"""A supervisor of stand-ins: `supervised.py FOLDER FIRST_DELAY NAME[:MODE[:GRACE]] ...`, each started after the one
before. They have ten minutes to drain, unless they say otherwise."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from dimwatch.app.health import forget_heartbeat, heartbeat
from dimwatch.app.supervisor import Policy, Role, Supervisor
from dimwatch.telemetry import configure_logging

folder = Path(sys.argv[1])
standin = str(Path(__file__).with_name("standin.py"))


def role(word: str, after: str | None) -> Role:
    name, mode, grace = (*word.split(":"), "", "")[:3]
    command = (sys.executable, standin, name, str(folder), mode)
    return Role(name, command, heartbeat(folder, name), after=after, grace_s=float(grace or 600.0))


first_delay_s, words = float(sys.argv[2]), sys.argv[3:]
names = [None, *(word.partition(":")[0] for word in words)]
roles = [role(word, after) for word, after in zip(words, names, strict=False)]
configure_logging("info", "json", "supervisor")
policy = Policy(
    first_delay_s=first_delay_s,
    longest_delay_s=max(first_delay_s, 0.4),
    proven_s=0.3,
    check_s=0.1,
    doubt_s=0.2,
    stuck_s=1.0,
)
supervisor = Supervisor(
    roles,
    os.environ,
    policy=policy,
    on_exit=lambda role: forget_heartbeat(folder, role.name),
)
sys.exit(asyncio.run(supervisor.run()))
