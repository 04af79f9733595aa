import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Properties;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.Callable;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.FencedInstanceIdException;
import org.apache.kafka.common.errors.ProducerFencedException;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Java's own client, old and new: compiled against the old one, run with either. The arguments are a
 * prefix for its topics, the group protocols it has, with commas, and the address.
 */
public final class Client {
    static final List<String> CODECS = List.of("none", "gzip", "snappy", "lz4", "zstd");
    static final int CODEC_PARTITIONS = 2;
    static final int GROUP_PARTITIONS = 4;
    static final int TXN_PARTITIONS = 2;
    static final int RECORDS = 60;
    static final int BEFORE = 200;
    static final int AFTER = 100;
    /** A machine five times slower than ours still keeps them. */
    static final long DEADLINE_MS = 120_000;
    static final int ANSWER_MS = 60_000;

    final String prefix;
    final String address;
    final Admin admin;
    final Set<String> failed = new TreeSet<>();

    Client(String prefix, String address) {
        this.prefix = prefix;
        this.address = address;
        this.admin = Admin.create(properties(Map.of()));
    }

    public static void main(String[] args) throws Exception {
        Client client = new Client(args[0], args[2]);
        client.run(List.of(args[1].split(",")));
        client.admin.close(Duration.ofMillis(ANSWER_MS));
        System.exit(client.failed.isEmpty() ? 0 : 1);
    }

    void run(List<String> protocols) {
        List<NewTopic> topics = new ArrayList<>();
        CODECS.forEach(codec -> topics.add(new NewTopic(prefix + codec, CODEC_PARTITIONS, (short) 1)));
        protocols.forEach(name -> topics.add(new NewTopic(prefix + name, GROUP_PARTITIONS, (short) 1)));
        List.of("committed", "in", "out", "fenced").forEach(name -> topics.add(new NewTopic(prefix + name, TXN_PARTITIONS, (short) 1)));
        topics.add(new NewTopic(prefix + "small", 1, (short) 1).configs(Map.of("max.message.bytes", "1000")));
        Set<String> names = topics.stream().map(NewTopic::name).collect(Collectors.toSet());

        check("create topics", () -> {
            get(admin.createTopics(topics).all());
            await("the topics are listed", () -> listed(names) == names.size());
            return null;
        });
        for (String codec : CODECS) {
            check("produce " + codec, () -> produceCodec(codec));
            check("consume " + codec, () -> consumeCodec(codec));
        }
        for (String protocol : protocols) {
            check(protocol + " group", () -> twoMembers(protocol));
            checkAfter(protocol + " group", protocol + " group resumes", () -> resumes(protocol));
            checkAfter(protocol + " group resumes", "describe " + protocol + " group", () -> describeGroup(protocol));
        }
        check("static members", this::staticMembers);
        check("transactions", this::transactions);
        check("consume, transform, produce", this::consumeTransformProduce);
        check("a fenced producer", this::fencedProducer);
        check("describe topics", this::describeTopics);
        check("unknown topic", () -> {
            // Describing asks the broker; a producer would wait for the topic to appear.
            return refused(UnknownTopicOrPartitionException.class,
                    () -> get(admin.deleteTopics(List.of(prefix + "absent")).all()));
        });
        check("too large", () -> refused(RecordTooLargeException.class, () -> produce("none",
                List.of(new ProducerRecord<>(prefix + "small", 0, (String) null, "x".repeat(5000))))));
        check("delete topics", () -> {
            get(admin.deleteTopics(names).all());
            await("the topics are gone", () -> listed(names) == 0);
            return null;
        });
    }

    void check(String name, Callable<?> step) {
        String why = null;
        try {
            step.call();
        } catch (Exception | AssertionError error) {
            error.printStackTrace();
            why = String.valueOf(error);
        }
        if (why != null) {
            failed.add(name);
        }
        String told = why == null ? "true" : "false,\"why\":" + quoted(why);
        System.out.println("{\"check\":" + quoted(name) + ",\"ok\":" + told + "}");
    }

