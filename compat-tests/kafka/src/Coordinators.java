import java.io.PrintWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.TransactionDescription;
import org.apache.kafka.clients.consumer.ConsumerGroupMetadata;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.KafkaShareConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.SubscriptionPattern;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Fills the coordinators' topics with groups and transactional ids of every kind, and writes down what
 * an administrator is told of them. Arguments: bootstrap address, the broker's log directory, and the
 * file to write.
 */
public final class Coordinators {
    private static final String READ = "read";
    private static final String GONE = "gone";
    private static final long WAIT_MS_MAX = 120_000;

    private final String bootstrap;
    private final Path logDir;

    private Coordinators(String bootstrap, Path logDir) {
        this.bootstrap = bootstrap;
        this.logDir = logDir;
    }

    public static void main(String[] args) throws Exception {
        Coordinators all = new Coordinators(args[0], Path.of(args[1]));
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", args[0]))) {
            admin.createTopics(List.of(new NewTopic(READ, 2, (short) 1), new NewTopic(GONE, 1, (short) 1))).all().get();
            all.produce();
            all.early(admin);
            all.waitForCompaction();
            List<AutoCloseable> open = all.late();
            try (PrintWriter out = new PrintWriter(Files.newBufferedWriter(Path.of(args[2])))) {
                new TreeSet<>(told(admin)).forEach(out::println);
            }
            System.out.println("coordinators written, " + open.size() + " left open");
        }
        // What is left open stays open: nothing is closed in good order.
        Runtime.getRuntime().halt(0);
    }

    private Properties consumerOf(String group, String... more) {
        Properties props = new Properties();
        props.put("bootstrap.servers", bootstrap);
        props.put("group.id", group);
        props.put("enable.auto.commit", "false");
        props.put("auto.offset.reset", "earliest");
        props.put("key.deserializer", StringDeserializer.class.getName());
        props.put("value.deserializer", StringDeserializer.class.getName());
        for (int at = 0; at < more.length; at += 2) {
            props.put(more[at], more[at + 1]);
        }
        return props;
    }

    private void produce() throws Exception {
        try (KafkaProducer<String, String> producer = producer(null)) {
            for (int number = 0; number < 40; number++) {
                producer.send(new ProducerRecord<>(READ, number % 2, null, "value " + number)).get();
            }
            producer.send(new ProducerRecord<>(GONE, 0, null, "value")).get();
        }
    }

    private KafkaProducer<String, String> producer(String transactionalId) {
        Properties props = new Properties();
        props.put("bootstrap.servers", bootstrap);
        props.put("key.serializer", StringSerializer.class.getName());
        props.put("value.serializer", StringSerializer.class.getName());
        if (transactionalId != null) {
            props.put("transactional.id", transactionalId);
            props.put("transaction.timeout.ms", "900000");
        }
        return new KafkaProducer<>(props);
    }

    private static Map<TopicPartition, OffsetAndMetadata> offset(String topic, int partition, long offset, String metadata) {
        return Map.of(new TopicPartition(topic, partition), new OffsetAndMetadata(offset, metadata));
    }

    private static void waitForAssignment(KafkaConsumer<String, String> consumer) {
        long deadline = System.currentTimeMillis() + WAIT_MS_MAX;
        while (consumer.assignment().isEmpty()) {
            if (System.currentTimeMillis() > deadline) {
                throw new IllegalStateException("no partition is assigned");
            }
            consumer.poll(Duration.ofMillis(50));
        }
    }

    /** What is compacted later, for the most part. */
    private void early(Admin admin) throws Exception {
        try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(consumerOf("classic-left", "group.protocol", "classic"))) {
            consumer.subscribe(List.of(READ));
            waitForAssignment(consumer);
            for (int round = 1; round <= 200; round++) {
                consumer.commitSync(offset(READ, round % 2, round, "round " + round));
            }
        }
        try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(consumerOf("alone"))) {
            consumer.assign(List.of(new TopicPartition(READ, 0)));
            for (int round = 1; round <= 50; round++) {
                consumer.commitSync(offset(READ, 0, round, ""));
            }
        }
        try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(consumerOf("consumer-left", "group.protocol", "consumer"))) {
            consumer.subscribe(List.of(READ));
            waitForAssignment(consumer);
            consumer.commitSync(offset(READ, 0, 11, "left"));
        }
        try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(consumerOf("consumer-pattern", "group.protocol", "consumer"))) {
            consumer.subscribe(new SubscriptionPattern("re.*"));
            waitForAssignment(consumer);
            consumer.commitSync(offset(READ, 1, 12, "by pattern"));
        }
        for (String group : List.of("deleted", "thinned", "topic-gone")) {
            try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(consumerOf(group))) {
                Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>(offset(READ, 0, 3, ""));
                offsets.putAll(offset(READ, 1, 4, ""));
                if (group.equals("topic-gone")) {
                    offsets.putAll(offset(GONE, 0, 1, ""));
                }
                consumer.assign(offsets.keySet());
                consumer.commitSync(offsets);
            }
        }
        admin.deleteConsumerGroups(List.of("deleted")).all().get();
        admin.deleteConsumerGroupOffsets("thinned", Collections.singleton(new TopicPartition(READ, 1))).all().get();
        admin.deleteTopics(List.of(GONE)).all().get();
        Properties sharing = consumerOf("share");
        List.of("enable.auto.commit", "auto.offset.reset").forEach(sharing::remove);
        try (KafkaShareConsumer<String, String> consumer = new KafkaShareConsumer<>(sharing)) {
            consumer.subscribe(List.of(READ));
            for (int round = 0; round < 20; round++) {
                consumer.poll(Duration.ofMillis(100));
            }
        }
        try (KafkaProducer<String, String> producer = producer("committed")) {
            producer.initTransactions();
            ConsumerGroupMetadata group = inTransactions();
            for (int round = 1; round <= 60; round++) {
                producer.beginTransaction();
                producer.send(new ProducerRecord<>(READ, 0, null, "committed " + round));
                producer.sendOffsetsToTransaction(offset(READ, 0, round, "committed"), group);
                producer.commitTransaction();
            }
        }
        try (KafkaProducer<String, String> producer = producer("aborted")) {
            producer.initTransactions();
            producer.beginTransaction();
            producer.send(new ProducerRecord<>(READ, 0, null, "aborted"));
            producer.sendOffsetsToTransaction(offset(READ, 0, 999, "aborted"), inTransactions());
            producer.abortTransaction();
        }
        try (KafkaProducer<String, String> producer = producer("idle")) {
            producer.initTransactions();
        }
    }

    private ConsumerGroupMetadata inTransactions() {
        try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(consumerOf("in-transactions"))) {
            return consumer.groupMetadata();
        }
    }

    /** Both topics of coordinators have been compacted. */
    private void waitForCompaction() throws Exception {
        long deadline = System.currentTimeMillis() + WAIT_MS_MAX;
        Path checkpoint = logDir.resolve("cleaner-offset-checkpoint");
        while (true) {
            List<String> cleaned = new ArrayList<>();
            if (Files.exists(checkpoint)) {
                for (String line : Files.readAllLines(checkpoint)) {
                    String[] words = line.split(" ");
                    if (words.length == 3 && Long.parseLong(words[2]) > 0) {
                        cleaned.add(words[0]);
                    }
                }
            }
            if (cleaned.containsAll(List.of("__consumer_offsets", "__transaction_state"))) {
                return;
            }
            if (System.currentTimeMillis() > deadline) {
                throw new IllegalStateException("only " + cleaned + " are compacted");
            }
            Thread.sleep(200);
        }
    }

    /** What is open when the broker stops. */
    private List<AutoCloseable> late() throws Exception {
        try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(consumerOf("classic-static",
                "group.protocol", "classic", "group.instance.id", "one", "session.timeout.ms", "1800000"))) {
            consumer.subscribe(List.of(READ));
            waitForAssignment(consumer);
            consumer.commitSync(offset(READ, 0, 21, "static"));
        }
        try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(consumerOf("consumer-static",
                "group.protocol", "consumer", "group.instance.id", "two"))) {
            consumer.subscribe(List.of(READ));
            waitForAssignment(consumer);
            consumer.commitSync(offset(READ, 0, 22, "static"));
        }
        try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(consumerOf("topic-gone"))) {
            consumer.assign(List.of(new TopicPartition(READ, 0)));
            consumer.commitSync(offset(READ, 0, 5, "later"));
        }
        KafkaProducer<String, String> before = producer("replaced");
        before.initTransactions();
        KafkaProducer<String, String> after = producer("replaced");
        after.initTransactions();
        KafkaProducer<String, String> open = producer("open");
        open.initTransactions();
        open.beginTransaction();
        open.send(new ProducerRecord<>(READ, 1, null, "open")).get();
        open.sendOffsetsToTransaction(offset(READ, 1, 77, "open"), inTransactions());
        open.flush();
        return List.of(before, after, open);
    }

    private static List<String> told(Admin admin) throws Exception {
        List<String> lines = new ArrayList<>();
        List<String> groups = new ArrayList<>();
        admin.listGroups().all().get().forEach(group -> {
            groups.add(group.groupId());
            lines.add("group " + group.groupId() + " " + group.type().map(Object::toString).orElse("-")
                + " " + group.groupState().map(Object::toString).orElse("-")
                + " protocol=" + group.protocol());
        });
        for (String group : groups) {
            if (group.equals("share")) {
                continue;
            }
            offsets(admin, group).forEach((partition, offset) -> lines.add("offset " + group + " " + partition
                + " " + offset.offset() + " metadata=" + offset.metadata()));
        }
        Collection<String> ids = new TreeSet<>();
        admin.listTransactions().all().get().forEach(listing -> ids.add(listing.transactionalId()));
        for (Map.Entry<String, TransactionDescription> told : admin.describeTransactions(ids).all().get().entrySet()) {
            TransactionDescription txn = told.getValue();
            List<String> partitions = new ArrayList<>();
            txn.topicPartitions().forEach(partition -> partitions.add(partition.toString()));
            Collections.sort(partitions);
            lines.add("transaction " + told.getKey() + " " + txn.state() + " producer=" + txn.producerId()
                + " epoch=" + txn.producerEpoch() + " timeout=" + txn.transactionTimeoutMs()
                + " partitions=" + String.join(",", partitions));
        }
        return lines;
    }

    /** An open transaction keeps some of them from being told as stable; all are told here. */
    private static Map<TopicPartition, OffsetAndMetadata> offsets(Admin admin, String group)
            throws ExecutionException, InterruptedException {
        Map<TopicPartition, OffsetAndMetadata> offsets = new TreeMap<>((one, other) -> one.toString().compareTo(other.toString()));
        admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().forEach((partition, offset) -> {
            if (offset != null) {
                offsets.put(partition, offset);
            }
        });
        return offsets;
    }
}
