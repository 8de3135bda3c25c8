"""What the change ledger makes of minutes."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import pytest

from detectors.alerts import Node
from detectors.changes.change import Change
from detectors.changes.ledger import Ledger
from detectors.changes.track import Track
from detectors.windows.minute import MINUTE_NS
from tests.fleet_minutes import START_NS, Agent, minutes

HOUR = 60
WARM = 100
"""Minutes after which the ledger knows what an agent runs on."""
ANSWERED = ("answered_model", "gpt-4o")
OLD, NEW = "gpt-4o-2024-08-06", "gpt-4o-2024-11-20"


class Engine:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Node, tuple[str, ...], int]] = []

    def rebaseline(self, node: Node, signals: Collection[str], since_ns: int) -> None:
        self.told.append((node, tuple(signals), since_ns))


def run(*spans: tuple[int, Iterable[Agent]], seed: int = 1) -> tuple[Ledger, Engine, list[Change]]:
    ledger, engine, found = Ledger(), Engine(), []
    for minute in minutes(spans, seed):
        found += ledger.step(minute, engine)
    return ledger, engine, found


def first(changes: Iterable[Change]) -> list[Change]:
    seen: dict[str, Change] = {}
    for change in changes:
        seen.setdefault(change.id, change)
    return list(seen.values())


def answered(**shares: float) -> dict[tuple[str, str], dict[str, float]]:
    return {ANSWERED: {{"old": OLD, "new": NEW, "third": "gpt-4o-mini"}[name]: n for name, n in shares.items()}}


def release(**shares: float) -> dict[tuple[str, str], dict[str, float]]:
    return {("release", ""): shares}


OF_OLD = Agent(values=answered(old=1))


def test_a_model_that_answers_instead_is_an_entry_within_minutes() -> None:
    _, _, found = run((WARM, [OF_OLD]), (10, [OF_OLD.like(values=answered(new=1))]))
    (change,) = first(found)
    assert (change.attribute, change.key, change.before, change.after) == (*ANSWERED, OLD, NEW)
    assert change.time_ns == START_NS + WARM * MINUTE_NS
    assert change.version - change.time_ns <= 5 * MINUTE_NS
    assert change.share_before == pytest.approx(1, abs=0.01)
    assert change.share_after == 1
    assert not change.deliberate


def test_values_of_the_warm_up_are_no_changes() -> None:
    _, _, found = run((30, [OF_OLD]), (300, [OF_OLD.like(values=answered(old=1, new=1))]))
    assert found == []


def test_a_stray_run_is_no_change() -> None:
    odd = OF_OLD.like(runs=40.0, values=answered(third=1))
    _, _, found = run((WARM, [OF_OLD]), (2, [OF_OLD, odd]), (WARM, [OF_OLD]))
    assert found == []


def test_a_canary_is_an_entry_with_its_share_and_tells_when_it_takes_over() -> None:
    before, all_of_it = Agent(values=release(v1=1)), Agent(values=release(v2=1))
    _, _, found = run((6 * HOUR, [before]), (4 * HOUR, [Agent(values=release(v1=0.95, v2=0.05))]), (30, [all_of_it]))
    (change,) = first(found)
    assert change.share_after < 0.3
    looked = [one for one in found if one.status == "appeared"][-1]
    assert looked.share_after == pytest.approx(0.05, abs=0.03)
    taken = next(one for one in found if one.status == "took_over")
    assert taken.moved_ns == pytest.approx(START_NS + 10 * HOUR * MINUTE_NS, abs=MINUTE_NS)
    assert taken.share_after > 0.9
    assert len({one.id for one in found}) == 1


def test_a_roll_back_amends_the_entry() -> None:
    v1, v2 = Agent(values=release(v1=1)), Agent(values=release(v2=1))
    _, _, found = run((WARM, [v1]), (2 * HOUR, [v2]), (30, [v1]))
    assert len({one.id for one in found}) == 1
    last = found[-1]
    assert (last.status, last.before, last.after, last.share_after) == ("rolled_back", "v1", "v2", 0)
    assert last.moved_ns == START_NS + (WARM + 2 * HOUR) * MINUTE_NS


def test_flapping_between_two_fingerprints_gives_no_storm() -> None:
    spans = []
    for turn in range(40):
        spans.append((15, [Agent(values={("fingerprint", "gpt-4o"): {f"fp_{turn % 2}": 1.0}})]))
    _, _, found = run(*spans)
    assert len(found) <= 2


def test_a_hash_that_differs_in_every_run_is_no_change_and_bounded() -> None:
    ledger, engine, found = Ledger(), Engine(), []
    for number, minute in enumerate(minutes([(3 * HOUR, [Agent()])])):
        prompts = {("prompt", ""): {f"p{number}-{run}": 1.0 for run in range(5)}}
        told = next(minutes([(1, [Agent(values=prompts)])], seed=number, start_ns=minute.start_ns))
        found += ledger.step(told, engine)
    assert found == []
    track = ledger.tracks["acme", "support", "prompt", ""]
    assert len(track.values) <= 256
    assert ledger.dropped > 0


def test_a_tool_that_vanishes_is_an_entry_and_its_return_amends_it() -> None:
    two, one = Agent(tools=("search", "refund")), Agent(tools=("search",))
    _, _, found = run((3 * HOUR, [two]), (3 * HOUR, [one]), (10, [two]))
    vanished, returned = found
    assert (vanished.attribute, vanished.before, vanished.after, vanished.status) == ("tool", "refund", "", "vanished")
    assert vanished.time_ns == START_NS + (3 * HOUR - 1) * MINUTE_NS
    assert vanished.share_before == pytest.approx(0.5, abs=0.1)
    assert (returned.id, returned.status) == (vanished.id, "returned")


def test_an_agent_that_falls_silent_has_lost_no_tool() -> None:
    _, _, found = run((3 * HOUR, [Agent(tools=("search", "refund"))]), (4 * HOUR, []))
    assert found == []


def test_a_new_tool_is_added_and_replaces_nothing() -> None:
    _, _, found = run((WARM, [Agent(tools=("a", "b"))]), (10, [Agent(tools=("a", "b", "c"))]))
    (change,) = first(found)
    assert (change.before, change.after) == ("", "c")


def test_another_model_asked_for_is_an_entry_with_both_names() -> None:
    _, _, found = run((WARM, [Agent()]), (10, [Agent(model="claude-sonnet-4-5", provider="anthropic")]))
    (change,) = first(found)
    assert (change.attribute, change.before, change.after) == ("model", "openai/gpt-4o", "anthropic/claude-sonnet-4-5")
    assert change.deliberate


def test_effects_come_after_ten_minutes_an_hour_and_six_hours() -> None:
    after = OF_OLD.like(values=answered(new=1), tokens=800.0, errors=0.1)
    _, _, found = run((WARM, [OF_OLD]), (7 * HOUR, [after]))
    looks = [(one.version - one.time_ns) // MINUTE_NS for one in found if one.effects]
    assert looks[-3:] == [10, 60, 360]
    effects = {effect.signal: effect for effect in found[-1].effects if not effect.part}
    tokens, errors, latency = effects["model_output_tokens"], effects["model_error"], effects["run_latency"]
    assert tokens.before == pytest.approx(400, rel=0.1)
    assert tokens.after == pytest.approx(800, rel=0.1)
    assert 1.7 < tokens.low < 2 < tokens.high < 2.3
    assert 0 < errors.low < 0.08 < errors.high < 0.16
    assert latency.low < 1 < latency.high
    versions = [one.version for one in found]
    assert versions == sorted(set(versions))


@pytest.mark.parametrize("factor", [1.5, 0.6])
def test_a_prompt_that_changes_the_level_makes_it_normal(factor: float) -> None:
    before = Agent(values={("prompt", ""): {"a": 1.0}})
    after = before.like(values={("prompt", ""): {"b": 1.0}}, tokens=400 * factor)
    _, engine, found = run((WARM, [before]), (20, [after]))
    ((node, signals, since_ns),) = engine.told
    assert (node, signals) == (Node.make(tenant="acme", agent="support"), ("model_output_tokens",))
    assert since_ns == START_NS + WARM * MINUTE_NS
    told = [one for one in found if one.rebaselined]
    assert told[0].version - since_ns <= 16 * MINUTE_NS
    assert '"rebaselined":true' in str(told[0].row()["effects"])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Agent(values=release(v1=1)), Agent(values=release(v2=1), tokens=1200.0)),  # too large
        (Agent(values=release(v1=1)), Agent(values=release(v2=1), errors=0.2)),  # a failure
        (OF_OLD, OF_OLD.like(values=answered(new=1), tokens=600.0)),  # not of the agent's making
        (Agent(values=release(v1=1)), Agent(values=release(v2=1), runs=1.0)),  # half silent
    ],
)
def test_what_is_not_excused(before: Agent, after: Agent) -> None:
    _, engine, found = run((WARM, [before]), (3 * HOUR, [after]))
    assert engine.told == []
    assert found[-1].rebaselined == ()


def test_a_shift_that_is_too_large_is_told_in_the_entry() -> None:
    before, after = Agent(values=release(v1=1)), Agent(values=release(v2=1), tokens=1600.0)
    _, _, found = run((WARM, [before]), (3 * HOUR, [after]))
    assert found[-1].too_large == ("model_output_tokens",)


@pytest.mark.parametrize("offset", [-40, 40])
def test_a_shift_beside_the_change_is_not_excused_by_it(offset: int) -> None:
    v1, v2 = Agent(values=release(v1=1)), Agent(values=release(v2=1))
    slow = (v2 if offset > 0 else v1).like(tokens=600.0)
    spans = [(WARM + min(offset, 0), [v1]), (abs(offset), [slow if offset < 0 else v2])]
    _, engine, _ = run(*spans, (3 * HOUR, [v2.like(tokens=600.0)]))
    assert engine.told == []


def test_the_changes_of_a_time_are_told_by_when_they_came_or_moved() -> None:
    before = Agent(values={**answered(old=1), **release(v1=1)})
    after = before.like(values={**answered(new=1), **release(v2=1)})
    other = Agent(name="sales", values=release(s1=1))
    ledger, _, _ = run((WARM, [before, other]), (30, [after, other]), (30, [after, other.like(values=release(s2=1))]))
    at = START_NS + WARM * MINUTE_NS

    def told(start_ns: int, end_ns: int) -> list[str]:
        return sorted(change.after for change in ledger.since(start_ns, end_ns))

    assert told(at, at) == [NEW, "v2"]
    assert told(at + MINUTE_NS, at + 30 * MINUTE_NS) == ["s2"]
    assert told(at + MINUTE_NS, at + 29 * MINUTE_NS) == []


def test_what_is_too_new_to_be_an_entry_is_a_candidate_already() -> None:
    ledger, _, found = run((WARM, [OF_OLD]), (2, [OF_OLD.like(values=answered(new=1))]))
    assert found == []
    (change,) = ledger.since(START_NS, START_NS + 2 * HOUR * MINUTE_NS)
    assert (change.after, change.status) == (NEW, "seen")
    _, _, entries = run((WARM, [OF_OLD]), (9, [OF_OLD.like(values=answered(new=1))]))
    assert entries[0].id == change.id


def test_the_prefix_of_a_router_is_no_other_model() -> None:
    routed = OF_OLD.like(values={ANSWERED: {f"openai/{OLD}": 1.0}})
    _, _, found = run((WARM, [OF_OLD]), (HOUR, [routed]))
    assert found == []


def test_keys_without_end_are_bounded_and_counted() -> None:
    scopes = {("instrumentation", f"scope{number}"): {"1": 1.0} for number in range(100)}
    ledger, _, _ = run((3, [Agent(values=scopes)]))
    assert len(ledger.tracks) == 64
    assert ledger.dropped > 0


def test_a_name_of_odd_characters_is_no_obstacle() -> None:
    ledger, _, found = run((WARM, [Agent(name="a\x1fb"), OF_OLD]), (10, [OF_OLD.like(values=answered(new=1))]))
    assert [change.after for change in first(found)] == [NEW]
    assert ledger.sums.dropped > 0


def test_an_agent_of_long_ago_is_forgotten() -> None:
    ledger, engine, _ = run((30, [OF_OLD]))
    for minute in minutes([(61, [])], start_ns=START_NS + 8 * 24 * HOUR * MINUTE_NS):
        ledger.step(minute, engine)
    for minute in minutes([(61, [])], start_ns=START_NS + 16 * 24 * HOUR * MINUTE_NS):
        ledger.step(minute, engine)
    assert (ledger.tracks, ledger.sums.agents) == ({}, {})
    assert ledger.step(next(minutes([(1, [OF_OLD])], start_ns=START_NS + 17 * 24 * HOUR * MINUTE_NS)), engine) == []


def test_what_two_agents_see_is_believed_sooner() -> None:
    agents = [OF_OLD.like(name=name, runs=20.0) for name in ("one", "two")]
    after = [agent.like(values=answered(new=1)) for agent in agents]
    _, _, found = run((WARM, agents), (10, after))
    _, _, alone = run((WARM, agents), (10, [after[0], agents[1]]))
    delays = [(first(changes)[0].version - first(changes)[0].time_ns) // MINUTE_NS for changes in (found, alone)]
    assert delays == [1, 2]
    assert {change.agent for change in found} == {"one", "two"}


def test_values_that_wait_for_their_trial_are_not_dropped() -> None:
    track = Track(0, 0)
    for number in range(2 * HOUR):
        track.see(number * MINUTE_NS, {"old": 1.0})
    many = {f"new{number}": 1.0 for number in range(10)}
    told = [track.see(number * MINUTE_NS, {"old": 90.0, **many}) for number in range(2 * HOUR, 2 * HOUR + 3)]
    assert [(len(begun), lost) for begun, _, lost in told] == [(8, 0), (0, 0), (0, 0)]
