import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeSet;
import java.util.regex.Pattern;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.serialization.SimpleStringSchema;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.RestartStrategyOptions;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.KafkaSourceBuilder;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.core.execution.JobClient;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.table.api.EnvironmentSettings;
import org.apache.flink.table.api.TableEnvironment;
import org.apache.flink.table.api.TableResult;
import org.apache.flink.types.Row;
import org.apache.flink.util.CloseableIterator;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Flink SQL over the connectors "kafka" and "upsert-kafka", and reads of its source that end, that find partitions
 * and that find topics: a line of JSON on standard output for each check, as clients/README.md says. The
 * arguments are what names of topics begin with, and the address. Iterators of Flink may throw anything when they
 * are closed.
 */
@SuppressWarnings("try")
public final class Sql {
    private static final Duration DEADLINE = Duration.ofSeconds(120);
    private static final int PARTITIONS = 3;
    private static final int RECORDS = 300;
    private static final int USERS = 7;

    private final String prefix;
    private final String address;
    private final Admin admin;
    private boolean failed;

    private Sql(String prefix, String address) {
        this.prefix = prefix;
        this.address = address;
        this.admin = Admin.create(Map.of("bootstrap.servers", address));
    }

    public static void main(String[] args) {
        Sql sql = new Sql(args[0], args[1]);
        sql.check("bounded kafka into upsert-kafka", sql::totals);
        sql.check("upsert-kafka is a changelog", sql::changelog);
        sql.check("metadata and headers", sql::metadata);
        sql.check("exactly-once sink", sql::exactlyOnce);
        sql.check("unbounded kafka, topics and partitions that appear", sql::discovery);
        sql.check("bounded source by offsets and timestamps", sql::bounded);
        sql.check("source that finds partitions and topics", sql::finds);
        // Threads of what failed must not keep it alive.
        Runtime.getRuntime().halt(sql.failed ? 1 : 0);
    }

    private interface Step {
        void run() throws Exception;
    }

    private void check(String name, Step step) {
        String why = "";
        try {
            step.run();
        } catch (Exception | AssertionError error) {
            error.printStackTrace();
            failed = true;
            String text = error.toString().replaceAll("[\\\\\"\\p{Cntrl}]", " ");
            why = ",\"why\":\"" + text.substring(0, Math.min(600, text.length())) + "\"";
        }
        System.out.println("{\"check\":\"" + name + "\",\"ok\":" + why.isEmpty() + why + "}");
    }

    // SQL

    /** What users spent, added up: the last of each key is the whole, and a user with nothing is removed. */
    private void totals() throws Exception {
        create("orders", PARTITIONS, Map.of());
        create("totals", 2, Map.of("cleanup.policy", "compact"));
        Map<Long, Long> expected = new HashMap<>();
        try (KafkaProducer<String, String> producer = producer()) {
            for (long n = 0; n < RECORDS; n++) {
                long user = n % USERS;
                String order = "{\"id\":" + n + ",\"who\":" + user + ",\"amount\":" + (n * 10) + "}";
                producer.send(new ProducerRecord<>(prefix + "orders", (int) (n % PARTITIONS), null, order)).get();
                expected.merge(user, n * 10, Long::sum);
            }
            // What takes everything back that user 0 has spent, in the partition of none of the others.
            String back = "{\"id\":" + RECORDS + ",\"who\":0,\"amount\":" + -expected.remove(0L) + "}";
            producer.send(new ProducerRecord<>(prefix + "orders", 0, null, back)).get();
        }
        TableEnvironment tables = tables();
        tables.executeSql("CREATE TABLE orders (id BIGINT, who BIGINT, amount BIGINT) WITH ("
                + kafka("orders") + ", 'format' = 'json', 'scan.startup.mode' = 'earliest-offset',"
                + " 'scan.bounded.mode' = 'latest-offset')");
        tables.executeSql(totalsTable());
        // An update takes the old row back before the new one comes: what is zero for good is a tombstone.
        tables.executeSql("INSERT INTO totals SELECT who, s FROM (SELECT who, SUM(amount) AS s FROM orders GROUP BY who)"
                + " WHERE s <> 0").await(DEADLINE.toSeconds(), java.util.concurrent.TimeUnit.SECONDS);
        Map<Long, Long> last = new HashMap<>();
        for (ConsumerRecord<String, String> record : read("totals")) {
            long user = number(record.key(), "who");
            if (record.value() == null) {
                last.remove(user);
            } else {
                last.put(user, number(record.value(), "total"));
            }
        }
        same("totals", expected, last);
    }

