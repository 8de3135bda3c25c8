"""Sharing partitions among the members of a Kafka group: cooperative, sticky, co-partitioned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.protocol.consumer.metadata import ConsumerProtocolAssignment

from dimwatch.eventlog.assignment import assign
from dimwatch.eventlog.base import TopicPartition

_VERSION = 2
"""Of the subscription: the first that says of which generation the claims are."""


class CopartitionedAssignor(CooperativeStickyAssignor):  # type: ignore[misc]
    """Partition p of every topic of the group goes to the same member; see `dimwatch.eventlog.assignment`.

    As every cooperative assignor, it gives a partition away in two rounds: in the first its owner gives it up, in
    the second the other member gets it.
    """

    name = "dimwatch-copartitioned"
    version = _VERSION

    def metadata(self, topics: Sequence[str]) -> Any:
        """What this member reads now, and of which generation that is."""
        found = super().metadata(topics)
        found.generation_id = self.generation
        return found

    def assign(self, cluster: Any, members: Sequence[Any]) -> dict[str, Any]:
        """Partitions by member, without those that another member has still to give up."""
        subscribed = {member.member_id: set(member.metadata.topics) for member in members}
        topics = sorted(set().union(*subscribed.values()))
        counts = {topic: len(cluster.partitions_for_topic(topic) or ()) for topic in topics}
        # A member that was away for a generation claims what others may have got since.
        newest = max(member.metadata.generation_id for member in members)
        owned = {
            member.member_id: {
                TopicPartition(claim.topic, number)
                for claim in member.metadata.owned_partitions or ()
                for number in claim.partitions
            }
            for member in members
            if member.metadata.generation_id == newest
        }
        owners = {partition: member for member, claims in owned.items() for partition in claims}
        names = {member.member_id: member.group_instance_id or member.member_id for member in members}
        shares = assign(
            counts,
            {names[member]: found for member, found in subscribed.items()},
            {names[member]: found for member, found in owned.items()},
        )
        return {
            member: _encoded(sorted(part for part in shares[name] if owners.get(part, member) == member))
            for member, name in names.items()
        }


def _encoded(partitions: Sequence[TopicPartition]) -> Any:
    by_topic: dict[str, list[int]] = {}
    for partition in partitions:
        by_topic.setdefault(partition.topic, []).append(partition.partition)
    return ConsumerProtocolAssignment(_VERSION, list(by_topic.items()), b"")
