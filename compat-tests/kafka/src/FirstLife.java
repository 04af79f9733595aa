import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;

/**
 * Creates and fills every topic of the test data. Arguments: bootstrap address, log directory
 * (read only, to watch the cleaner). Leaves one transaction open, so it ends with a halt:
 * closing that producer would abort it.
 */
public final class FirstLife {
    static final String[] CODECS = {"none", "gzip", "snappy", "lz4", "zstd"};

    private final Connect connect;
    private final Path logDir;

    private FirstLife(Connect connect, Path logDir) {
        this.connect = connect;
        this.logDir = logDir;
    }

    public static void main(String[] args) throws Exception {
        FirstLife life = new FirstLife(new Connect(args[0]), Path.of(args[1]));
        life.createTopics();
        for (String codec : CODECS) {
            life.codec(codec);
        }
        life.idempotent();
        life.logAppendTime();
        life.rolled();
        life.trimmed();
        life.compacted();
        life.compactedWithoutTombstones();
        life.compactedTransactional();
        life.transactional();
        System.out.println("first life written");
        System.out.flush();
        Runtime.getRuntime().halt(0);
    }

    private void createTopics() throws Exception {
        List<NewTopic> topics = new ArrayList<>();
        for (String codec : CODECS) {
            topics.add(topic("codec-" + codec, Map.of()));
        }
        topics.add(topic("idempotent", Map.of()));
        topics.add(topic("log-append-time", Map.of("message.timestamp.type", "LogAppendTime")));
        topics.add(topic("rolled", Map.of("internal.segment.bytes", "16384", "index.interval.bytes", "512")));
        topics.add(topic("trimmed", Map.of("internal.segment.bytes", "4096", "index.interval.bytes", "512")));
        topics.add(topic("transactional", Map.of("internal.segment.bytes", "2048", "index.interval.bytes", "256")));
        Map<String, String> compact = Map.of(
            "cleanup.policy", "compact",
            "internal.segment.bytes", "4096",
            "index.interval.bytes", "512",
            "min.cleanable.dirty.ratio", "0.01",
            "file.delete.delay.ms", "0");
        topics.add(topic("compacted", compact));
        topics.add(topic("compacted-transactional", compact));
        Map<String, String> forgetful = new HashMap<>(compact);
        forgetful.put("delete.retention.ms", "0");
        topics.add(topic("compacted-no-tombstones", forgetful));
        try (Admin admin = connect.admin()) {
            admin.createTopics(topics).all().get();
        }
    }

    private static NewTopic topic(String name, Map<String, String> config) {
        Map<String, String> all = new HashMap<>(config);
        all.put("retention.ms", "-1");
        return new NewTopic(name, 1, (short) 1).configs(all);
    }

    private void codec(String codec) throws Exception {
        String topic = "codec-" + codec;
        try (KafkaProducer<byte[], byte[]> producer = connect.plain(codec)) {
            Batches.send(producer, Batches.shapes(topic));
            Batches.send(producer, Batches.numbered(topic, 20, 20));
            Batches.send(producer, Batches.numbered(topic, 40, 1));
        }
    }

    /** Two producers in turn, seven batches each: more than the five a producer's state remembers. */
    private void idempotent() throws Exception {
        try (KafkaProducer<byte[], byte[]> one = connect.idempotent();
             KafkaProducer<byte[], byte[]> two = connect.idempotent()) {
            for (int round = 0; round < 7; round++) {
                Batches.send(one, Batches.numbered("idempotent", round * 10, 3));
                Batches.send(two, Batches.numbered("idempotent", round * 10 + 5, 2));
            }
        }
    }

    private void logAppendTime() throws Exception {
        for (String codec : CODECS) {
            try (KafkaProducer<byte[], byte[]> producer = connect.plain(codec)) {
                Batches.send(producer, Batches.numbered("log-append-time", 0, 5));
            }
        }
    }

    private void rolled() throws Exception {
        rolled(connect, 0, 80);
    }

    /** Batches of about 800 bytes; every tenth is older than the ones before it. */
    static void rolled(Connect connect, int first, int batches) throws Exception {
        try (KafkaProducer<byte[], byte[]> producer = connect.plain("none")) {
            for (int b = first; b < first + batches; b++) {
                List<ProducerRecord<byte[], byte[]>> batch = new ArrayList<>();
                for (int i = 0; i < 8; i++) {
                    int n = b * 8 + i;
                    long second = b % 10 == 9 ? n - 50 : n;
                    batch.add(Batches.text("rolled", second, "key-" + n, ("value-" + n + ' ').repeat(6)));
                }
                Batches.send(producer, batch);
            }
        }
    }

    /** Records before offset 33 are deleted: the log starts inside a batch. */
    private void trimmed() throws Exception {
        try (KafkaProducer<byte[], byte[]> producer = connect.plain("none"); Admin admin = connect.admin()) {
            for (int b = 0; b < 20; b++) {
                Batches.send(producer, Batches.numbered("trimmed", b * 5, 5));
            }
            admin.deleteRecords(Map.of(new TopicPartition("trimmed", 0), RecordsToDelete.beforeOffset(33)))
                .all().get();
        }
    }