    private String totalsTable() {
        return "CREATE TABLE totals (who BIGINT, total BIGINT, PRIMARY KEY (who) NOT ENFORCED) WITH ('connector' ="
                + " 'upsert-kafka', 'topic' = '" + prefix + "totals', 'properties.bootstrap.servers' = '" + address
                + "', 'key.format' = 'json', 'value.format' = 'json', 'scan.bounded.mode' = 'latest-offset')";
    }

    /** The same table read back: updates and deletes leave what was last. */
    private void changelog() throws Exception {
        TableEnvironment tables = tables();
        tables.executeSql(totalsTable());
        Map<Long, Long> left = new HashMap<>();
        try (CloseableIterator<Row> rows = tables.executeSql("SELECT who, total FROM totals").collect()) {
            while (rows.hasNext()) {
                Row row = rows.next();
                Long user = (Long) row.getField(0);
                switch (row.getKind()) {
                    case INSERT, UPDATE_AFTER -> left.put(user, (Long) row.getField(1));
                    case DELETE, UPDATE_BEFORE -> left.remove(user, row.getField(1));
                }
            }
        }
        Map<Long, Long> expected = new HashMap<>();
        for (long n = 0; n < RECORDS; n++) {
            expected.merge(n % USERS, n * 10, Long::sum);
        }
        expected.remove(0L);
        same("totals", expected, left);
    }

    /** What is not in the value: key, partition, offset, timestamp and headers, written and read back. */
    private void metadata() throws Exception {
        create("described", 1, Map.of());
        TableEnvironment tables = tables();
        tables.executeSql("CREATE TABLE described (k STRING, v STRING, p INT METADATA FROM 'partition' VIRTUAL,"
                + " o BIGINT METADATA FROM 'offset' VIRTUAL, t TIMESTAMP_LTZ(3) METADATA FROM 'timestamp',"
                + " h MAP<STRING, BYTES> METADATA FROM 'headers') WITH (" + kafka("described")
                + ", 'key.format' = 'raw', 'key.fields' = 'k', 'value.format' = 'raw', 'value.fields-include' ="
                + " 'EXCEPT_KEY', 'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset')");
        tables.executeSql("INSERT INTO described SELECT k, v, TO_TIMESTAMP_LTZ(1700000000000 + n, 3),"
                + " MAP['n', ENCODE(v, 'UTF-8')] FROM (VALUES (1, 'a', 'one'), (2, 'b', 'two')) AS given(n, k, v)")
                .await(DEADLINE.toSeconds(), java.util.concurrent.TimeUnit.SECONDS);
        List<String> found = new ArrayList<>();
        try (CloseableIterator<Row> rows = tables.executeSql(
                "SELECT p, o, k, v, DECODE(h['n'], 'UTF-8'), t FROM described").collect()) {
            rows.forEachRemaining(row -> found.add(row.toString().replaceAll("20\\d\\d-.*(\\.\\d+)Z?", "time$1")));
        }
        same("rows", List.of("+I[0, 0, a, one, one, time.001]", "+I[0, 1, b, two, two, time.002]"), found);
    }

    /** A sink of SQL that writes in transactions: everything once, and nothing left open. */
    private void exactlyOnce() throws Exception {
        create("once", PARTITIONS, Map.of());
        TableEnvironment tables = tables();
        tables.getConfig().set("execution.checkpointing.interval", "300ms");
        tables.executeSql("CREATE TABLE orders (id BIGINT, who BIGINT, amount BIGINT) WITH (" + kafka("orders")
                + ", 'format' = 'json', 'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset')");
        tables.executeSql("CREATE TABLE once (id BIGINT) WITH (" + kafka("once") + ", 'format' = 'json',"
                + " 'sink.delivery-guarantee' = 'exactly-once', 'sink.transactional-id-prefix' = '" + prefix + "sql',"
                + " 'properties.transaction.timeout.ms' = '60000')");
        tables.executeSql("INSERT INTO once SELECT id FROM orders")
                .await(DEADLINE.toSeconds(), java.util.concurrent.TimeUnit.SECONDS);
        TreeSet<Long> once = new TreeSet<>();
        for (ConsumerRecord<String, String> record : read("once")) {
            if (!once.add(number(record.value(), "id"))) {
                throw new AssertionError(record.value() + " more than once");
            }
        }
        same("orders", RECORDS + 1, once.size());
    }

