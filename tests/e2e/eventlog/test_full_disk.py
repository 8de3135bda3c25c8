"""A disk that is really full: a small file system, mounted where only the test sees it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

MOUNT = "mount -t tmpfs -o size=128m tmpfs "


def test_a_full_disk_loses_nothing_and_is_recovered_from(tmp_path: Path) -> None:
    own_mounts = ["unshare", "--mount", "sh", "-c"]
    if (
        not shutil.which("unshare")
        or subprocess.run([*own_mounts, MOUNT + str(tmp_path)], capture_output=True).returncode
    ):
        pytest.skip("mounting a small file system needs Linux and root")
    script = Path(__file__).with_name("full_disk.py")
    run = f'{MOUNT}"{tmp_path}" && exec "{sys.executable}" -P "{script}" "{tmp_path}"'
    done = subprocess.run([*own_mounts, run], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
