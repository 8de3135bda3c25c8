"""The `dimwatch` command. A sub-command's module is imported only when it runs, so that help is instant."""

from __future__ import annotations

from importlib import import_module, metadata
from typing import Final

import click

COMMANDS: Final = {
    "up": ("dimwatch.cli.up", "Start Dimwatch on this machine: all of its processes."),
    "replay": ("dimwatch.cli.replay", "Read recorded OTLP and print what Dimwatch finds, without a server."),
    "simulate": ("dimwatch.cli.simulate", "Send the traces of a simulated fleet of agents, faults included."),
    "sql": ("dimwatch.cli.sql", "Run a query on the store."),
    "status": ("dimwatch.cli.status", "Show flow, lag, drops by reason and coverage by agent."),
    "dlq": ("dimwatch.cli.dlq", "Show records that could not be used, and put them back."),
    "doctor": ("dimwatch.cli.doctor", "Check ports, disk, versions and packages, and name the remedy."),
    "incidents": ("dimwatch.cli.incidents", "List incidents; acknowledge, silence, resolve or label one."),
    "rules": ("dimwatch.cli.rules", "List the rules, or explain one."),
    "notify": ("dimwatch.cli.notify", "See whom incidents are told, and send a test."),
    "collector": ("dimwatch.cli.roles", "Run the OTLP receivers alone."),
    "worker": ("dimwatch.cli.roles", "Run the stream processing alone."),
    "fleet": ("dimwatch.cli.roles", "Run the fleet's statistics alone."),
    "notifier": ("dimwatch.cli.roles", "Run the pages to people alone."),
    "store": ("dimwatch.cli.roles", "Run the embedded ClickHouse and its sink alone."),
    "api": ("dimwatch.cli.roles", "Run the HTTP API and the canary alone."),
    "dashboard": ("dimwatch.cli.roles", "Run the dashboard alone."),
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = getattr(import_module(COMMANDS[cmd_name][0]), cmd_name)
        if not isinstance(command, click.Command):
            raise TypeError(f"{COMMANDS[cmd_name][0]}.{cmd_name} is not a command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_) for name, (_, help_) in COMMANDS.items()])


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(metadata.version("dimwatch"), prog_name="dimwatch")
def main() -> None:
    """Dimwatch sees AI agents failing while everything is still green.

    \b
    Examples:
      dimwatch up                      start on this machine, data in ./data
      dimwatch up --demo               the same with a simulated fleet
      dimwatch replay captures/        what would have been found in recorded OTLP
      dimwatch sql "SELECT rule, count() FROM observations GROUP BY rule"
    """
