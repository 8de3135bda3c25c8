"""Partitions are shared equally, moved as little as can be, and the same number of all topics goes together."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dimwatch.eventlog.assignment import assign
from dimwatch.eventlog.base import TopicPartition

names = st.sets(st.text("abcdef", min_size=1, max_size=3), min_size=1, max_size=6)


def shares(members: set[str], count: int, owned: dict[str, set[TopicPartition]]) -> dict[str, set[TopicPartition]]:
    return assign({"s": count, "t": count}, {member: {"s", "t"} for member in members}, owned)


@given(members=names, later=names, count=st.integers(1, 30))
def test_shares_are_whole_equal_together_and_kept(members: set[str], later: set[str], count: int) -> None:
    before = shares(members, count, {})
    after = shares(later, count, {member: owned for member, owned in before.items() if member in later})
    for found in (before, after):
        assert sorted(partition for share in found.values() for partition in share) == [
            TopicPartition(topic, number) for topic in ("s", "t") for number in range(count)
        ]
        numbers = {member: {part.partition for part in share} for member, share in found.items()}
        assert max(map(len, numbers.values())) - min(map(len, numbers.values())) <= 1
        assert all(len(share) == 2 * len(numbers[member]) for member, share in found.items())
    for member in members & later:
        kept = {part.partition for part in before[member] & after[member]}
        had = {part.partition for part in before[member]}
        assert len(kept) >= min(len(had), count // len(later))


def test_of_two_who_claim_the_same_one_gets_it() -> None:
    claim = {TopicPartition("t", 0), TopicPartition("t", 1)}
    found = assign({"t": 2}, {"a": {"t"}, "b": {"t"}}, {"a": claim, "b": claim})
    assert sorted(map(len, found.values())) == [1, 1]
    assert set().union(*found.values()) == claim


def test_topics_of_one_partition_are_with_those_who_read_number_0() -> None:
    found = assign({"many": 4, "one": 1}, {"a": {"many", "one"}, "b": {"many", "one"}}, {})
    (owner,) = (member for member, share in found.items() if TopicPartition("one", 0) in share)
    assert TopicPartition("many", 0) in found[owner]


def test_members_that_read_different_topics_share_what_they_have_in_common() -> None:
    found = assign({"new": 2, "old": 2}, {"a": {"old"}, "b": {"old", "new"}}, {})
    assert found["b"] >= {TopicPartition("new", 0), TopicPartition("new", 1)}
    assert {part.topic for part in found["a"]} == {"old"}
    assert len(found["a"]) == 1
