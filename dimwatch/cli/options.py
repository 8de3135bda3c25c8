"""Options that several commands share, and errors as people see them."""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import click

from dimwatch.app.configuration import Resolved, resolve
from dimwatch.errors import DimwatchError
from dimwatch.telemetry import configure_logging


def settings_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add `--data` and `--config`."""
    for option in (
        click.option(
            "--config",
            type=click.Path(path_type=Path, dir_okay=False),
            help="TOML file of settings. Default: dimwatch.toml in the data folder, or here.",
        ),
        click.option(
            "--data",
            type=click.Path(path_type=Path, file_okay=False),
            help="Folder that holds everything Dimwatch keeps. Default: data.",
        ),
    ):
        function = option(function)
    return function


def role_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options of a role that runs by itself."""
    option = click.option(
        "--health-port",
        "telemetry__health_port",
        type=click.IntRange(0, 65535),
        help="Port of /healthz, /readyz and /metrics; 0: none. Default: one for each role.",
    )
    return settings_options(option(function))


def errors_as_messages(function: Callable[..., None]) -> Callable[..., None]:
    """Show an error that Dimwatch raised on purpose as a message with exit status 1, without a traceback."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        try:
            function(*args, **kwargs)
        except DimwatchError as error:
            raise click.ClickException(str(error)) from error

    return wrapped


def read_settings(data: Path | None, config: Path | None, **flags: object) -> Resolved:
    """Resolve the settings; `flags` are named like the settings with `__` for the dot."""
    named = {name.replace("__", "."): value for name, value in flags.items()}
    return resolve({"data": data, **named}, config)


def quiet_logs() -> None:
    """Let a command that answers a person speak for itself: what goes wrong comes as its error message."""
    configure_logging("critical", "console", "cli")
    # It reports refused connections on its own, before the error that says the same.
    logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)


def leave(status: int) -> NoReturn:
    """End the process with an exit status."""
    sys.stdout.flush()
    raise SystemExit(status)
