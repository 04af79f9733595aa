"""confluent-kafka: librdkafka behind Python."""

import sys
import time

from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic

import plan

ADDRESS = sys.argv[1]
PREFIX = "confluent-"
SECONDS = plan.DEADLINE


def producer(codec="none", **more):
    settings = {
        "bootstrap.servers": ADDRESS,
        "acks": "all",
        "enable.idempotence": True,
        "compression.type": codec,
        "linger.ms": 20,
        "message.timeout.ms": 60000,
        "topic.metadata.propagation.max.ms": 1000,
        "topic.metadata.refresh.fast.interval.ms": 50,
    }
    settings.update(more)
    return Producer(settings)


def deliver(to, records):
    """Produces (topic, partition, key, value, headers) and returns the errors told."""
    told = []
    for topic, partition, key, value, headers in records:
        to.produce(
            topic,
            value=value,
            key=key,
            headers=headers,
            partition=partition,
            on_delivery=lambda error, _: told.append(error),
        )
    left = to.flush(SECONDS)
    plan.same((left, len(told)), (0, len(records)), "records not delivered, and told of")
    return [error for error in told if error is not None]


def produce_codec(codec):
    topic = PREFIX + codec
    errors = deliver(
        producer(codec),
        [
            (topic, i % plan.CODEC_PARTITIONS, plan.key(i), plan.value(codec, i), plan.headers(i))
            for i in range(plan.RECORDS)
        ],
    )
    plan.same(errors, [], "delivery errors")


