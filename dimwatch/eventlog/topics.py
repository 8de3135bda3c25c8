"""What kind of topic each is, where the eventlog can share it among processes."""

from __future__ import annotations

from typing import Final

from dimwatch import records

PARTITIONED: Final = frozenset(
    {
        records.OTLP_SPANS,
        records.OTLP_LOGS,
        records.CHECKPOINTS,
        records.SPANS,
        records.TRACES,
        records.OBSERVATIONS,
        records.DROPS,
        records.CANARIES,
    }
)
"""These have as many partitions as `eventlog.kafka.partitions`, all the same number; every other topic has one."""

COMPACTED: Final = frozenset({records.CHECKPOINTS, records.FLEET_CHECKPOINTS, records.NOTIFIER_CHECKPOINTS})
"""Of these, the newest record of each key is what counts."""


def partitions(topic: str, many: int) -> int:
    """How many partitions `topic` has where partitioned topics have `many`."""
    return many if topic in PARTITIONED else 1
