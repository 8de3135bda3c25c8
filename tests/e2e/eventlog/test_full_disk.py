"""A disk that is really full: a small file system, mounted where only the test sees it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.needs import program

pytestmark = pytest.mark.e2e

MOUNT = "mount -t tmpfs -o size=128m tmpfs "


def test_a_full_disk_loses_nothing_and_is_recovered_from(tmp_path: Path) -> None:
    root = [] if os.geteuid() == 0 else ["--map-root-user"]
    unshare = program("unshare", remedy="apt-get install util-linux")
    own_mounts = [unshare, *root, "--mount", "sh", "-c"]
    if subprocess.run([*own_mounts, f'{MOUNT}"{tmp_path}"'], capture_output=True).returncode:
        # A permission, which is not everybody's to give: containers have it with CAP_SYS_ADMIN.
        pytest.skip("no small file system may be mounted here")
    script = Path(__file__).with_name("full_disk.py")
    run = f'{MOUNT}"{tmp_path}" && exec "{sys.executable}" -P "{script}" "{tmp_path}"'
    done = subprocess.run([*own_mounts, run], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
