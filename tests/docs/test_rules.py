"""docs/rules.md speaks of every rule, and says what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from detectors.traces.rules import RULES
from detectors.traces.rules.base import Rule
from dimwatch.cli.rules import rules

PAGE = (Path(__file__).parents[2] / "docs" / "rules.md").read_text()
SECTIONS = dict(zip(*[iter(re.split(r"^## (\w+)\n", PAGE, flags=re.MULTILINE)[1:])] * 2, strict=True))
PARTS = ("Detects", "Reads", "Score", "Needs", "Blind spots", "Example")


def test_the_page_has_every_rule_in_order() -> None:
    assert list(SECTIONS) == [rule.name for rule in RULES]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule_has_every_part(rule: Rule) -> None:
    assert re.findall(r"^\*\*([\w ]+)\*\*", SECTIONS[rule.name], flags=re.MULTILINE) == list(PARTS)
    needs = re.search(r"\*\*Needs\*\* (.*)", SECTIONS[rule.name])
    assert needs is not None
    assert set(re.findall(r"`(\w+)`", needs[1])) == set(rule.needs)
    assert str(rule.severity) in SECTIONS[rule.name].lower()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_the_command_explains_a_rule(rule: Rule) -> None:
    shown = CliRunner().invoke(rules, [rule.name])
    assert shown.exit_code == 0
    assert rule.name in shown.output
    assert "blind spots" in shown.output
    assert all(len(line) <= 80 for line in shown.output.splitlines())


def test_the_command_lists_every_rule() -> None:
    shown = CliRunner().invoke(rules)
    assert shown.exit_code == 0
    assert all(rule.name in shown.output for rule in RULES)


def test_an_unknown_rule_is_refused_with_the_known_ones() -> None:
    shown = CliRunner().invoke(rules, ["tool_eror"])
    assert shown.exit_code == 2
    assert "tool_error" in shown.output
