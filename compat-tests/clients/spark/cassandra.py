"""Spark's stream of users from Kafka into Cassandra, under `spark-submit`.

    cassandra.py follow|finish PREFIX CHECKPOINTS ADDRESS PORT

The topic `PREFIXin` has a record of JSON for everything a user did: `{"user": 3, "name": "user 3", "number": 17}`.
One stream writes each of them into the table `events`, by partition and offset; another how many there
were of each user into `users`. `follow` goes on until it is killed. `finish` ends when everything is read
that is there, and prints what is in the tables: a line of JSON for each row.
"""

import json
import os
import sys
import threading
import time

from pyspark.sql import SparkSession, functions as F

KEYSPACE = "reka"
TABLES = [
    "CREATE TABLE IF NOT EXISTS reka.events (part int, off bigint, number bigint, name text, PRIMARY KEY (part, off))",
    "CREATE TABLE IF NOT EXISTS reka.users (id bigint PRIMARY KEY, name text, records bigint)",
]


def end_with(parent):
    """The JVM has started this process: nobody reads what it does once that is gone."""
    while os.getppid() == parent:
        time.sleep(0.2)
    os._exit(1)


class Job:
    def __init__(self, prefix, checkpoints, address, port):
        self.topic = prefix + "in"
        self.checkpoints = checkpoints
        self.address = address
        self.spark = (
            SparkSession.builder.appName(prefix + "users")
            .config("spark.cassandra.connection.host", "127.0.0.1")
            .config("spark.cassandra.connection.port", port)
            .config("spark.sql.extensions", "com.datastax.spark.connector.CassandraSparkExtensions")
            .getOrCreate()
        )
        self.create_tables()

    def create_tables(self):
        connector = self.spark._jvm.com.datastax.spark.connector.cql.CassandraConnector
        session = connector.apply(self.spark._jsc.sc().getConf()).openSession()
        try:
            session.execute(
                "CREATE KEYSPACE IF NOT EXISTS reka WITH replication = "
                "{'class': 'SimpleStrategy', 'replication_factor': 1}"
            )
            for table in TABLES:
                session.execute(table)
        finally:
            session.close()

    def source(self):
        records = (
            self.spark.readStream.format("kafka")
            .option("kafka.bootstrap.servers", self.address)
            .option("kafka.isolation.level", "read_committed")
            .option("subscribe", self.topic)
            .option("startingOffsets", "earliest")
            .option("maxOffsetsPerTrigger", "300")
            .load()
        )
        parsed = F.from_json(F.col("value").cast("string"), "user LONG, name STRING, number LONG")
        return records.select("partition", "offset", parsed.alias("did"))

    def stream(self, rows, table, mode, trigger):
        def write(batch, _):
            self.of_table(batch.write, table).mode("append").save()

        stream = rows.writeStream.outputMode(mode).foreachBatch(write)
        return stream.option("checkpointLocation", f"{self.checkpoints}/{table}").trigger(**trigger).start()

    def streams(self, trigger):
        events = self.source().select(
            F.col("partition").alias("part"), F.col("offset").alias("off"), "did.number", "did.name"
        )
        users = self.source().groupBy(F.col("did.user").alias("id"), F.col("did.name").alias("name"))
        counted = users.count().withColumnRenamed("count", "records")
        return [
            self.stream(events, "events", "append", trigger),
            self.stream(counted, "users", "update", trigger),
        ]

    def follow(self):
        self.streams({"processingTime": "50 milliseconds"})
        self.spark.streams.awaitAnyTermination()

    def finish(self):
        for stream in self.streams({"availableNow": True}):
            stream.awaitTermination()

    def of_table(self, builder, table):
        return builder.format("org.apache.spark.sql.cassandra").options(keyspace=KEYSPACE, table=table)

    def tell(self):
        for table in ["events", "users"]:
            for row in self.of_table(self.spark.read, table).load().toLocalIterator():
                print(json.dumps({"table": table, **row.asDict()}), flush=True)


def main():
    how, prefix, checkpoints, address, port = sys.argv[1:]
    threading.Thread(target=end_with, args=[os.getppid()], daemon=True).start()
    job = Job(prefix, checkpoints, address, port)
    if how == "follow":
        job.follow()
    job.finish()
    job.tell()
    job.spark.stop()


main()