    /** One that looks for the traces of another: without them it would only tell the same finding again. */
    void checkAfter(String after, String name, Callable<?> step) {
        check(name, failed.contains(after) ? () -> {
            throw new AssertionError("not tried, as `" + after + "` failed");
        } : step);
    }

    static String quoted(String text) {
        StringBuilder quoted = new StringBuilder("\"");
        for (char c : text.substring(0, Math.min(text.length(), 600)).toCharArray()) {
            quoted.append(c < ' ' || c == '"' || c == '\\' ? String.format("\\u%04x", (int) c) : String.valueOf(c));
        }
        return quoted.append('"').toString();
    }

    Properties properties(Map<String, String> more) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", address);
        properties.put("request.timeout.ms", String.valueOf(ANSWER_MS));
        properties.put("default.api.timeout.ms", String.valueOf(ANSWER_MS));
        properties.putAll(more);
        return properties;
    }

    int listed(Set<String> names) throws Exception {
        Set<String> all = new TreeSet<>(get(admin.listTopics().names()));
        all.retainAll(names);
        return all.size();
    }

    static String key(int i) {
        return i % 7 == 0 ? null : "k" + i;
    }

    static String value(String codec, int i) {
        // Nulls are tombstones; the repetition makes it worth compressing.
        return i % 10 == 3 ? null : codec + " " + i + " " + "reka".repeat(50);
    }

    Void produce(String codec, List<ProducerRecord<String, String>> records) throws Exception {
        Properties properties = properties(Map.of("acks", "all", "enable.idempotence", "true",
                "compression.type", codec, "linger.ms", "20", "delivery.timeout.ms", "90000"));
        try (var producer = new KafkaProducer<>(properties, new StringSerializer(), new StringSerializer())) {
            List<Future<?>> sent = new ArrayList<>();
            records.forEach(record -> sent.add(producer.send(record)));
            for (Future<?> one : sent) {
                get(one);
            }
        }
        return null;
    }

    Void produceCodec(String codec) throws Exception {
        List<ProducerRecord<String, String>> records = new ArrayList<>();
        for (int i = 0; i < RECORDS; i++) {
            var record = new ProducerRecord<>(prefix + codec, i % CODEC_PARTITIONS, key(i), value(codec, i));
            // The same name twice: headers are a list, not a map.
            record.headers().add("n", bytes(String.valueOf(i))).add("same", bytes("1")).add("same", bytes("2"));
            records.add(record);
        }
        return produce(codec, records);
    }

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    Void consumeCodec(String codec) throws Exception {
        List<TopicPartition> partitions = IntStream.range(0, CODEC_PARTITIONS)
                .mapToObj(p -> new TopicPartition(prefix + codec, p)).collect(Collectors.toList());
        Map<Integer, List<String>> found = new HashMap<>();
        try (var consumer = new KafkaConsumer<>(properties(Map.of()), new StringDeserializer(), new StringDeserializer())) {
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            long end = System.currentTimeMillis() + ANSWER_MS;
            for (int count = 0; count < RECORDS && System.currentTimeMillis() < end;) {
                for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(200))) {
                    count++;
                    StringBuilder headers = new StringBuilder();
                    for (Header header : record.headers()) {
                        headers.append(header.key()).append('=').append(new String(header.value(), StandardCharsets.UTF_8)).append(' ');
                    }
                    found.computeIfAbsent(record.partition(), p -> new ArrayList<>())
                            .add(record.offset() + " " + headers + record.key() + " " + record.value());
                }
            }
            consumer.endOffsets(partitions).forEach((partition, offset) ->
                    same("end offset", (long) RECORDS / CODEC_PARTITIONS, offset));
        }
        for (int p = 0; p < CODEC_PARTITIONS; p++) {
            List<String> expected = new ArrayList<>();
            for (int i = p; i < RECORDS; i += CODEC_PARTITIONS) {
                expected.add(expected.size() + " n=" + i + " same=1 same=2 " + key(i) + " " + value(codec, i));
            }
            same("partition " + p, expected, found.getOrDefault(p, List.of()));
        }
        return null;
    }

    static List<String> groupValues(int start, int count) {
        return IntStream.range(start, start + count).mapToObj(n -> "group " + n).sorted().collect(Collectors.toList());
    }

    Void produceToGroup(String topic, int start, int count) throws Exception {
        List<ProducerRecord<String, String>> records = new ArrayList<>();
        for (int n = start; n < start + count; n++) {
            records.add(new ProducerRecord<>(topic, n % GROUP_PARTITIONS, null, "group " + n));
        }
        return produce("none", records);
    }

    /** Reads until told to stop, commits, and leaves when told to. */
    final class Member extends Thread {
        final String protocol;
        final CountDownLatch stopping = new CountDownLatch(1);
        final CountDownLatch committed = new CountDownLatch(1);
        final CountDownLatch leaving = new CountDownLatch(1);
        final List<String> seen = Collections.synchronizedList(new ArrayList<>());
        volatile Set<Integer> assigned = Set.of();
        volatile Exception error;

        Member(String protocol) {
            this.protocol = protocol;
            setDaemon(true);
            start();
        }

        @Override
        public void run() {
            Map<String, String> settings = new HashMap<>(Map.of("group.id", prefix + "group-" + protocol,
                    "auto.offset.reset", "earliest", "enable.auto.commit", "false"));
            if (protocol.equals("classic")) {
                settings.putAll(Map.of("heartbeat.interval.ms", "300", "session.timeout.ms", "60000"));
            } else {
                settings.put("group.protocol", protocol);
            }
            try (var consumer = new KafkaConsumer<>(properties(settings), new StringDeserializer(), new StringDeserializer())) {
                consumer.subscribe(List.of(prefix + protocol));
                while (stopping.getCount() > 0) {
                    consumer.poll(Duration.ofMillis(100)).forEach(record -> seen.add(record.value()));
                    assigned = consumer.assignment().stream().map(TopicPartition::partition).collect(Collectors.toSet());
                }
                consumer.commitSync();
                committed.countDown();
                leaving.await(DEADLINE_MS, TimeUnit.MILLISECONDS);
            } catch (Exception told) {
                error = told;
            } finally {
                // Whoever waits for the commit learns about an error as well.
                committed.countDown();
            }
        }

        void rethrow() throws Exception {
            if (error != null) {
                throw error;
            }
        }

        void commit() throws Exception {
            stopping.countDown();
            committed.await(DEADLINE_MS, TimeUnit.MILLISECONDS);
        }

        void leave() throws Exception {
            stopping.countDown();
            leaving.countDown();
            join(DEADLINE_MS);
            rethrow();
            same("a member left", false, isAlive());
        }
    }

    Void twoMembers(String protocol) throws Exception {
        Member a = new Member(protocol);
        Member b = new Member(protocol);
        try {
            await("two members share the partitions", () -> {
                a.rethrow();
                b.rethrow();
                Collection<Integer> both = new ArrayList<>(a.assigned);
                both.addAll(b.assigned);
                return !a.assigned.isEmpty() && !b.assigned.isEmpty() && both.size() == GROUP_PARTITIONS
                        && new TreeSet<>(both).equals(Set.of(0, 1, 2, 3));
            });
            produceToGroup(prefix + protocol, 0, BEFORE);
            await("every record is seen", () -> {
                a.rethrow();
                b.rethrow();
                return a.seen.size() + b.seen.size() >= BEFORE;
            });
            // Both commit before either leaves and its partitions move.
            a.commit();
            b.commit();
        } finally {
            a.leave();
            b.leave();
        }
        List<String> seen = new ArrayList<>(a.seen);
        seen.addAll(b.seen);
        Collections.sort(seen);
        same("records seen", groupValues(0, BEFORE), seen);
        same("a member saw nothing", false, a.seen.isEmpty() || b.seen.isEmpty());
        return null;
    }

    Void resumes(String protocol) throws Exception {
        produceToGroup(prefix + protocol, BEFORE, AFTER);
        Member member = new Member(protocol);
        try {
            await("the new records are seen", () -> {
                member.rethrow();
                return member.seen.size() >= AFTER;
            });
        } finally {
            member.leave();
        }
        List<String> seen = new ArrayList<>(member.seen);
        Collections.sort(seen);
        same("records seen after the restart", groupValues(BEFORE, AFTER), seen);
        return null;
    }

    /** A member with a name of its own in the group "static", on a thread: it polls until it is told to go. */
    final class Static extends Thread implements ConsumerRebalanceListener {
        final String name;
        final CountDownLatch stopping = new CountDownLatch(1);
        volatile Set<Integer> assigned = Set.of();
        volatile int rebalances;
        volatile Exception error;

        Static(String name) {
            this.name = name;
            setDaemon(true);
            start();
        }

        @Override
        public void run() {
            Map<String, String> settings = Map.of("group.id", prefix + "static", "group.instance.id", name,
                    "heartbeat.interval.ms", "300", "session.timeout.ms", "60000", "enable.auto.commit", "false");
            try (var consumer = new KafkaConsumer<>(properties(settings), new StringDeserializer(), new StringDeserializer())) {
                consumer.subscribe(List.of(prefix + "classic"), this);
                while (stopping.getCount() > 0) {
                    consumer.poll(Duration.ofMillis(100));
                    assigned = consumer.assignment().stream().map(TopicPartition::partition).collect(Collectors.toSet());
                }
            } catch (Exception told) {
                error = told;
            }
        }

        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
        }

        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
            rebalances++;
        }

        void go() throws InterruptedException {
            stopping.countDown();
            join(DEADLINE_MS);
        }

        void rethrow() throws Exception {
            if (error != null) {
                throw error;
            }
        }
    }

    /** Who comes back under a name has its partitions again, and nobody else notices. */
    Void staticMembers() throws Exception {
        Static a = new Static("a");
        Static b = new Static("b");
        Static again = null;
        Static twin = null;
        try {
            await("two static members share the partitions", () -> {
                a.rethrow();
                b.rethrow();
                Set<Integer> both = new TreeSet<>(a.assigned);
                both.addAll(b.assigned);
                return a.assigned.size() == 2 && b.assigned.size() == 2 && both.equals(Set.of(0, 1, 2, 3));
            });
            Set<Integer> before = a.assigned;
            int rebalances = b.rebalances;
            a.go();
            Static back = again = new Static("a");
            await("it has its partitions again", () -> {
                back.rethrow();
                return back.assigned.equals(before);
            });
            twin = new Static("a");
            await("the first of two of a name is fenced", () -> back.error != null);
            same("its error", FencedInstanceIdException.class, back.error.getClass());
            b.rethrow();
            same("rebalances of the other", rebalances, b.rebalances);
        } finally {
            for (Static member : new Static[] {a, b, again, twin}) {
                if (member != null) {
                    member.go();
                }
            }
        }
        return null;
    }

    KafkaProducer<String, String> transactional(String id) {
        var properties = properties(Map.of("transactional.id", prefix + id, "linger.ms", "5"));
        var producer = new KafkaProducer<>(properties, new StringSerializer(), new StringSerializer());
        producer.initTransactions();
        return producer;
    }

    /** All values of a topic, by partition, at the isolation level, up to its end. */
    Map<Integer, List<String>> read(String topic, String isolation) throws Exception {
        List<TopicPartition> partitions = IntStream.range(0, TXN_PARTITIONS)
                .mapToObj(p -> new TopicPartition(prefix + topic, p)).collect(Collectors.toList());
        Map<Integer, List<String>> found = new HashMap<>();
        Map<String, String> settings = Map.of("isolation.level", isolation, "max.poll.records", "7");
        try (var consumer = new KafkaConsumer<>(properties(settings), new StringDeserializer(), new StringDeserializer())) {
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
            await("everything is read", () -> {
                consumer.poll(Duration.ofMillis(100)).forEach(record ->
                        found.computeIfAbsent(record.partition(), p -> new ArrayList<>()).add(record.value()));
                return partitions.stream().allMatch(one -> consumer.position(one) >= ends.get(one));
            });
        }
        return found;
    }

    Void transactions() throws Exception {
        Map<Integer, List<String>> kept = new HashMap<>();
        Map<Integer, List<String>> all = new HashMap<>();
        try (var producer = transactional("committed")) {
            for (int n = 0; n < 12; n++) {
                producer.beginTransaction();
                boolean commits = n % 3 != 1;
                for (int i = 0; i < 5; i++) {
                    String value = n + ":" + i + (commits ? "" : " aborted");
                    producer.send(new ProducerRecord<>(prefix + "committed", i % TXN_PARTITIONS, null, value));
                    all.computeIfAbsent(i % TXN_PARTITIONS, p -> new ArrayList<>()).add(value);
                    if (commits) {
                        kept.computeIfAbsent(i % TXN_PARTITIONS, p -> new ArrayList<>()).add(value);
                    }
                }
                if (commits) {
                    producer.commitTransaction();
                } else {
                    // What was not sent yet would not be sent for an abort.
                    producer.flush();
                    producer.abortTransaction();
                }
            }
            producer.beginTransaction();
            get(producer.send(new ProducerRecord<>(prefix + "committed", 0, null, "open")));
            same("while one is open", kept, read("committed", "read_committed"));
            all.get(0).add("open");
            same("with what is open", all, read("committed", "read_uncommitted"));
            producer.commitTransaction();
            kept.get(0).add("open");
            await("the last one counts", () -> kept.equals(read("committed", "read_committed")));
        }
        return null;
    }

    Void consumeTransformProduce() throws Exception {
        List<ProducerRecord<String, String>> records = new ArrayList<>();
        for (int n = 0; n < RECORDS; n++) {
            records.add(new ProducerRecord<>(prefix + "in", n % TXN_PARTITIONS, null, String.valueOf(n)));
        }
        produce("none", records);
        Map<String, String> settings = Map.of("group.id", prefix + "transform", "auto.offset.reset", "earliest",
                "enable.auto.commit", "false", "isolation.level", "read_committed", "max.poll.records", "5");
        for (int generation = 0; generation < 3; generation++) {
            int until = (generation + 1) * RECORDS / 3;
            try (var consumer = new KafkaConsumer<>(properties(settings), new StringDeserializer(), new StringDeserializer());
                    var producer = transactional("transform")) {
                consumer.subscribe(List.of(prefix + "in"));
                await("records are transformed", () -> {
                    transform(consumer, producer, false);
                    return values(read("out", "read_committed")).size() >= until;
                });
                // The last transaction of each is taken back, with its offsets.
                transform(consumer, producer, true);
            }
        }
        List<String> expected = IntStream.range(0, RECORDS).mapToObj(n -> n + "!").sorted().collect(Collectors.toList());
        same("each record once", expected, values(read("out", "read_committed")));
        return null;
    }

    void transform(KafkaConsumer<String, String> consumer, KafkaProducer<String, String> producer, boolean aborts) {
        var polled = consumer.poll(Duration.ofMillis(100));
        if (polled.isEmpty()) {
            return;
        }
        producer.beginTransaction();
        Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
        for (ConsumerRecord<String, String> record : polled) {
            producer.send(new ProducerRecord<>(prefix + "out", record.partition(), null, record.value() + "!"));
            offsets.put(new TopicPartition(record.topic(), record.partition()), new OffsetAndMetadata(record.offset() + 1));
        }
        producer.sendOffsetsToTransaction(offsets, consumer.groupMetadata());
        if (aborts) {
            producer.abortTransaction();
        } else {
            producer.commitTransaction();
        }
    }

    static List<String> values(Map<Integer, List<String>> read) {
        return read.values().stream().flatMap(List::stream).sorted().collect(Collectors.toList());
    }

    Void fencedProducer() throws Exception {
        try (var first = transactional("fenced")) {
            first.beginTransaction();
            get(first.send(new ProducerRecord<>(prefix + "fenced", 0, null, "first")));
            try (var second = transactional("fenced")) {
                second.beginTransaction();
                get(second.send(new ProducerRecord<>(prefix + "fenced", 0, null, "second")));
                refused(ProducerFencedException.class, () -> {
                    first.commitTransaction();
                    return null;
                });
                second.commitTransaction();
            }
        }
        await("the second's counts", () -> values(read("fenced", "read_committed")).equals(List.of("second")));
        return null;
    }

    Void describeGroup(String protocol) throws Exception {
        String group = prefix + "group-" + protocol;
        boolean listed = get(admin.listConsumerGroups().all()).stream().anyMatch(one -> one.groupId().equals(group));
        same("the group is listed", true, listed);
        ConsumerGroupDescription described = get(admin.describeConsumerGroups(List.of(group)).all()).get(group);
        same("state", "Empty", described.state().toString());
        same("members", 0, described.members().size());
        Map<TopicPartition, OffsetAndMetadata> offsets =
                get(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata());
        for (int p = 0; p < GROUP_PARTITIONS; p++) {
            OffsetAndMetadata committed = offsets.get(new TopicPartition(prefix + protocol, p));
            Optional<Long> offset = Optional.ofNullable(committed).map(OffsetAndMetadata::offset);
            same("committed offset", Optional.of((long) (BEFORE + AFTER) / GROUP_PARTITIONS), offset);
        }
        return null;
    }

    Void describeTopics() throws Exception {
        // The method's newer name is not in the old client, its older one not in the new: by name.
        String topic = prefix + "classic";
        Object result = admin.describeTopics(List.of(topic));
        same("partitions", GROUP_PARTITIONS, partitions(result, topic));
        ConfigResource small = new ConfigResource(ConfigResource.Type.TOPIC, prefix + "small");
        var config = get(admin.describeConfigs(List.of(small)).all()).get(small);
        same("max.message.bytes", "1000", config.get("max.message.bytes").value());
        return null;
    }

    static int partitions(Object result, String topic) throws Exception {
        String name = "all";
        for (var method : result.getClass().getMethods()) {
            if (method.getName().equals("allTopicNames")) {
                name = "allTopicNames";
            }
        }
        Future<?> future = (Future<?>) result.getClass().getMethod(name).invoke(result);
        var all = (Map<?, ?>) get(future);
        var described = (org.apache.kafka.clients.admin.TopicDescription) all.get(topic);
        return described.partitions().size();
    }

    static Void refused(Class<? extends Exception> wanted, Callable<?> step) throws Exception {
        try {
            step.call();
        } catch (Exception error) {
            if (wanted.isInstance(error)) {
                return null;
            }
            throw error;
        }
        throw new AssertionError("no " + wanted.getSimpleName());
    }

    static <T> T get(Future<T> future) throws Exception {
        try {
            return future.get(ANSWER_MS, TimeUnit.MILLISECONDS);
        } catch (ExecutionException error) {
            throw error.getCause() instanceof Exception ? (Exception) error.getCause() : error;
        }
    }

    static void await(String what, Callable<Boolean> condition) throws Exception {
        long end = System.currentTimeMillis() + DEADLINE_MS;
        while (!condition.call()) {
            if (System.currentTimeMillis() > end) {
                throw new AssertionError("not after " + DEADLINE_MS + " ms: " + what);
            }
            Thread.sleep(20);
        }
    }

    static void same(String what, Object expected, Object found) {
        if (!Objects.equals(expected, found)) {
            throw new AssertionError(what + ": expected " + shown(expected) + ", found " + shown(found));
        }
    }

    static String shown(Object value) {
        String text = String.valueOf(value);
        return text.substring(0, Math.min(text.length(), 250));
    }
}
