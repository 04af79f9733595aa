"""Consumes, transforms, produces, exactly once, until it is killed or fails: librdkafka's part of the row
`kill-transactions`, as in `../java/src/Transform.java`. The arguments are a transactional id and the address."""

import faulthandler
import random
import sys

from confluent_kafka import Consumer, Producer, TopicPartition

SECONDS = 20
# A call of librdkafka may outlive the time it was given (its issues 5456 and 5511: offsets are sent to a
# coordinator that it has forgotten). Whoever is stuck ends, and is started again as any that failed.
STUCK_SECONDS = 2 * SECONDS


def main():
    common = {
        "bootstrap.servers": sys.argv[2],
        "reconnect.backoff.max.ms": 200,
        # With its other strategy a broker that was gone for a moment is forgotten, and what waits for it
        # waits for good.
        "metadata.recovery.strategy": "none",
    }
    reader = Consumer({
        **common,
        "group.id": "transform",
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "isolation.level": "read_committed",
        "session.timeout.ms": 6000,
        "heartbeat.interval.ms": 500,
        # What Java's members of the group know.
        "partition.assignment.strategy": "range",
    })
    to = Producer({**common, "transactional.id": sys.argv[1], "transaction.timeout.ms": 5000})
    to.init_transactions(SECONDS)
    reader.subscribe(["in"])
    while True:
        faulthandler.dump_traceback_later(STUCK_SECONDS, exit=True)
        messages = [message for message in reader.consume(5, 0.1) if message.error() is None]
        if messages:
            transform(reader, to, messages)


def transform(reader, to, messages):
    starts, ends = {}, {}
    to.begin_transaction()
    for message in messages:
        partition, value = message.partition(), message.value()
        starts.setdefault(partition, message.offset())
        ends[partition] = message.offset() + 1
        amount = 1 + sum(value) % 9
        to.produce("out", value, partition=partition)
        to.produce("money", b"%s:%d" % (value, amount), partition=0)
        to.produce("money", b"%s:%d" % (value, -amount), partition=1)
    offsets = [TopicPartition("in", partition, offset) for partition, offset in ends.items()]
    to.send_offsets_to_transaction(offsets, reader.consumer_group_metadata(), SECONDS)
    if random.randrange(6) == 0:
        to.flush(SECONDS)
        to.abort_transaction(SECONDS)
        for partition, offset in starts.items():
            reader.seek(TopicPartition("in", partition, offset))
    else:
        to.commit_transaction(SECONDS)


main()
