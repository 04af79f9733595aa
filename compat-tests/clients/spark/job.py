"""Spark's streams and reads of Kafka, under `spark-submit`.

    job.py follow|finish PREFIX CHECKPOINTS ADDRESS

Two streams go from the topic `PREFIXin` to others, each with a checkpoint: `PREFIXcopies` gets
"batch:partition:offset:value" of every record, `PREFIXcounts` gets "key:count" whenever the count of a
key has changed. `follow` goes on until it is killed. `finish` ends when everything is read that is there;
then it makes topics of its own and tries reads that are no streams, a line of JSON on standard output
for each check, as `clients/README.md` says.
"""

import json
import os
import sys
import threading
import time
import traceback

from pyspark.sql import SparkSession, functions as F

DEADLINE_S = 120
PARTITIONS = 3
EACH = 60
"""Records in each partition of a topic that is read."""


def end_with(parent):
    """The JVM has started this process: nobody reads what it does once that is gone."""
    while os.getppid() == parent:
        time.sleep(0.2)
    os._exit(1)


class Job:
    def __init__(self, prefix, checkpoints, address):
        self.prefix = prefix
        self.checkpoints = checkpoints
        self.address = address
        self.spark = SparkSession.builder.appName(prefix + "job").getOrCreate()
        self.failed = False

    # Streams

    def follow(self):
        self.stream_copies({"processingTime": "50 milliseconds"})
        self.stream_counts({"processingTime": "50 milliseconds"})
        self.spark.streams.awaitAnyTermination()

    def finish(self):
        once = {"availableNow": True}
        for stream in [self.stream_copies(once), self.stream_counts(once)]:
            stream.awaitTermination()

    def source(self):
        return self.options(
            self.spark.readStream,
            subscribe=self.prefix + "in",
            startingOffsets="earliest",
            maxOffsetsPerTrigger="300",
            **{"kafka.isolation.level": "read_committed"},
        ).load()

    def stream_copies(self, trigger):
        def write(batch, number):
            place = F.concat_ws(":", F.lit(number), "partition", "offset", F.col("value").cast("string"))
            self.write(batch.select(place.alias("value")), "copies")

        stream = self.source().writeStream.foreachBatch(write)
        return stream.option("checkpointLocation", self.checkpoints + "/copies").trigger(**trigger).start()

    def stream_counts(self, trigger):
        key = F.col("key").cast("string").alias("key")
        counted = self.source().groupBy(key).count()
        told = counted.select("key", F.concat_ws(":", "key", "count").alias("value"))
        stream = self.options(told.writeStream, topic=self.prefix + "counts").outputMode("update")
        return stream.option("checkpointLocation", self.checkpoints + "/counts").trigger(**trigger).start()

    # Reads

    def read(self):
        self.check("write a batch", self.write_a_batch)
        self.check("read by offsets", self.read_by_offsets)
        self.check("read by timestamps", self.read_by_timestamps)
        self.check("minPartitions", self.min_partitions)
        self.check("gaps of transactions", self.gaps_of_transactions)
        self.check("gaps of compaction", self.gaps_of_compaction)
        self.check("failOnDataLoss of a read", self.data_loss_of_a_read)
        self.check("failOnDataLoss of a stream", self.data_loss_of_a_stream)

    def check(self, name, step):
        told = {"check": name, "ok": True}
        try:
            step()
        except Exception as error:
            # Standard error is not: the JVM puts both into its standard output.
            with open(f"{self.checkpoints}-failed.txt", "a") as log:
                traceback.print_exc(file=log)
            told = {"check": name, "ok": False, "why": f"{type(error).__name__}: {error}"[:600]}
            self.failed = True
        print(json.dumps(told), flush=True)

    def write_a_batch(self):
        """Keys, headers, and the partition that was asked for."""
        self.create("written", PARTITIONS)
        number = F.col("id")
        value = number.cast("string")
        header = F.array(F.struct(F.lit("h").alias("key"), value.cast("binary").alias("value")))
        records = self.spark.range(PARTITIONS * EACH).select(
            F.concat(F.lit("k"), value).alias("key"),
            value.alias("value"),
            (number % PARTITIONS).cast("int").alias("partition"),
            header.alias("headers"),
        )
        self.write(records, "written")
        rows = self.load("written", includeHeaders="true").select(
            F.col("key").cast("string"), F.col("value").cast("string"), "partition", "offset", "headers"
        )
        found = rows.collect()
        for row in found:
            expect(row["key"], "k" + row["value"])
            expect(row["partition"], int(row["value"]) % PARTITIONS)
            expect([(h["key"], bytes(h["value"]).decode()) for h in row["headers"]], [("h", row["value"])])
        expect(sorted(int(row["value"]) for row in found), list(range(PARTITIONS * EACH)))
        for partition in range(PARTITIONS):
            offsets = sorted(row["offset"] for row in found if row["partition"] == partition)
            expect(offsets, list(range(EACH)))

    def read_by_offsets(self):
        """The first and the last by their names, -2 and -1, and ends that are not looked up."""
        rows = self.load(
            "written",
            startingOffsets=self.places("written", {0: 10, 1: -2, 2: EACH - 7}),
            endingOffsets=self.places("written", {0: 25, 1: 3, 2: -1}),
        )
        found = self.offsets(rows)
        expect(found, {0: list(range(10, 25)), 1: [0, 1, 2], 2: list(range(EACH - 7, EACH))})

    def read_by_timestamps(self):
        self.create("timed", PARTITIONS)
        begin = self.now() - 600_000
        with self.producer() as producer:
            for number in range(EACH):
                for partition in range(PARTITIONS):
                    producer.send("timed", partition, begin + number * 1000, "k", str(number))
        between = self.load(
            "timed",
            startingOffsetsByTimestamp=self.places("timed", {p: begin + 20_000 + p for p in range(PARTITIONS)}),
            endingOffsetsByTimestamp=self.places("timed", {p: begin + 30_000 for p in range(PARTITIONS)}),
        )
        expect(self.offsets(between), {0: list(range(20, 30)), 1: list(range(21, 30)), 2: list(range(21, 30))})
        of_all = self.load("timed", startingTimestamp=str(begin + 50_000))
        expect(self.offsets(of_all), {p: list(range(50, EACH)) for p in range(PARTITIONS)})
        behind = {"startingTimestamp": str(begin + EACH * 1000)}
        expect(self.load("timed", startingOffsetsByTimestampStrategy="latest", **behind).count(), 0)
        refused("No offset matched", lambda: self.load("timed", startingOffsetsByTimestampStrategy="error", **behind).count())

    def min_partitions(self):
        # Spark rounds: for what cannot be cut evenly it makes one less.
        rows = self.load("written", minPartitions=str(PARTITIONS * 4))
        expect(rows.rdd.getNumPartitions(), PARTITIONS * 4)
        expect(self.offsets(rows), {p: list(range(EACH)) for p in range(PARTITIONS)})

    def gaps_of_transactions(self):
        self.create("transactional", 1)
        with self.producer(**{"transactional.id": self.prefix + "txn"}) as producer:
            producer.java.initTransactions()
            for turn in range(6):
                producer.java.beginTransaction()
                for number in range(10):
                    producer.send("transactional", 0, None, "k", f"{turn}-{number}")
                producer.java.flush()
                if turn in (1, 2, 5):
                    producer.java.abortTransaction()
                else:
                    producer.java.commitTransaction()
        committed = {"kafka.isolation.level": "read_committed"}
        values = sorted(row["value"] for row in self.values(self.load("transactional", **committed)))
        expect(values, sorted(f"{turn}-{number}" for turn in (0, 3, 4) for number in range(10)))
        expect(self.load("transactional").count(), 60)
        # A marker behind every ten: from within what was aborted to within what comes behind it.
        some = self.load(
            "transactional",
            startingOffsets=self.places("transactional", {0: 15}),
            endingOffsets=self.places("transactional", {0: 36}),
            **committed,
        )
        expect(self.offsets(some), {0: [33, 34, 35]})

    def gaps_of_compaction(self):
        self.create("compacted", 1, **{
            "cleanup.policy": "compact", "segment.ms": "1000", "min.cleanable.dirty.ratio": "0.01",
        })
        turns, keys = 20, 10
        begin = self.now() - 600_000
        with self.producer() as producer:
            for number in range(turns * keys):
                producer.send("compacted", 0, begin + number * 2000, f"k{number % keys}", str(number))
                # A record in a segment of its own, as its time is seconds behind that of the one before.
                producer.java.flush()
            producer.send("compacted", 0, begin + turns * keys * 2000, "end", "end")
        last = [str(number) for number in range((turns - 1) * keys, turns * keys)]

        def cleaned():
            rows = self.values(self.load("compacted"))
            return sorted(row["value"] for row in rows) == sorted([*last, "end"])

        wait_for("the topic is compacted", cleaned)
        gone = self.load(
            "compacted",
            startingOffsets=self.places("compacted", {0: 5}),
            endingOffsets=self.places("compacted", {0: (turns - 1) * keys + 4}),
        )
        expect(self.offsets(gone), {0: list(range((turns - 1) * keys, (turns - 1) * keys + 4))})

    def data_loss_of_a_read(self):
        self.fill("lost", 1)
        self.delete_records("lost", 40)
        begin = self.places("lost", {0: 10})
        refused("data may have been lost|Cannot fetch|failOnDataLoss|out of range",
                lambda: self.load("lost", startingOffsets=begin, failOnDataLoss="true").count())
        rest = self.load("lost", startingOffsets=begin, failOnDataLoss="false")
        expect(self.offsets(rest), {0: list(range(40, EACH))})

    def data_loss_of_a_stream(self):
        self.fill("gone", 1)

        def stream(loss):
            seen = []
            rows = self.options(
                self.spark.readStream, subscribe=self.prefix + "gone", startingOffsets="earliest", failOnDataLoss=loss
            ).load()
            written = rows.writeStream.foreachBatch(
                lambda batch, _: seen.extend(row["offset"] for row in batch.select("offset").collect())
            )
            written.option("checkpointLocation", self.checkpoints + "/gone").trigger(availableNow=True).start().awaitTermination()
            return sorted(seen)

        expect(stream("true"), list(range(EACH)))
        self.fill("gone", 1, create=False)
        self.delete_records("gone", EACH + 40)
        refused("data may have been lost|failOnDataLoss|out of range|Cannot fetch", lambda: stream("true"))
        expect(stream("false"), list(range(EACH + 40, 2 * EACH)))

    # What they need

    def options(self, builder, **options):
        builder = builder.format("kafka").option("kafka.bootstrap.servers", self.address)
        for name, value in options.items():
            builder = builder.option(name, value)
        return builder

    def write(self, records, topic):
        self.options(records.write, topic=self.prefix + topic).save()

    def load(self, topic, **options):
        return self.options(self.spark.read, subscribe=self.prefix + topic, **options).load()

    def places(self, topic, of_partitions):
        return json.dumps({self.prefix + topic: {str(p): place for p, place in of_partitions.items()}})

    def values(self, rows):
        return rows.select(F.col("value").cast("string")).collect()

    def offsets(self, rows):
        found = {}
        for row in rows.select("partition", "offset").collect():
            found.setdefault(row["partition"], []).append(row["offset"])
        return {partition: sorted(offsets) for partition, offsets in found.items()}

    def now(self):
        return int(time.time() * 1000)

    @property
    def kafka(self):
        """Java's own client, as this Spark brings it along."""
        return self.spark._jvm.org.apache.kafka

    def admin(self):
        return self.kafka.clients.admin.AdminClient.create({"bootstrap.servers": self.address})

    def create(self, topic, partitions, **configs):
        optional = self.spark._jvm.java.util.Optional
        new = self.kafka.clients.admin.NewTopic(self.prefix + topic, optional.of(partitions), optional.empty())
        admin = self.admin()
        try:
            admin.createTopics([new.configs(configs)]).all().get()
            # Apache Kafka answers before the partitions have leaders.
            wait_for(f"{topic} has leaders", lambda: self.has_leaders(admin, topic, partitions))
        finally:
            admin.close()

    def has_leaders(self, admin, topic, partitions):
        try:
            described = admin.describeTopics([self.prefix + topic]).all().get().get(self.prefix + topic)
        except Exception:
            return False
        return all(described.partitions().get(p).leader() is not None for p in range(partitions))

    def delete_records(self, topic, before):
        partition = self.kafka.common.TopicPartition(self.prefix + topic, 0)
        wanted = self.kafka.clients.admin.RecordsToDelete.beforeOffset(before)
        admin = self.admin()
        try:
            admin.deleteRecords({partition: wanted}).all().get()
        finally:
            admin.close()

    def fill(self, topic, partitions, create=True):
        if create:
            self.create(topic, partitions)
        with self.producer() as producer:
            for number in range(EACH):
                producer.send(topic, number % partitions, None, "k", str(number))

    def producer(self, **settings):
        return Producer(self, settings)


