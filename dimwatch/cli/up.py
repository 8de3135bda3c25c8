"""`dimwatch up`."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

import click

from dimwatch.app import up as app
from dimwatch.cli.options import errors_as_messages, leave, read_settings, settings_options
from dimwatch.telemetry import configure_logging
from dimwatch.tracing import configure_tracing

_PORT = click.IntRange(1, 65535)


@click.command()
@settings_options
@click.option("--demo", is_flag=True, help="Add a simulated fleet; without --data, keep nothing afterwards.")
@click.option("--open/--no-open", "open_browser", default=False, help="Open the dashboard in a browser.")
@click.option("--grpc-port", "receiver__grpc_port", type=_PORT, help="OTLP/gRPC port. Default: 4317.")
@click.option("--http-port", "receiver__http_port", type=_PORT, help="OTLP/HTTP port. Default: 4318.")
@click.option("--store-port", "store__http_port", type=_PORT, help="ClickHouse HTTP port. Default: 8123.")
@click.option("--api-port", "api__port", type=_PORT, help="API port. Default: 8502.")
@click.option("--dashboard-port", "dashboard__port", type=_PORT, help="Dashboard port. Default: 8501.")
@click.option("--metrics-port", "telemetry__metrics_port", type=_PORT, help="Prometheus port. Default: 9464.")
@click.option(
    "--log-level",
    "telemetry__log_level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    help="Least severe that is logged. Default: info; in a demo warning.",
)
@click.option(
    "--log-format",
    "telemetry__log_format",
    type=click.Choice(["auto", "json", "console"]),
    help="Default: text on a terminal, JSON lines elsewhere.",
)
@errors_as_messages
def up(data: Path | None, config: Path | None, demo: bool, open_browser: bool, **flags: object) -> None:
    """Start Dimwatch on this machine: collector, worker, fleet, store, API and dashboard.

    Runs until Ctrl-C or SIGTERM, then drains. A process that dies is started again. Settings come from flags,
    then DIMWATCH_… variables, then a TOML file, then defaults; `dimwatch doctor` shows them all.

    \b
    Examples:
      dimwatch up                                  data in ./data
      dimwatch up --demo --open                    a simulated fleet, thrown away at the end
      dimwatch up --data /var/lib/dimwatch         data elsewhere
      DIMWATCH_RECEIVER__TOKEN=… dimwatch up       senders must present a token
    """
    with ExitStack() as stack:
        if demo and data is None:
            data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dimwatch-demo-")))
        resolved = read_settings(data, config, **flags)
        settings = resolved.settings
        if demo and resolved.origins["telemetry.log_level"] == "default":
            settings.telemetry.log_level = "warning"
        configure_logging(settings.telemetry.log_level, settings.telemetry.log_format, role="supervisor")
        configure_tracing(settings, "supervisor")
        status = app.run(settings, app.Options(demo=demo, open_browser=open_browser), click.echo)
    leave(status)
