"""Who reads which partitions: the same number of every topic goes to the same member of a group."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from dimwatch.eventlog.base import TopicPartition


def assign(
    partitions: Mapping[str, int],
    subscribed: Mapping[str, Collection[str]],
    owned: Mapping[str, Collection[TopicPartition]],
) -> dict[str, set[TopicPartition]]:
    """Partitions by member. Members keep what they own as far as shares stay equal (one more or less).

    `partitions` are the counts by topic, `subscribed` the topics that each member reads, `owned` what it reads
    now. Deterministic. Members that read different topics share only what they have in common, as equally.
    """
    found: dict[str, set[TopicPartition]] = {member: set() for member in subscribed}
    by_readers: dict[tuple[str, ...], list[str]] = {}
    for topic in sorted(partitions):
        readers = tuple(sorted(member for member, topics in subscribed.items() if topic in topics))
        if readers:
            by_readers.setdefault(readers, []).append(topic)
    for readers, topics in by_readers.items():
        count = max(partitions[topic] for topic in topics)
        numbers = {
            member: {partition.partition for partition in owned.get(member, ()) if partition.topic in topics}
            for member in readers
        }
        for member, share in _share(count, numbers).items():
            found[member] |= {
                TopicPartition(topic, number) for topic in topics for number in share if number < partitions[topic]
            }
    return found


def _share(count: int, owned: Mapping[str, Collection[int]]) -> dict[str, list[int]]:
    """The numbers 0..count-1 shared equally among the members, as far as possible to those who own them."""
    least, larger = divmod(count, len(owned))
    # Who owns most has the first claim to one of the larger shares.
    members = sorted(owned, key=lambda member: (-len(owned[member]), member))
    claims: dict[int, str] = {}
    for member in reversed(members):  # of two who claim the same, the first of `members`
        claims |= {number: member for number in owned[member] if number < count}
    shares: dict[str, list[int]] = {}
    for rank, member in enumerate(members):
        kept = sorted(number for number, owner in claims.items() if owner == member)
        shares[member] = kept[: least + (rank < larger)]
    free = sorted(set(range(count)) - {number for share in shares.values() for number in share})
    for rank, member in enumerate(members):
        wanted = least + (rank < larger) - len(shares[member])
        shares[member] += free[:wanted]
        del free[:wanted]
    return shares
