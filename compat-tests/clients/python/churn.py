"""Members that are killed, paused and started again: each prints partition and offset of a record,
then commits. Arguments: the address, a topic, a group, and what it is: confluent-classic,
confluent-consumer, kafka-python or aiokafka."""

import sys

ADDRESS, TOPIC, GROUP, KIND = sys.argv[1:5]
SESSION_MS = 6000
HEARTBEAT_MS = 300


def tell(places):
    for partition, offset in places:
        sys.stdout.write("%d %d\n" % (partition, offset))
    sys.stdout.flush()


def complain(error):
    # The partitions are another's by now, who reads the records again.
    print(repr(error), file=sys.stderr, flush=True)


def confluent(protocol):
    from confluent_kafka import Consumer, KafkaException

    settings = {
        "bootstrap.servers": ADDRESS,
        "group.id": GROUP,
        "group.protocol": protocol,
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
    }
    if protocol == "classic":
        settings["session.timeout.ms"] = SESSION_MS
        settings["heartbeat.interval.ms"] = HEARTBEAT_MS
        settings["partition.assignment.strategy"] = "range"
    consumer = Consumer(settings)
    consumer.subscribe([TOPIC])
    while True:
        found = []
        for message in consumer.consume(200, 0.2):
            if message.error():
                complain(message.error())
            else:
                found.append((message.partition(), message.offset()))
        tell(found)
        try:
            if found:
                consumer.commit(asynchronous=False)
        except KafkaException as error:
            complain(error)


def kafka_python():
    from kafka import KafkaConsumer
    from kafka.coordinator.assignors.range import RangePartitionAssignor
    from kafka.errors import KafkaError

    consumer = KafkaConsumer(
        TOPIC,
        bootstrap_servers=ADDRESS,
        group_id=GROUP,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        session_timeout_ms=SESSION_MS,
        heartbeat_interval_ms=HEARTBEAT_MS,
        partition_assignment_strategy=[RangePartitionAssignor],
    )
    # A leader that assigns before it knows the partitions is lost in its next rebalance.
    while not consumer.partitions_for_topic(TOPIC):
        complain("%s is not known yet" % TOPIC)
    while True:
        records = consumer.poll(timeout_ms=200, max_records=200)
        tell((part.partition, record.offset) for part, all in records.items() for record in all)
        try:
            if records:
                consumer.commit()
        except KafkaError as error:
            complain(error)


async def aio():
    from aiokafka import AIOKafkaConsumer
    from aiokafka.coordinator.assignors.range import RangePartitionAssignor
    from aiokafka.errors import KafkaError

    consumer = AIOKafkaConsumer(
        TOPIC,
        bootstrap_servers=ADDRESS,
        group_id=GROUP,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        session_timeout_ms=SESSION_MS,
        heartbeat_interval_ms=HEARTBEAT_MS,
        partition_assignment_strategy=[RangePartitionAssignor],
    )
    await consumer.start()
    while True:
        records = await consumer.getmany(timeout_ms=200, max_records=200)
        tell((part.partition, record.offset) for part, all in records.items() for record in all)
        try:
            if records:
                await consumer.commit()
        except KafkaError as error:
            complain(error)


if KIND == "aiokafka":
    import asyncio

    asyncio.run(aio())
elif KIND == "kafka-python":
    kafka_python()
else:
    confluent(KIND.removeprefix("confluent-"))
