"""kafka-python: all Python, threads."""

import sys
import time

from kafka import (
    ConsumerRebalanceListener,
    KafkaConsumer,
    KafkaProducer,
    OffsetAndMetadata,
    TopicPartition,
)
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient
from kafka.errors import (
    MessageSizeTooLargeError,
    ProducerFencedError,
    UnknownTopicOrPartitionError,
)

import plan

ADDRESS = sys.argv[1]
PREFIX = "kafka-python-"
SECONDS = plan.DEADLINE


def producer(codec="none", **more):
    return KafkaProducer(
        bootstrap_servers=ADDRESS,
        acks="all",
        enable_idempotence=True,
        compression_type=None if codec == "none" else codec,
        linger_ms=20,
        max_block_ms=60000,
        **more,
    )


def deliver(codec, records):
    """Produces (topic, partition, key, value, headers); a refusal is raised."""
    to = producer(codec)
    try:
        sent = [
            to.send(topic, value=value, key=key, headers=headers or [], partition=partition)
            for topic, partition, key, value, headers in records
        ]
        for future in sent:
            future.get(timeout=SECONDS)
    finally:
        to.close(timeout=SECONDS)


def produce_codec(codec):
    deliver(codec, [
        (PREFIX + codec, i % plan.CODEC_PARTITIONS, plan.key(i), plan.value(codec, i), plan.headers(i))
        for i in range(plan.RECORDS)
    ])


