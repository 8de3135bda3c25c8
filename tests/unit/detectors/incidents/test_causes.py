"""The cause search names the smallest part of the fleet that explains the evidence."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from detectors.alerts import Node
from detectors.incidents.causes import Cells, Layer
from detectors.windows.signals import BY_NAME

MODELS = [
    Node.make(tenant="t", agent=agent, provider=provider, model=model)
    for agent, provider, model in (
        ("a", "openai", "gpt-a"),
        ("b", "openai", "gpt-a"),
        ("c", "openai", "gpt-b"),
        ("d", "anthropic", "claude"),
        ("e", "anthropic", "claude"),
        ("f", "google", "gemini"),
    )
]
TOOLS = [
    Node.make(tenant="t", agent=agent, tool=tool)
    for agent, tool in (("a", "search"), ("b", "search"), ("c", "search"), ("a", "crm"), ("d", "mail"))
]
RUNS = [Node.make(tenant="t", agent=agent) for agent in "abcdef"]


def cells(
    signal: str, nodes: list[Node], worse: Callable[[Node], bool], expected: float = 10.0, factor: float = 3.0
) -> Cells:
    known = BY_NAME[signal]
    bad = np.array([worse(node) for node in nodes])
    base = np.full(len(nodes), expected)
    level = known.form == "level"
    observed = np.where(bad, factor * expected, 0.0 if level else expected)
    return Cells([Layer(known, tuple(nodes), observed, base, base * 10)])


def of(**values: str) -> Callable[[Node], bool]:
    return lambda node: node.within(Node.make(**values))


@pytest.mark.parametrize(
    ("signal", "nodes", "where", "named"),
    [
        ("model_error", MODELS, {"provider": "openai"}, {"tenant": "t", "provider": "openai"}),
        ("model_error", MODELS, {"model": "gpt-a"}, {"tenant": "t", "provider": "openai", "model": "gpt-a"}),
        ("model_error", MODELS, {"provider": "anthropic"}, {"tenant": "t", "provider": "anthropic", "model": "claude"}),
        (
            "model_speed",
            MODELS,
            {"agent": "b"},
            {"tenant": "t", "agent": "b", "provider": "openai", "model": "gpt-a"},
        ),
        ("tool_empty", TOOLS, {"tool": "search"}, {"tenant": "t", "tool": "search"}),
        ("tool_empty", TOOLS, {"tool": "mail"}, {"tenant": "t", "agent": "d", "tool": "mail"}),
        ("tool_latency", TOOLS, {"agent": "a"}, {"tenant": "t", "agent": "a"}),
        ("tool_error", TOOLS, {"agent": "a", "tool": "search"}, {"tenant": "t", "agent": "a", "tool": "search"}),
        ("run_looped", RUNS, {"agent": "f"}, {"tenant": "t", "agent": "f"}),
        ("run_failed", RUNS, {}, {"tenant": "t"}),
    ],
)
def test_the_smallest_part_that_explains_it_is_named(
    signal: str, nodes: list[Node], where: dict[str, str], named: dict[str, str]
) -> None:
    assert cells(signal, nodes, of(**where)).search()[0].node == Node.make(**named)


def test_fewer_events_than_expected_are_silence_and_more_are_not() -> None:
    quiet = cells("run_traffic", RUNS, of(agent="c"), factor=0.0)
    assert quiet.search()[0].node == Node.make(tenant="t", agent="c")
    assert cells("run_traffic", RUNS, of(agent="c"), factor=3.0).search() == []


def test_a_provider_is_not_blamed_for_one_of_its_agents() -> None:
    found = cells("model_error", MODELS, of(agent="a"), expected=20.0, factor=30.0).search()[0]
    assert found.node.value("agent") == "a"


def test_two_faults_are_found_one_after_the_other() -> None:
    def worse(node: Node) -> bool:
        return node.value("provider") == "google" or node.value("model") == "gpt-b"

    found = cells("model_error", MODELS, worse).search(least=3.0)
    assert {place.node.value("model") for place in found} == {"gemini", "gpt-b"}


def test_signals_of_one_subject_are_laid_over_each_other() -> None:
    speed = cells("model_speed", MODELS, of(provider="openai"), factor=0.4).layers[0]
    first = cells("model_first_token", MODELS, of(provider="openai"), factor=0.4).layers[0]
    alone, both = Cells([speed]).search()[0], Cells([speed, first]).search()[0]
    assert alone.node == both.node == Node.make(tenant="t", provider="openai")
    assert both.gain > 1.8 * alone.gain


def test_a_release_is_named_where_it_is_the_cause_and_only_there() -> None:
    nodes = [
        Node.make(tenant="t", agent=agent, release=release)
        for agent, release in (("a", "1"), ("a", "2"), ("b", "1"), ("c", "7"))
    ]
    bad = cells("run_failed", nodes, of(agent="a", release="2"), expected=20.0).search()[0]
    assert bad.node == Node.make(tenant="t", agent="a", release="2")
    assert cells("run_failed", nodes, of(agent="c")).search()[0].node == Node.make(tenant="t", agent="c")


def test_nothing_is_found_where_nothing_is_worse() -> None:
    assert cells("model_error", MODELS, lambda _: False).search() == []
    assert Cells([Layer(BY_NAME["model_error"], (), np.empty(0), np.empty(0), np.empty(0))]).search() == []


def test_what_is_explained_is_a_share_of_what_is_too_much() -> None:
    whole = cells("model_error", MODELS, of(provider="openai"))
    everything = whole.mask(Node())
    assert whole.share(whole.mask(Node.make(provider="openai")), everything) == 1.0
    assert whole.share(whole.mask(Node.make(agent="a")), everything) == pytest.approx(1 / 3)
    assert whole.share(whole.mask(Node.make(provider="google")), everything) == 0.0


def test_the_order_of_cells_does_not_matter() -> None:
    straight = cells("model_error", MODELS, of(provider="openai")).search()[0]
    reverse = cells("model_error", MODELS[::-1], of(provider="openai")).search()[0]
    assert (straight.node, straight.gain, straight.margin) == (reverse.node, reverse.gain, reverse.margin)


def test_a_model_that_suffers_less_does_not_leave_its_provider() -> None:
    known = BY_NAME["model_speed"]
    strength = {"gpt-a": 1.0, "gpt-b": 0.4}
    observed = np.array([40 * strength.get(node.value("model"), 0.0) for node in MODELS])
    layer = Layer(known, tuple(MODELS), observed, np.full(len(MODELS), 40.0), np.full(len(MODELS), 40.0))
    assert Cells([layer]).search()[0].node == Node.make(tenant="t", provider="openai")