    /** Ten keys overwritten round by round; three end as tombstones which are still kept. */
    private void compacted() throws Exception {
        try (KafkaProducer<byte[], byte[]> producer = connect.plain("none")) {
            overwrite(producer, "compacted", 0, 20, Integer.MAX_VALUE);
            Cleaned.await(logDir, "compacted");
            overwrite(producer, "compacted", 20, 20, 25);
        }
        Cleaned.await(logDir, "compacted");
    }

    /** As above, but a second pass finds the tombstones past their horizon and drops them. */
    private void compactedWithoutTombstones() throws Exception {
        String topic = "compacted-no-tombstones";
        try (KafkaProducer<byte[], byte[]> producer = connect.plain("lz4")) {
            overwrite(producer, topic, 0, 120, 5);
            Cleaned.await(logDir, topic);
            overwrite(producer, topic, 120, 120, 5);
        }
        Cleaned.await(logDir, topic);
    }

    /** From round {@code deadFrom} on keys 7, 8 and 9 get null once and are then left alone. */
    private static void overwrite(KafkaProducer<byte[], byte[]> producer, String topic, int first, int rounds,
        int deadFrom) throws Exception {
        for (int round = first; round < first + rounds; round++) {
            List<ProducerRecord<byte[], byte[]>> batch = new ArrayList<>();
            for (int k = 0; k < 10; k++) {
                if (k < 7 || round < deadFrom) {
                    batch.add(Batches.text(topic, round, "key-" + k, "round-" + round + " of key-" + k));
                } else if (round == deadFrom) {
                    batch.add(Batches.text(topic, round, "key-" + k, null));
                }
            }
            Batches.send(producer, batch);
        }
    }

    /**
     * Committed and aborted overwrites under the cleaner. The first pass drops aborted records; the
     * second finds markers without data and gives them a delete horizon.
     */
    private void compactedTransactional() throws Exception {
        String topic = "compacted-transactional";
        try (KafkaProducer<byte[], byte[]> keeps = connect.transactional("compact-keeps", "gzip");
             KafkaProducer<byte[], byte[]> drops = connect.transactional("compact-drops", "none")) {
            overwrite(keeps, drops, topic, 0, 24);
            Cleaned.await(logDir, topic);
            overwrite(keeps, drops, topic, 24, 24);
        }
        Cleaned.await(logDir, topic);
    }

    private static void overwrite(KafkaProducer<byte[], byte[]> keeps, KafkaProducer<byte[], byte[]> drops,
        String topic, int first, int rounds) throws Exception {
        for (int round = first; round < first + rounds; round++) {
            keeps.beginTransaction();
            drops.beginTransaction();
            List<ProducerRecord<byte[], byte[]>> kept = new ArrayList<>();
            List<ProducerRecord<byte[], byte[]>> dropped = new ArrayList<>();
            for (int k = 0; k < 6; k++) {
                kept.add(Batches.text(topic, round, "key-" + k, "kept-" + round));
                dropped.add(Batches.text(topic, round, "key-" + k, "dropped-" + round));
            }
            Batches.send(keeps, kept);
            Batches.send(drops, dropped);
            keeps.commitTransaction();
            drops.abortTransaction();
        }
    }

    /** Three producers overlapping, committing and aborting; a fourth begins and never ends. */
    private void transactional() throws Exception {
        String topic = "transactional";
        KafkaProducer<byte[], byte[]> a = connect.transactional("txn-a", "none");
        KafkaProducer<byte[], byte[]> b = connect.transactional("txn-b", "zstd");
        KafkaProducer<byte[], byte[]> c = connect.transactional("txn-c", "none");
        KafkaProducer<byte[], byte[]> outside = connect.plain("none");
        for (int round = 0; round < 6; round++) {
            int n = round * 20;
            a.beginTransaction();
            Batches.send(a, Batches.numbered(topic, n, 3));
            b.beginTransaction();
            Batches.send(b, Batches.numbered(topic, n + 3, 2));
            Batches.send(outside, Collections.singletonList(Batches.text(topic, n + 5, "outside", "any transaction")));
            a.commitTransaction();
            c.beginTransaction();
            Batches.send(c, Batches.numbered(topic, n + 6, 4));
            b.abortTransaction();
            Batches.send(c, Batches.numbered(topic, n + 10, 2));
            c.commitTransaction();
            a.beginTransaction();
            Batches.send(a, Batches.numbered(topic, n + 12, 1));
            a.abortTransaction();
        }
        KafkaProducer<byte[], byte[]> open = connect.transactional("txn-open", "none");
        open.beginTransaction();
        Batches.send(open, Batches.numbered(topic, 200, 3));
        // Committed, yet behind the open one: beyond the last stable offset.
        a.beginTransaction();
        Batches.send(a, Batches.numbered(topic, 210, 2));
        a.commitTransaction();
        outside.close();
    }
}
