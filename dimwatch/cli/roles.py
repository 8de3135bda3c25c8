"""The roles: `dimwatch collector`, `worker`, `fleet` and so on, one process each, as `dimwatch up` starts them."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from pathlib import Path

import click
import structlog

from dimwatch.app.standalone import keep_running, serving
from dimwatch.app.supervisor import EXIT_PERMANENT
from dimwatch.cli.options import leave, read_settings, role_options
from dimwatch.errors import DimwatchError, PermanentError, TakenOverError
from dimwatch.telemetry import configure_logging
from dimwatch.tracing import configure_tracing


def _run(role: str, data: Path | None, config: Path | None, flags: dict[str, object], **more: bool) -> None:
    try:
        settings = read_settings(data, config, **flags).settings
        configure_logging(settings.telemetry.log_level, settings.telemetry.log_format, role)
        configure_tracing(settings, role)
        module = import_module(f"dimwatch.app.{role}")
        with serving(settings, role) as health:
            if settings.telemetry.health_port == 0:  # whoever supervises it starts it again
                module.run(settings, health, **more)
            else:
                keep_running(partial(module.run, settings, health, **more), health)
    except DimwatchError as error:
        click.echo(f"Error: {role}: {error}", err=True)
        # One that was taken over is well again after a restart.
        fatal = isinstance(error, PermanentError) and not isinstance(error, TakenOverError)
        leave(EXIT_PERMANENT if fatal else 1)
    except Exception:
        # The last line of defence of a process: a crash is a log entry as everything else, and then a restart.
        structlog.get_logger().exception("crashed")
        leave(1)


@click.command()
@role_options
def collector(data: Path | None, config: Path | None, **flags: object) -> None:
    """Run the OTLP receivers alone: OTLP in, eventlog out.

    \b
    Examples:
      dimwatch collector --data data
      DIMWATCH_RECEIVER__HOST=0.0.0.0 DIMWATCH_RECEIVER__TOKEN=… dimwatch collector
    """
    _run("collector", data, config, flags)


@click.command()
@role_options
def worker(data: Path | None, config: Path | None, **flags: object) -> None:
    """Run the stream processing alone: eventlog in, spans, traces and observations out.

    \b
    Examples:
      dimwatch worker --data data
    """
    _run("worker", data, config, flags)


@click.command()
@role_options
@click.option("--demo", is_flag=True, hidden=True, help="Begin with what is normal in the simulated fleet.")
def fleet(data: Path | None, config: Path | None, demo: bool, **flags: object) -> None:
    """Run the fleet's statistics alone: points of the workers in, windows, changes and incidents out.

    \b
    Examples:
      dimwatch fleet --data data
      DIMWATCH_DETECTION__FALSE_PAGES_PER_WEEK=0.2 dimwatch fleet
    """
    _run("fleet", data, config, flags, demo=demo)


@click.command()
@role_options
def notifier(data: Path | None, config: Path | None, **flags: object) -> None:
    """Run the pages to people alone: incidents in, HTTP requests and mail out.

    \b
    Examples:
      dimwatch notifier --data data
      dimwatch notifier --config dimwatch.toml
    """
    _run("notifier", data, config, flags)


@click.command()
@role_options
def store(data: Path | None, config: Path | None, **flags: object) -> None:
    """Run the embedded ClickHouse, its HTTP interface and the sink that fills it.

    With store.mode=server only the sink: it makes the tables on a ClickHouse server or cluster and writes there.

    \b
    Examples:
      dimwatch store --data data
      DIMWATCH_STORE__MODE=server DIMWATCH_STORE__HOST=clickhouse.internal dimwatch store
      curl 'http://127.0.0.1:8123/?query=SELECT+count()+FROM+spans'
    """
    _run("store", data, config, flags)


@click.command()
@role_options
def api(data: Path | None, config: Path | None, **flags: object) -> None:
    """Run the HTTP API and the canary alone: incidents and orders about them.

    \b
    Examples:
      dimwatch api --data data
      DIMWATCH_API__HOST=0.0.0.0 DIMWATCH_API__RESPONDER_TOKEN=… dimwatch api
    """
    _run("api", data, config, flags)


@click.command()
@role_options
def dashboard(data: Path | None, config: Path | None, **flags: object) -> None:
    """Run the dashboard alone; it reads ClickHouse and nothing else.

    \b
    Examples:
      DIMWATCH_STORE__HOST=clickhouse.internal dimwatch dashboard
    """
    _run("dashboard", data, config, flags)
