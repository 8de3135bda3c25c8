"""What tests need of the machine beyond Python packages: where it is missing they are skipped, and fail in CI."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest


def program(*names: str, remedy: str) -> str:
    """The path of the first of these programs that is installed."""
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        missing(f"none of {', '.join(names)} is installed: {remedy}")
    return path


def missing(what: str) -> NoReturn:
    """Skip the test, or fail it where the environment variable CI is set: there nothing may be missing."""
    if os.environ.get("CI", "").lower() not in ("", "0", "false"):
        pytest.fail(what, pytrace=False)
    pytest.skip(what)