def consume_codec(codec):
    consumer = KafkaConsumer(bootstrap_servers=ADDRESS, group_id=None, auto_offset_reset="earliest")
    partitions = [TopicPartition(PREFIX + codec, p) for p in range(plan.CODEC_PARTITIONS)]
    found = {partition: [] for partition in partitions}
    try:
        consumer.assign(partitions)
        end = time.monotonic() + SECONDS
        while sum(map(len, found.values())) < plan.RECORDS and time.monotonic() < end:
            for partition, records in consumer.poll(timeout_ms=200).items():
                found[partition] += [(r.offset, r.key, r.value, list(map(tuple, r.headers)))
                                     for r in records]
        ends = consumer.end_offsets(partitions)
    finally:
        consumer.close()
    for partition, records in found.items():
        plan.same(records, plan.expected(codec, partition.partition), str(partition))
        plan.same(ends[partition], plan.RECORDS // 2, "end offset")


class GroupMember:
    def __init__(self, topic, group):
        self.consumer = KafkaConsumer(
            topic, bootstrap_servers=ADDRESS, group_id=group, auto_offset_reset="earliest",
            enable_auto_commit=False, heartbeat_interval_ms=300, session_timeout_ms=60000,
        )
        # A leader that assigns before it knows the partitions assigns none, and joins again when it
        # learns of them. When a poll ends in the middle of that second rebalance this client forgets
        # it: it never takes its assignment up, sends no heartbeats, and is put out of the group.
        plan.wait("the member knows the topic", lambda: self.consumer.partitions_for_topic(topic))

    def poll(self):
        polled = self.consumer.poll(timeout_ms=200)
        return [record.value for records in polled.values() for record in records]

    def assigned(self):
        return [part.partition for part in self.consumer.assignment()]

    def commit(self):
        self.consumer.commit()

    def close(self):
        self.consumer.close()


class StaticMember(ConsumerRebalanceListener):
    """A member with a name of its own."""

    def __init__(self, name):
        self.rebalances = 0
        self.consumer = KafkaConsumer(
            bootstrap_servers=ADDRESS, group_id=PREFIX + "static", group_instance_id=name,
            enable_auto_commit=False, heartbeat_interval_ms=300, session_timeout_ms=60000,
        )
        self.consumer.subscribe([PREFIX + "classic"], listener=self)
        plan.wait("the member knows the topic",
                  lambda: self.consumer.partitions_for_topic(PREFIX + "classic"))

    def on_partitions_revoked(self, revoked):
        pass

    def on_partitions_assigned(self, assigned):
        self.rebalances += 1

    def poll(self):
        self.consumer.poll(timeout_ms=100)

    def assigned(self):
        return [part.partition for part in self.consumer.assignment()]

    def close(self):
        self.consumer.close()


def committed_records(topic, count):
    """What readers of committed data are given of partition 0."""
    consumer = KafkaConsumer(bootstrap_servers=ADDRESS, group_id=None, auto_offset_reset="earliest",
                             isolation_level="read_committed")
    partition = TopicPartition(topic, 0)
    found = []
    try:
        consumer.assign([partition])
        end = time.monotonic() + SECONDS
        while time.monotonic() < end and not (len(found) >= count and
                                              consumer.position(partition) >= consumer.end_offsets([partition])[partition]):
            for records in consumer.poll(timeout_ms=200).values():
                found += records
    finally:
        consumer.close()
    return found


def transactional(name):
    to = producer(transactional_id=PREFIX + name, transaction_timeout_ms=60000)
    to.init_transactions()
    return to


def transform(committed_offsets):
    """Reads, transforms and produces, with the positions in the same transactions; every third is taken
    back."""
    wanted = [b"%d" % n for n in range(plan.RECORDS)]
    source, group = PREFIX + "in", PREFIX + "transform"
    deliver("none", [(source, 0, None, value, None) for value in wanted])
    records = committed_records(source, plan.RECORDS)
    to = transactional("transform")
    done, number = 0, 0
    try:
        while done < plan.RECORDS:
            batch = records[done:done + 7]
            number += 1
            to.begin_transaction()
            for record in batch:
                to.send(PREFIX + "out", value=record.value + b"!", partition=0)
            position = OffsetAndMetadata(batch[-1].offset + 1, "", -1)
            to.send_offsets_to_transaction({TopicPartition(source, 0): position}, group)
            if number % 3 == 2:
                to.abort_transaction()
                continue
            to.commit_transaction()
            done += len(batch)
    finally:
        to.close(timeout=SECONDS)
    # What is committed becomes visible a moment after it is acknowledged.
    plan.wait("the positions are committed", lambda: committed_offsets(group) == [(0, plan.RECORDS)])
    found = [record.value for record in committed_records(PREFIX + "out", plan.RECORDS)]
    plan.same(found, [value + b"!" for value in wanted], "transformed records")


def fenced():
    topic = PREFIX + "fenced"
    first = transactional("fenced")
    first.begin_transaction()
    first.send(topic, value=b"first", partition=0).get(timeout=SECONDS)
    second = transactional("fenced")
    second.begin_transaction()
    second.send(topic, value=b"second", partition=0).get(timeout=SECONDS)
    expect_raise(ProducerFencedError, first.commit_transaction)
    second.commit_transaction()
    for one in [first, second]:
        one.close(timeout=SECONDS)
    plan.same([record.value for record in committed_records(topic, 1)], [b"second"], "records")


def to_group(topic):
    def produce(start, count):
        deliver("none", [(topic, n % plan.GROUP_PARTITIONS, None, value, None)
                         for n, value in enumerate(plan.group_values(start, count))])
    return produce


def expect_raise(wanted, step):
    try:
        step()
    except wanted:
        return
    raise AssertionError("no " + wanted.__name__)


def main():
    checks = plan.Checks()
    admin = KafkaAdminClient(bootstrap_servers=ADDRESS)
    topics = {PREFIX + codec: {"num_partitions": plan.CODEC_PARTITIONS, "replication_factor": 1}
              for codec in plan.CODECS}
    topics[PREFIX + "classic"] = {"num_partitions": plan.GROUP_PARTITIONS, "replication_factor": 1}
    for name in ["in", "out", "fenced"]:
        topics[PREFIX + name] = {"num_partitions": 1, "replication_factor": 1}
    topics[PREFIX + "small"] = {"num_partitions": 1, "replication_factor": 1,
                                "configs": {"max.message.bytes": "1000"}}

    def listed():
        return {name for name in admin.list_topics() if name in topics}

    def create():
        admin.create_topics(topics)
        plan.wait("the topics are listed", lambda: listed() == set(topics), SECONDS)

    def describe():
        [described] = admin.describe_topics([PREFIX + "classic"])
        plan.same(sorted(p["partition_index"] for p in described["partitions"]), [0, 1, 2, 3],
                  "partitions")
        resource = ConfigResource(ConfigResourceType.TOPIC, PREFIX + "small")
        answer = admin.describe_configs([resource])
        plan.same("1000" in str(answer), True, "max.message.bytes=1000 in %s" % str(answer))

    def committed_offsets(group):
        offsets = admin.list_group_offsets(group)
        if group in offsets:
            offsets = offsets[group]
        return sorted((part.partition, offset.offset) for part, offset in offsets.items())

    def committed():
        group = PREFIX + "group-classic"
        plan.same(group in str(admin.list_groups()), True, "group listed")
        described = admin.describe_groups([group])[group]
        plan.same((described["group_state"], described["members"]), ("Empty", []), "state, members")
        found = committed_offsets(group)
        each = (plan.BEFORE + plan.AFTER) // plan.GROUP_PARTITIONS
        plan.same(found, [(p, each) for p in range(plan.GROUP_PARTITIONS)], "committed offsets")

    def unknown():
        expect_raise(UnknownTopicOrPartitionError, lambda: admin.delete_topics([PREFIX + "absent"]))

    def too_large():
        large = [(PREFIX + "small", 0, None, b"x" * 5000, None)]
        expect_raise(MessageSizeTooLargeError, lambda: deliver("none", large))

    def delete():
        admin.delete_topics(list(topics))
        plan.wait("the topics are gone", lambda: not listed(), SECONDS)

    checks.run("create topics", create)
    for codec in plan.CODECS:
        checks.run("produce " + codec, lambda: produce_codec(codec))
        checks.run("consume " + codec, lambda: consume_codec(codec))
    topic, group = PREFIX + "classic", PREFIX + "group-classic"
    make = lambda: GroupMember(topic, group)
    checks.run("classic group", lambda: plan.two_members(make, to_group(topic)))
    checks.run("classic group resumes", lambda: plan.resumes(make, to_group(topic)),
               after="classic group")
    checks.run("describe classic group", committed, after="classic group resumes")
    checks.run("static members", lambda: plan.static_members_without_double(StaticMember))
    checks.run("consume, transform, produce", lambda: transform(committed_offsets))
    checks.run("a fenced producer", fenced)
    checks.run("describe topics", describe)
    checks.run("unknown topic", unknown)
    checks.run("too large", too_large)
    checks.run("delete topics", delete)
    admin.close()
    checks.leave()


main()