def consume_codec(codec):
    consumer = Consumer({"bootstrap.servers": ADDRESS, "group.id": PREFIX + "assign",
                         "enable.auto.commit": False, "check.crcs": True})
    found = {p: [] for p in range(plan.CODEC_PARTITIONS)}
    try:
        consumer.assign([TopicPartition(PREFIX + codec, p, 0) for p in found])
        end = time.monotonic() + SECONDS
        while sum(map(len, found.values())) < plan.RECORDS and time.monotonic() < end:
            message = consumer.poll(0.2)
            if message is None:
                continue
            if message.error():
                raise KafkaException(message.error())
            found[message.partition()].append(
                (message.offset(), message.key(), message.value(), message.headers())
            )
        low, high = consumer.get_watermark_offsets(TopicPartition(PREFIX + codec, 0), timeout=SECONDS)
    finally:
        consumer.close()
    for p, records in found.items():
        plan.same(records, plan.expected(codec, p), "partition %d" % p)
    plan.same((low, high), (0, plan.RECORDS // 2), "first and end offset")


class GroupMember:
    def __init__(self, topic, group, protocol):
        settings = {"bootstrap.servers": ADDRESS, "group.id": group, "group.protocol": protocol,
                    "auto.offset.reset": "earliest", "enable.auto.commit": False}
        if protocol == "classic":
            # How long a member may take to notice a rebalance.
            settings["heartbeat.interval.ms"] = 300
            settings["session.timeout.ms"] = 60000
        self.consumer = Consumer(settings)
        self.consumer.subscribe([topic])

    def poll(self):
        messages = self.consumer.consume(500, 0.2)
        for message in messages:
            if message.error():
                raise KafkaException(message.error())
        return [message.value() for message in messages]

    def assigned(self):
        return [part.partition for part in self.consumer.assignment()]

    def commit(self):
        self.consumer.commit(asynchronous=False)

    def close(self):
        self.consumer.close()


class StaticMember:
    """A member with a name of its own."""

    def __init__(self, name):
        self.rebalances = 0
        self.consumer = Consumer({
            "bootstrap.servers": ADDRESS,
            "group.id": PREFIX + "static",
            "group.instance.id": name,
            "heartbeat.interval.ms": 300,
            "session.timeout.ms": 60000,
            "enable.auto.commit": False,
        })

        def count(_, partitions):
            self.rebalances += 1

        self.consumer.subscribe([PREFIX + "classic"], on_assign=count)

    def poll(self):
        message = self.consumer.poll(0.1)
        if message is not None and message.error() is not None:
            raise KafkaException(message.error())

    def assigned(self):
        return [part.partition for part in self.consumer.assignment()]

    def close(self):
        self.consumer.close()


def to_group(topic):
    def produce(start, count):
        records = [(topic, n % plan.GROUP_PARTITIONS, None, value, None)
                   for n, value in enumerate(plan.group_values(start, count))]
        plan.same(deliver(producer(), records), [], "delivery errors")
    return produce


def transactional(name):
    to = producer(**{"transactional.id": PREFIX + name, "transaction.timeout.ms": 60000})
    to.init_transactions(SECONDS)
    return to


def committed_values(topic, count):
    """What readers of committed data are given, up to the topic's end; `count` is waited for."""
    reader = Consumer({
        "bootstrap.servers": ADDRESS,
        "group.id": PREFIX + "reader",
        "isolation.level": "read_committed",
        "enable.partition.eof": True,
    })
    reader.assign([TopicPartition(topic, 0, 0)])
    values = []
    end = time.monotonic() + SECONDS
    at_end = False
    while time.monotonic() < end and not (at_end and len(values) >= count):
        message = reader.poll(0.2)
        if message is None:
            continue
        at_end = message.error() is not None and message.error().code() == KafkaError._PARTITION_EOF
        if message.error() is None:
            values.append(message.value())
    reader.close()
    return values


def transform():
    """Consumes, transforms and produces; every third transaction is taken back."""
    wanted = [b"%d" % n for n in range(plan.RECORDS)]
    errors = deliver(producer(), [(PREFIX + "in", 0, None, value, None) for value in wanted])
    plan.same(errors, [], "delivery errors")
    reader = Consumer({
        "bootstrap.servers": ADDRESS,
        "group.id": PREFIX + "transform",
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "isolation.level": "read_committed",
    })
    reader.subscribe([PREFIX + "in"])
    to = transactional("transform")
    done, number = 0, 0
    end = time.monotonic() + plan.DEADLINE
    while done < plan.RECORDS and time.monotonic() < end:
        messages = [m for m in reader.consume(7, 0.2) if m.error() is None]
        if not messages:
            continue
        number += 1
        to.begin_transaction()
        for message in messages:
            to.produce(PREFIX + "out", message.value() + b"!", partition=0)
        offset = TopicPartition(PREFIX + "in", 0, messages[-1].offset() + 1)
        to.send_offsets_to_transaction([offset], reader.consumer_group_metadata(), SECONDS)
        if number % 3 == 2:
            to.flush(SECONDS)
            to.abort_transaction(SECONDS)
            reader.seek(TopicPartition(PREFIX + "in", 0, messages[0].offset()))
            continue
        to.commit_transaction(SECONDS)
        done += len(messages)
    kept = reader.committed([TopicPartition(PREFIX + "in", 0)], SECONDS)
    plan.same([p.offset for p in kept], [plan.RECORDS], "committed offsets")
    reader.close()
    found = committed_values(PREFIX + "out", plan.RECORDS)
    plan.same(found, [value + b"!" for value in wanted], "transformed records")


def fenced():
    first = transactional("fenced")
    first.begin_transaction()
    first.produce(PREFIX + "fenced", b"first", partition=0)
    first.flush(SECONDS)
    second = transactional("fenced")
    second.begin_transaction()
    second.produce(PREFIX + "fenced", b"second", partition=0)
    try:
        first.commit_transaction(SECONDS)
        code = None
    except KafkaException as error:
        code = error.args[0].code()
    plan.same(code, KafkaError._FENCED, "the first producer's error")
    second.commit_transaction(SECONDS)
    plan.same(committed_values(PREFIX + "fenced", 1), [b"second"], "records")


def futures(by_name):
    for future in by_name.values():
        future.result(SECONDS)


def expect_error(wanted, errors):
    plan.same([error.code() for error in errors], [wanted], "error codes")


def main():
    checks = plan.Checks()
    admin = AdminClient({"bootstrap.servers": ADDRESS})
    topics = [NewTopic(PREFIX + codec, plan.CODEC_PARTITIONS, 1) for codec in plan.CODECS]
    protocols = ["classic", "consumer"]
    topics += [NewTopic(PREFIX + name, plan.GROUP_PARTITIONS, 1) for name in protocols]
    topics += [NewTopic(PREFIX + name, 1, 1) for name in ["in", "out", "fenced"]]
    topics.append(NewTopic(PREFIX + "small", 1, 1, config={"max.message.bytes": "1000"}))
    names = [topic.topic for topic in topics]

    def listed():
        return {name for name in admin.list_topics(timeout=SECONDS).topics if name in names}

    def create():
        futures(admin.create_topics(topics))
        plan.wait("the topics are listed", lambda: listed() == set(names), SECONDS)

    def describe():
        described = admin.list_topics(PREFIX + "classic", timeout=SECONDS).topics[PREFIX + "classic"]
        plan.same(sorted(described.partitions), [0, 1, 2, 3], "partitions")
        resource = ConfigResource(ConfigResource.Type.TOPIC, PREFIX + "small")
        config = admin.describe_configs([resource])[resource].result(SECONDS)
        plan.same(config["max.message.bytes"].value, "1000", "max.message.bytes")

    def committed(name):
        def check():
            group = PREFIX + "group-" + name
            valid = admin.list_consumer_groups().result(SECONDS).valid
            plan.same([g.group_id for g in valid if g.group_id == group], [group], "listed groups")
            described = admin.describe_consumer_groups([group])[group].result(SECONDS)
            plan.same((described.state.name, len(described.members)), ("EMPTY", 0), "state, members")
            asked = [ConsumerGroupTopicPartitions(group)]
            offsets = admin.list_consumer_group_offsets(asked)[group].result(SECONDS)
            found = sorted((p.partition, p.offset) for p in offsets.topic_partitions)
            each = (plan.BEFORE + plan.AFTER) // plan.GROUP_PARTITIONS
            plan.same(found, [(p, each) for p in range(plan.GROUP_PARTITIONS)], "committed offsets")
        return check

    def unknown():
        errors = deliver(producer(), [(PREFIX + "absent", -1, None, b"x", None)])
        expect_error(KafkaError.UNKNOWN_TOPIC_OR_PART, errors)

    def too_large():
        errors = deliver(producer(), [(PREFIX + "small", 0, None, b"x" * 5000, None)])
        expect_error(KafkaError.MSG_SIZE_TOO_LARGE, errors)

    def delete():
        futures(admin.delete_topics(names))
        plan.wait("the topics are gone", lambda: not listed(), SECONDS)

    checks.run("create topics", create)
    for codec in plan.CODECS:
        checks.run("produce " + codec, lambda: produce_codec(codec))
        checks.run("consume " + codec, lambda: consume_codec(codec))
    for name in protocols:
        topic, group = PREFIX + name, PREFIX + "group-" + name
        make = lambda: GroupMember(topic, group, name)
        checks.run(name + " group", lambda: plan.two_members(make, to_group(topic)))
        checks.run(name + " group resumes", lambda: plan.resumes(make, to_group(topic)),
                   after=name + " group")
        checks.run("describe " + name + " group", committed(name), after=name + " group resumes")
    checks.run("static members", lambda: plan.static_members(StaticMember))
    checks.run("consume, transform, produce", transform)
    checks.run("a fenced producer", fenced)
    checks.run("describe topics", describe)
    checks.run("unknown topic", unknown)
    checks.run("too large", too_large)
    checks.run("delete topics", delete)
    checks.leave()


main()