class Producer:
    """Java's producer, closed when it is left."""

    def __init__(self, job, settings):
        serializer = "org.apache.kafka.common.serialization.StringSerializer"
        self.job = job
        self.java = job.kafka.clients.producer.KafkaProducer({
            "bootstrap.servers": job.address, "acks": "all", "linger.ms": "0",
            "key.serializer": serializer, "value.serializer": serializer, **settings,
        })

    def send(self, topic, partition, timestamp, key, value):
        record = self.job.kafka.clients.producer.ProducerRecord(self.job.prefix + topic, partition, timestamp, key, value)
        self.sent = self.java.send(record)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.java.close()
        # What went wrong with a record is only told to who asks.
        self.sent.get()


def expect(found, expected):
    if found != expected:
        raise AssertionError(f"expected {str(expected)[:240]}, found {str(found)[:240]}")


def refused(why, step):
    import re

    try:
        result = step()
    except Exception as error:
        # What is behind an error of a task is told in its cause.
        text = f"{error} {getattr(error, 'cause', '')} {getattr(error, '_desc', '')}"
        if not re.search(why, text):
            raise
        return
    raise AssertionError(f"{result} instead of a refusal")


def wait_for(what, condition):
    end = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {DEADLINE_S} s: {what}")
        time.sleep(0.05)


def main():
    how, prefix, checkpoints, address = sys.argv[1:]
    threading.Thread(target=end_with, args=[os.getppid()], daemon=True).start()
    job = Job(prefix, checkpoints, address)
    if how == "follow":
        job.follow()
    job.finish()
    job.read()
    job.spark.stop()
    sys.exit(job.failed)


main()
