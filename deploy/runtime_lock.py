"""Prints the part of requirements.lock that Dimwatch needs to run, hashes included: without the development tools.

    python deploy/runtime_lock.py requirements.lock pyproject.toml > runtime.lock

Follows the comments by which the lock file says what needs what. Standard library only: it runs before anything is
installed.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = "dimwatch (pyproject.toml)"


def runtime(lock: str, dependencies: list[str]) -> str:
    """The entries of a lock file that `dependencies` lead to. Raises ValueError when one of them is not in it."""
    entries = {_name(entry): entry for entry in re.split(r"\n(?=[A-Za-z0-9])", lock)}
    wanted = {_name(line) for line in dependencies}
    if missing := wanted - entries.keys():
        raise ValueError(f"not in the lock file: {', '.join(sorted(missing))}; renew it with `make lock`")
    needed_by = {name: set(_parents(entry)) - {ROOT} for name, entry in entries.items()}
    while more := {name for name, parents in needed_by.items() if parents & wanted} - wanted:
        wanted |= more
    return "\n".join(entry.rstrip("\n") for name, entry in entries.items() if name in wanted) + "\n"


def _name(entry: str) -> str:
    """The normalised name that an entry or a requirement begins with."""
    found = re.match(r"[A-Za-z0-9._-]+", entry)
    return re.sub(r"[-_.]+", "-", found.group()).lower() if found else ""


def _parents(entry: str) -> list[str]:
    """What needs the package, from `# via one` or from lines after `# via`."""
    _, _, via = entry.partition("# via")
    return [line.strip(" #") for line in via.splitlines() if line.strip(" #")]


if __name__ == "__main__":
    project = tomllib.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))["project"]
    sys.stdout.write(runtime(Path(sys.argv[1]).read_text(encoding="utf-8"), project["dependencies"]))
