"""`python -m dimwatch`: how the supervisor starts its processes."""

from __future__ import annotations

from dimwatch.app.guard import follow_supervisor
from dimwatch.cli import main

if __name__ == "__main__":
    follow_supervisor()
    main(prog_name="dimwatch")
