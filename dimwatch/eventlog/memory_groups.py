"""Who of a consumer group reads what, in memory."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol

from dimwatch.errors import PermanentError
from dimwatch.eventlog.assignment import assign
from dimwatch.eventlog.base import TopicPartition


class Member(Protocol):
    """A consumer as the groups see it."""

    group: str | None
    topics: set[str]


class NewestOwnsAll:
    """The newest member owns the group's topics, as embedded: an older one may not commit any more."""

    def __init__(self) -> None:
        self._members: dict[tuple[str | None, str], Member] = {}
        """Who joined last, by group and topic."""
        self._joined: set[Member] = set()

    def has(self, member: Member) -> bool:
        return member in self._joined

    def join(self, member: Member) -> None:
        self._joined.add(member)
        self._members |= {(member.group, topic): member for topic in member.topics}

    def assigned(self, member: Member) -> frozenset[TopicPartition]:
        return frozenset(TopicPartition(topic) for topic in member.topics)

    def check(self, member: Member, partitions: Collection[TopicPartition]) -> None:
        """Raise PermanentError if another member has taken over."""
        for topic in member.topics:
            if self._members.get((member.group, topic)) is not member:
                raise PermanentError(f"another consumer of group {member.group} has taken over {topic}: stop this one")

    def leave(self, member: Member, *, forget: bool = True) -> None:
        """With `forget`, the group holds no records back any more on topics where this was the newest member."""
        self._joined.discard(member)
        for topic in member.topics if forget else ():
            if self._members.get((member.group, topic)) is member:
                del self._members[member.group, topic]

    def reading(self, topic: str) -> set[str]:
        """Groups that have joined and not gone."""
        return {group for group, name in self._members if name == topic and group is not None}


class Shared:
    """Members share the partitions, as on Kafka. What goes to another member is given up first, in a poll."""

    def __init__(self, count: Callable[[str], int]) -> None:
        self._count = count
        self._owned: dict[Member, frozenset[TopicPartition]] = {}
        self._joined = 0
        self._names: dict[Member, str] = {}

    def has(self, member: Member) -> bool:
        return member in self._owned

    def join(self, member: Member) -> None:
        self._joined += 1
        self._owned[member] = frozenset()
        self._names[member] = f"{self._joined:09}"

    def assigned(self, member: Member) -> frozenset[TopicPartition]:
        """What `member` owns from now on: called in its poll."""
        names = {self._names[one]: one for one in self._owned if one.group == member.group}
        shares = assign(
            {topic: self._count(topic) for one in names.values() for topic in one.topics},
            {name: one.topics for name, one in names.items()},
            {name: self._owned[one] for name, one in names.items()},
        )
        of_others = {partition for one in names.values() if one is not member for partition in self._owned[one]}
        self._owned[member] = frozenset(shares[self._names[member]] - of_others)
        return self._owned[member]

    def check(self, member: Member, partitions: Collection[TopicPartition]) -> None:
        """Raise PermanentError if the member does not own these any more."""
        lost = set(partitions) - self._owned.get(member, frozenset())
        if lost or member not in self._owned:
            raise PermanentError(
                f"another consumer of group {member.group} may have taken over {sorted(lost)}: stop this one"
            )

    def leave(self, member: Member, *, forget: bool = True) -> None:
        self._owned.pop(member, None)
        self._names.pop(member, None)

    def reading(self, topic: str) -> set[str]:
        return {member.group for member in self._owned if topic in member.topics and member.group is not None}
