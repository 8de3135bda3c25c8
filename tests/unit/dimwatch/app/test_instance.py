"""One Dimwatch a data folder, and how commands find it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dimwatch.app.instance import follow, is_locked, locked, note, running
from dimwatch.errors import PermanentError
from dimwatch.settings import Settings

_HOLD = """
import sys, time
from pathlib import Path
from dimwatch.app.instance import locked, note
from dimwatch.settings import Settings
settings = Settings(data=Path(sys.argv[1]))
settings.store.http_port = 777
with locked(settings):
    note(settings)
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_second_one_is_refused_until_the_first_has_died(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    with subprocess.Popen([sys.executable, "-c", _HOLD, str(tmp_path)], stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"held\n"
            assert is_locked(tmp_path)
            with pytest.raises(PermanentError, match=f"already running .*process {holder.pid}.*--data"):
                locked(settings).__enter__()
            found = running(tmp_path)
            assert found is not None
            assert (found.pid, found.store_port) == (holder.pid, 777)
            assert follow(settings).store.http_port == 777
            assert settings.store.http_port == 8123, "the original is left alone"
        finally:
            holder.send_signal(signal.SIGKILL)
    # What the dead one left is stale, and no hindrance.
    assert running(tmp_path) is None
    assert follow(settings) is settings
    with locked(settings):
        assert is_locked(tmp_path)
        note(settings)
        here = running(tmp_path)
        assert here is not None
        assert here.pid == os.getpid()
    assert not is_locked(tmp_path)


def test_a_data_folder_that_can_not_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PermanentError, match="can not write to the data folder"):
        locked(Settings(data=tmp_path / "file" / "data")).__enter__()