    /** A query without an end over a pattern of topics: one with more partitions later, one that is made later. */
    private void discovery() throws Exception {
        create("part-a", 1, Map.of());
        create("seen", 1, Map.of());
        TableEnvironment tables = tables();
        tables.getConfig().set("execution.checkpointing.interval", "300ms");
        tables.executeSql("CREATE TABLE parts (v STRING) WITH ('connector' = 'kafka', 'topic-pattern' = '" + prefix
                + "part-.*', 'properties.bootstrap.servers' = '" + address + "', 'properties.group.id' = '" + prefix
                + "parts', 'format' = 'raw', 'scan.startup.mode' = 'earliest-offset',"
                + " 'scan.topic-partition-discovery.interval' = '200ms')");
        tables.executeSql("CREATE TABLE seen (v STRING) WITH (" + kafka("seen") + ", 'format' = 'raw')");
        TableResult result = tables.executeSql("INSERT INTO seen SELECT v FROM parts");
        JobClient job = result.getJobClient().orElseThrow();
        try {
            produce("part-a", 0, "first");
            waitFor("the first record", () -> values("seen").contains("first"));
            admin.createPartitions(Map.of(prefix + "part-a", NewPartitions.increaseTo(2))).all().get();
            waitFor("a leader", () -> ends("part-a", 2) != null);
            produce("part-a", 1, "in a new partition");
            create("part-b", 1, Map.of());
            produce("part-b", 0, "in a new topic");
            List<String> all = List.of("first", "in a new partition", "in a new topic");
            waitFor("every record", () -> values("seen").size() >= all.size());
            List<String> found = values("seen");
            Collections.sort(found);
            same("records", all, found);
        } finally {
            job.cancel().get();
        }
    }

    // The source without SQL

    private void bounded() throws Exception {
        create("bounded", 2, Map.of());
        long begin = System.currentTimeMillis() - 600_000;
        try (KafkaProducer<String, String> producer = producer()) {
            for (int n = 0; n < 100; n++) {
                producer.send(new ProducerRecord<>(prefix + "bounded", n % 2, begin + n, null, String.valueOf(n))).get();
            }
        }
        TopicPartition first = new TopicPartition(prefix + "bounded", 0);
        TopicPartition second = new TopicPartition(prefix + "bounded", 1);
        same("all", numbers(0, 100), collect(source("bounded").setBounded(OffsetsInitializer.latest())));
        // Record n is at offset n / 2 of partition n mod 2.
        List<String> some = collect(source("bounded")
                .setStartingOffsets(OffsetsInitializer.offsets(Map.of(first, 10L, second, 20L)))
                .setBounded(OffsetsInitializer.offsets(Map.of(first, 12L, second, 21L))));
        same("by offsets", List.of("20", "22", "41"), some);
        List<String> timed = collect(source("bounded")
                .setStartingOffsets(OffsetsInitializer.timestamp(begin + 90))
                .setBounded(OffsetsInitializer.timestamp(begin + 96)));
        same("by timestamps", numbers(90, 96), timed);
    }

    private void finds() throws Exception {
        create("dynamic-a", 1, Map.of());
        StreamExecutionEnvironment environment = environment();
        var source = builder("dynamic").setTopicPattern(Pattern.compile(Pattern.quote(prefix) + "dynamic-.*"))
                .setProperty("partition.discovery.interval.ms", "200").build();
        var stream = environment.fromSource(source, WatermarkStrategy.noWatermarks(), "dynamic");
        try (CloseableIterator<String> found = stream.executeAndCollect("dynamic")) {
            produce("dynamic-a", 0, "first");
            same("the first record", "first", found.next());
            admin.createPartitions(Map.of(prefix + "dynamic-a", NewPartitions.increaseTo(2))).all().get();
            waitFor("a leader", () -> ends("dynamic-a", 2) != null);
            produce("dynamic-a", 1, "in a new partition");
            same("what is in a new partition", "in a new partition", found.next());
            create("dynamic-b", 1, Map.of());
            produce("dynamic-b", 0, "in a new topic");
            same("what is in a new topic", "in a new topic", found.next());
        }
    }

    private KafkaSourceBuilder<String> builder(String group) {
        return KafkaSource.<String>builder().setBootstrapServers(address).setGroupId(prefix + group)
                .setStartingOffsets(OffsetsInitializer.earliest()).setValueOnlyDeserializer(new SimpleStringSchema());
    }

    private KafkaSourceBuilder<String> source(String topic) {
        return builder(topic).setTopics(prefix + topic);
    }

    private List<String> collect(KafkaSourceBuilder<String> source) throws Exception {
        List<String> found = new ArrayList<>();
        var stream = environment().fromSource(source.build(), WatermarkStrategy.noWatermarks(), "bounded");
        try (CloseableIterator<String> values = stream.executeAndCollect("bounded")) {
            values.forEachRemaining(found::add);
        }
        found.sort((a, b) -> Integer.compare(Integer.parseInt(a), Integer.parseInt(b)));
        return found;
    }

