"""aiokafka: all Python, asyncio."""

import asyncio
import sys

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import MessageSizeTooLargeError, ProducerFenced

import plan

ADDRESS = sys.argv[1]
PREFIX = "aiokafka-"
SECONDS = plan.DEADLINE
UNKNOWN_TOPIC_OR_PARTITION = 3


async def wait(what, condition, limit=plan.DEADLINE):
    """As plan.wait, for a condition that awaits."""
    async def until():
        while not await condition():
            await asyncio.sleep(0.02)
    try:
        await asyncio.wait_for(until(), limit)
    except asyncio.TimeoutError:
        raise AssertionError("not after %d s: %s" % (limit, what)) from None


async def deliver(codec, records):
    """Produces (topic, partition, key, value, headers); a refusal is raised."""
    to = AIOKafkaProducer(
        bootstrap_servers=ADDRESS, acks="all", enable_idempotence=True, linger_ms=20,
        compression_type=None if codec == "none" else codec, request_timeout_ms=60000,
    )
    await to.start()
    try:
        sent = [await to.send(topic, value=value, key=key, headers=headers, partition=partition)
                for topic, partition, key, value, headers in records]
        await asyncio.wait_for(asyncio.gather(*sent), SECONDS)
    finally:
        await asyncio.wait_for(to.stop(), SECONDS)


async def produce_codec(codec):
    await deliver(codec, [
        (PREFIX + codec, i % plan.CODEC_PARTITIONS, plan.key(i), plan.value(codec, i), plan.headers(i))
        for i in range(plan.RECORDS)
    ])


