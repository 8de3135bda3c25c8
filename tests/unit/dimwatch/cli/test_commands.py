"""Every command explains itself, and help is instant."""

from __future__ import annotations

import os
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from dimwatch.cli import COMMANDS, main


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_an_example_of_itself(name: str) -> None:
    outcome = CliRunner().invoke(main, [name, "--help"])
    assert outcome.exit_code == 0, outcome.output
    _, found, examples = outcome.output.partition("Example")
    assert found, "the help has no example"
    assert f"dimwatch {name}" in examples


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_is_for(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    assert [option.name for option in options if not option.help] == []


def test_help_is_instant() -> None:
    heavy = {
        "chdb",
        "clickhouse_connect",
        "grpc",
        "kafka",
        "numpy",
        "pandas",
        "pyarrow",
        "river",
        "sklearn",
        "streamlit",
    }
    program = (
        "import sys; from dimwatch.cli import main; main(['--help'], standalone_mode=False);"
        f"sys.exit(str(sorted({heavy} & sys.modules.keys()) or ''))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, env=os.environ)
    assert done.stderr.strip() == "", "all of it is loaded before a word is said"
    assert "Usage" in done.stdout


def test_an_error_is_a_message_and_not_a_traceback(tmp_path: object) -> None:
    outcome = CliRunner().invoke(main, ["doctor", "--config", f"{tmp_path}/none.toml"])
    assert outcome.exit_code == 1
    assert "Error: can not read the settings file" in outcome.output
    assert "Traceback" not in outcome.output