    private static List<String> numbers(int from, int to) {
        List<String> numbers = new ArrayList<>();
        for (int n = from; n < to; n++) {
            numbers.add(String.valueOf(n));
        }
        return numbers;
    }

    // What they need

    private static StreamExecutionEnvironment environment() {
        Configuration settings = new Configuration();
        settings.set(RestartStrategyOptions.RESTART_STRATEGY, "none");
        StreamExecutionEnvironment environment = StreamExecutionEnvironment.getExecutionEnvironment(settings);
        environment.setParallelism(1);
        environment.enableCheckpointing(300);
        return environment;
    }

    private static TableEnvironment tables() {
        TableEnvironment tables = TableEnvironment.create(EnvironmentSettings.inStreamingMode());
        tables.getConfig().set("parallelism.default", "2");
        tables.getConfig().set("restart-strategy.type", "none");
        return tables;
    }

    private String kafka(String topic) {
        return "'connector' = 'kafka', 'topic' = '" + prefix + topic + "', 'properties.bootstrap.servers' = '" + address
                + "', 'properties.group.id' = '" + prefix + topic + "'";
    }

    private void create(String topic, int partitions, Map<String, String> configs) throws Exception {
        NewTopic wanted = new NewTopic(prefix + topic, partitions, (short) 1).configs(configs);
        admin.createTopics(List.of(wanted)).all().get();
        waitFor("leaders of " + topic, () -> ends(topic, partitions) != null);
    }

    /** The ends of its partitions; null while one has no leader yet. */
    private Map<TopicPartition, Long> ends(String topic, int partitions) throws InterruptedException {
        Map<TopicPartition, OffsetSpec> wanted = new HashMap<>();
        for (int partition = 0; partition < partitions; partition++) {
            wanted.put(new TopicPartition(prefix + topic, partition), OffsetSpec.latest());
        }
        try {
            Map<TopicPartition, Long> ends = new HashMap<>();
            admin.listOffsets(wanted).all().get().forEach((partition, end) -> ends.put(partition, end.offset()));
            return ends;
        } catch (java.util.concurrent.ExecutionException error) {
            return null;
        }
    }

    private KafkaProducer<String, String> producer() {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", address);
        settings.put("acks", "all");
        settings.put("linger.ms", "0");
        return new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer());
    }

    private void produce(String topic, int partition, String value) throws Exception {
        try (KafkaProducer<String, String> producer = producer()) {
            producer.send(new ProducerRecord<>(prefix + topic, partition, null, value)).get();
        }
    }

    /** What a reader of committed data is given, up to the ends there are now. */
    private List<ConsumerRecord<String, String>> read(String topic) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", address);
        settings.put("isolation.level", "read_committed");
        settings.put("auto.offset.reset", "earliest");
        List<ConsumerRecord<String, String>> found = new ArrayList<>();
        try (var consumer = new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer())) {
            List<TopicPartition> partitions = new ArrayList<>();
            consumer.partitionsFor(prefix + topic)
                    .forEach(of -> partitions.add(new TopicPartition(of.topic(), of.partition())));
            consumer.assign(partitions);
            Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
            long end = System.nanoTime() + DEADLINE.toNanos();
            while (partitions.stream().anyMatch(partition -> consumer.position(partition) < ends.get(partition))) {
                if (System.nanoTime() > end) {
                    throw new AssertionError(topic + " was not read to its end");
                }
                consumer.poll(Duration.ofMillis(200)).forEach(found::add);
            }
        }
        return found;
    }

    private List<String> values(String topic) {
        List<String> values = new ArrayList<>();
        read(topic).forEach(record -> values.add(record.value()));
        return values;
    }

    private interface Condition {
        boolean holds() throws Exception;
    }

    private static void waitFor(String what, Condition condition) throws Exception {
        long end = System.nanoTime() + DEADLINE.toNanos();
        while (!condition.holds()) {
            if (System.nanoTime() > end) {
                throw new AssertionError("not after " + DEADLINE.toSeconds() + " s: " + what);
            }
            Thread.sleep(50);
        }
    }

    /** A number of a flat object of JSON. */
    private static long number(String json, String field) {
        var found = Pattern.compile("\"" + field + "\":(-?\\d+)").matcher(json);
        if (!found.find()) {
            throw new AssertionError("no " + field + " in " + json);
        }
        return Long.parseLong(found.group(1));
    }

    private static void same(String what, Object expected, Object found) {
        if (!expected.equals(found)) {
            throw new AssertionError(what + ": expected " + expected + ", found " + found);
        }
    }
}