async def consume_codec(codec):
    consumer = AIOKafkaConsumer(bootstrap_servers=ADDRESS, auto_offset_reset="earliest")
    partitions = [TopicPartition(PREFIX + codec, p) for p in range(plan.CODEC_PARTITIONS)]
    found = {partition: [] for partition in partitions}
    await consumer.start()

    async def all_found():
        polled = await consumer.getmany(timeout_ms=200)
        for partition, records in polled.items():
            found[partition] += [(r.offset, r.key, r.value, list(r.headers)) for r in records]
        return sum(map(len, found.values())) >= plan.RECORDS

    try:
        consumer.assign(partitions)
        await wait("%d records" % plan.RECORDS, all_found, SECONDS)
        ends = await consumer.end_offsets(partitions)
    finally:
        await consumer.stop()
    for partition, records in found.items():
        plan.same(records, plan.expected(codec, partition.partition), str(partition))
        plan.same(ends[partition], plan.RECORDS // 2, "end offset")


class Member:
    """A member of a group: a task that reads until told to stop, commits, and leaves when told to."""

    def __init__(self, topic, group):
        self.consumer = AIOKafkaConsumer(
            topic, bootstrap_servers=ADDRESS, group_id=group, auto_offset_reset="earliest",
            enable_auto_commit=False, heartbeat_interval_ms=300, session_timeout_ms=60000,
        )
        self.assigned = frozenset()
        self.seen = []
        self.stopping = False
        self.committed = asyncio.Event()
        self.leaving = asyncio.Event()
        self.task = asyncio.create_task(self.run())

    async def run(self):
        try:
            await self.consumer.start()
            while not self.stopping:
                polled = await self.consumer.getmany(timeout_ms=200)
                self.seen += [record.value for records in polled.values() for record in records]
                self.assigned = frozenset(part.partition for part in self.consumer.assignment())
            await self.consumer.commit()
            self.committed.set()
            await asyncio.wait_for(self.leaving.wait(), plan.DEADLINE)
        finally:
            # Whoever waits for the commit learns about an error as well.
            self.committed.set()
            await self.consumer.stop()

    def check(self):
        if self.task.done():
            self.task.result()

    async def leave(self):
        self.stopping = True
        self.leaving.set()
        await asyncio.wait_for(self.task, plan.DEADLINE)


async def to_group(topic, start, count):
    await deliver("none", [(topic, n % plan.GROUP_PARTITIONS, None, value, None)
                           for n, value in enumerate(plan.group_values(start, count))])


async def two_members(topic, group):
    members = [Member(topic, group), Member(topic, group)]

    async def shared():
        for member in members:
            member.check()
        a, b = (member.assigned for member in members)
        return a and b and not a & b and len(a | b) == plan.GROUP_PARTITIONS

    async def all_seen():
        for member in members:
            member.check()
        return sum(len(member.seen) for member in members) >= plan.BEFORE

    try:
        await wait("two members share the partitions", shared)
        await to_group(topic, 0, plan.BEFORE)
        await wait("every record is seen", all_seen)
    finally:
        # Both commit before either leaves, as in plan.two_members.
        for member in members:
            member.stopping = True
        for member in members:
            await asyncio.wait_for(member.committed.wait(), plan.DEADLINE)
    for member in members:
        await member.leave()
    seen = members[0].seen + members[1].seen
    plan.same(sorted(seen), sorted(plan.group_values(0, plan.BEFORE)), "records seen")
    plan.same(all(member.seen for member in members), True, "both members saw records")


async def resumes(topic, group):
    await to_group(topic, plan.BEFORE, plan.AFTER)
    member = Member(topic, group)

    async def all_seen():
        member.check()
        return len(member.seen) >= plan.AFTER

    try:
        await wait("the new records are seen", all_seen)
    finally:
        await member.leave()
    wanted = plan.group_values(plan.BEFORE, plan.AFTER)
    plan.same(sorted(member.seen), sorted(wanted), "records seen after the restart")


class StaticMember(ConsumerRebalanceListener):
    """A member with a name of its own: a task that polls until it is told to go."""

    def __init__(self, name):
        self.name = name
        self.assigned = frozenset()
        self.rebalances = 0
        self.stopping = False
        self.task = asyncio.create_task(self.run())

    def on_partitions_revoked(self, revoked):
        pass

    def on_partitions_assigned(self, assigned):
        self.rebalances += 1

    async def run(self):
        consumer = AIOKafkaConsumer(
            bootstrap_servers=ADDRESS, group_id=PREFIX + "static", group_instance_id=self.name,
            enable_auto_commit=False, heartbeat_interval_ms=300, session_timeout_ms=60000,
        )
        consumer.subscribe([PREFIX + "classic"], listener=self)
        await consumer.start()
        try:
            while not self.stopping:
                await consumer.getmany(timeout_ms=100)
                self.assigned = frozenset(part.partition for part in consumer.assignment())
        finally:
            await consumer.stop()

    def check(self):
        if self.task.done():
            self.task.result()

    async def go(self):
        self.stopping = True
        await asyncio.wait([self.task], timeout=plan.DEADLINE)


async def static_members():
    """As plan.static_members_without_double."""
    members = [StaticMember("a"), StaticMember("b")]
    try:
        a, b = members

        async def shared():
            for member in members:
                member.check()
            return (len(a.assigned), len(b.assigned)) == (2, 2) and not a.assigned & b.assigned

        await wait("two static members share the partitions", shared)
        before, rebalances = a.assigned, b.rebalances
        await a.go()
        back = StaticMember("a")
        members.append(back)

        async def has_them_again():
            back.check()
            return back.assigned == before

        await wait("it has its partitions again", has_them_again)
        b.check()
        plan.same(b.rebalances, rebalances, "rebalances of the other")
    finally:
        for member in members:
            await member.go()


async def committed_records(topic, count):
    """What readers of committed data are given of partition 0, up to its end."""
    consumer = AIOKafkaConsumer(bootstrap_servers=ADDRESS, auto_offset_reset="earliest",
                                isolation_level="read_committed")
    partition = TopicPartition(topic, 0)
    found = []
    await consumer.start()

    async def at_end():
        polled = await consumer.getmany(timeout_ms=200)
        for records in polled.values():
            found.extend(records)
        ends = await consumer.end_offsets([partition])
        return len(found) >= count and await consumer.position(partition) >= ends[partition]

    try:
        consumer.assign([partition])
        await wait("%d records of %s" % (count, topic), at_end, SECONDS)
    finally:
        await consumer.stop()
    return found


async def transactional(name):
    to = AIOKafkaProducer(bootstrap_servers=ADDRESS, transactional_id=PREFIX + name,
                          transaction_timeout_ms=60000, request_timeout_ms=60000)
    await to.start()
    return to


async def transform(admin):
    """Reads, transforms and produces, with the positions in the same transactions; every third is taken
    back."""
    wanted = [b"%d" % n for n in range(plan.RECORDS)]
    source, group = TopicPartition(PREFIX + "in", 0), PREFIX + "transform"
    await deliver("none", [(source.topic, 0, None, value, None) for value in wanted])
    records = await committed_records(source.topic, plan.RECORDS)
    to = await transactional("transform")
    done, number = 0, 0
    try:
        while done < plan.RECORDS:
            batch = records[done:done + 7]
            number += 1
            await to.begin_transaction()
            for record in batch:
                await to.send_and_wait(PREFIX + "out", value=record.value + b"!", partition=0)
            await to.send_offsets_to_transaction({source: batch[-1].offset + 1}, group)
            if number % 3 == 2:
                await to.abort_transaction()
                continue
            await to.commit_transaction()
            done += len(batch)
    finally:
        await to.stop()

    async def positions():
        offsets = await admin.list_consumer_group_offsets(group)
        return [(part.partition, at.offset) for part, at in offsets.items()] == [(0, plan.RECORDS)]

    # What is committed becomes visible a moment after it is acknowledged.
    await wait("the positions are committed", positions, SECONDS)
    found = [record.value for record in await committed_records(PREFIX + "out", plan.RECORDS)]
    plan.same(found, [value + b"!" for value in wanted], "transformed records")


async def fenced():
    topic = PREFIX + "fenced"
    first = await transactional("fenced")
    await first.begin_transaction()
    await first.send_and_wait(topic, value=b"first", partition=0)
    second = await transactional("fenced")
    await second.begin_transaction()
    await second.send_and_wait(topic, value=b"second", partition=0)
    try:
        await first.commit_transaction()
    except ProducerFenced:
        pass
    else:
        raise AssertionError("no ProducerFenced")
    finally:
        await first.stop()
    await second.commit_transaction()
    await second.stop()
    plan.same([record.value for record in await committed_records(topic, 1)], [b"second"], "records")


async def main():
    checks = plan.Checks()
    admin = AIOKafkaAdminClient(bootstrap_servers=ADDRESS, request_timeout_ms=60000)
    await admin.start()
    topic, group = PREFIX + "classic", PREFIX + "group-classic"
    topics = [NewTopic(PREFIX + codec, plan.CODEC_PARTITIONS, 1) for codec in plan.CODECS]
    topics.append(NewTopic(topic, plan.GROUP_PARTITIONS, 1))
    topics += [NewTopic(PREFIX + name, 1, 1) for name in ["in", "out", "fenced"]]
    topics.append(NewTopic(PREFIX + "small", 1, 1, topic_configs={"max.message.bytes": "1000"}))
    names = [new.name for new in topics]

    async def run(name, step, after=None):
        try:
            if after in checks.failed:
                step.close()
                raise AssertionError("not tried, as `%s` failed" % after)
            await step
        except Exception as error:  # whatever a client raises is the finding
            checks.report(name, error)
        else:
            checks.report(name)

    async def listed():
        return {name for name in await admin.list_topics() if name in names}

    async def create():
        answer = await admin.create_topics(topics)
        plan.same([error for _, error, *_ in answer.topic_errors if error], [], "errors")

        async def all_listed():
            return await listed() == set(names)
        await wait("the topics are listed", all_listed, SECONDS)

    async def describe():
        [described] = await admin.describe_topics([topic])
        plan.same(sorted(p["partition"] for p in described["partitions"]), [0, 1, 2, 3], "partitions")
        resource = ConfigResource(ConfigResourceType.TOPIC, PREFIX + "small")
        [answer] = await admin.describe_configs([resource])
        config = {entry[0]: entry[1] for resource in answer.resources for entry in resource[4]}
        plan.same(config.get("max.message.bytes"), "1000", "max.message.bytes")

    async def committed():
        listed_groups = [name for name, _ in await admin.list_consumer_groups()]
        plan.same(group in listed_groups, True, "group listed")
        [answer] = await admin.describe_consumer_groups([group])
        [described] = answer.groups
        plan.same((described[0], described[1], described[2]), (0, group, "Empty"), "group")
        offsets = await admin.list_consumer_group_offsets(group)
        found = sorted((part.partition, offset.offset) for part, offset in offsets.items())
        each = (plan.BEFORE + plan.AFTER) // plan.GROUP_PARTITIONS
        plan.same(found, [(p, each) for p in range(plan.GROUP_PARTITIONS)], "committed offsets")

    async def unknown():
        answer = await admin.delete_topics([PREFIX + "absent"])
        errors = [error for _, error, *_ in answer.topic_error_codes]
        plan.same(errors, [UNKNOWN_TOPIC_OR_PARTITION], "error codes")

    async def too_large():
        try:
            await deliver("none", [(PREFIX + "small", 0, None, b"x" * 5000, None)])
        except MessageSizeTooLargeError:
            return
        raise AssertionError("no MessageSizeTooLargeError")

    async def delete():
        answer = await admin.delete_topics(names)
        plan.same([error for _, error, *_ in answer.topic_error_codes if error], [], "errors")

        async def none_listed():
            return not await listed()
        await wait("the topics are gone", none_listed, SECONDS)

    await run("create topics", create())
    for codec in plan.CODECS:
        await run("produce " + codec, produce_codec(codec))
        await run("consume " + codec, consume_codec(codec))
    await run("classic group", two_members(topic, group))
    await run("classic group resumes", resumes(topic, group), after="classic group")
    await run("describe classic group", committed(), after="classic group resumes")
    await run("static members", static_members())
    await run("consume, transform, produce", transform(admin))
    await run("a fenced producer", fenced())
    await run("describe topics", describe())
    await run("unknown topic", unknown())
    await run("too large", too_large())
    await run("delete topics", delete())
    await admin.close()
    checks.leave()


asyncio.run(main())
