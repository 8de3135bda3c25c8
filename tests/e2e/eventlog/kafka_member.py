"""A consumer in a process of its own, which a test freezes after it has read.

Arguments: address of the broker, prefix of the topics. It says "read" on its standard error, and after a line on its
standard input tries to commit what it read, with an output, and says how that went.
"""

from __future__ import annotations

import sys

from dimwatch.errors import DimwatchError, PermanentError, TakenOverError
from dimwatch.eventlog.kafka import KafkaEventLog
from dimwatch.eventlog.testing import after, new, read
from dimwatch.eventlog.testing_shared import SINGLE, SPREAD
from dimwatch.settings import Kafka


def main(address: str, prefix: str) -> None:
    log = KafkaEventLog(Kafka(bootstrap_servers=[address], topic_prefix=prefix, partitions=4, session_timeout_s=2.0))
    consumer = log.consumer("g", [SPREAD])
    while True:
        try:
            records = read(consumer, 8)
            consumer.commit({}, {SINGLE: [new(b"before")]})
            break
        except TakenOverError:  # a busy machine kept it from being heard of; nothing was committed
            consumer.close()
            consumer = log.consumer("g", [SPREAD])
    print("read", file=sys.stderr, flush=True)
    sys.stdin.readline()
    try:
        consumer.commit(after(records), {SINGLE: [new(b"twice")]})
    except DimwatchError as error:
        print("refused for good" if isinstance(error, PermanentError) else error, file=sys.stderr, flush=True)
    else:
        print("committed", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
