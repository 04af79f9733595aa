import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.PrintWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Base64;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.function.Consumer;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ListOffsetsOptions;
import org.apache.kafka.clients.admin.ListTopicsOptions;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.ProducerState;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.IsolationLevel;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * Writes down what a consumer and an administrator see of every topic: {@code TOPIC-0.jsonl},
 * {@code TOPIC-0.producers.json} and {@code offsets.json}. Arguments: bootstrap address, folder.
 */
public final class Expect {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final long READ_MS_MAX = 60_000;

    private final String bootstrap;
    private final Path out;

    private Expect(String bootstrap, Path out) {
        this.bootstrap = bootstrap;
        this.out = out;
    }

    public static void main(String[] args) throws Exception {
        Expect expect = new Expect(args[0], Files.createDirectories(Path.of(args[1])));
        ObjectNode offsets = JSON.createObjectNode();
        try (Admin admin = new Connect(args[0]).admin()) {
            for (String topic : new TreeSet<>(admin.listTopics(new ListTopicsOptions().listInternal(true)).names().get())) {
                TopicPartition partition = new TopicPartition(topic, 0);
                expect.records(partition);
                expect.producers(admin, partition);
                offsets.set(partition.toString(), offsets(admin, partition));
            }
        }
        Files.writeString(expect.out.resolve("offsets.json"), offsets.toPrettyString() + "\n");
    }

    private static ObjectNode offsets(Admin admin, TopicPartition partition) throws Exception {
        ObjectNode node = JSON.createObjectNode();
        node.put("logStartOffset", offset(admin, partition, OffsetSpec.earliest(), IsolationLevel.READ_UNCOMMITTED));
        node.put("lastStableOffset", offset(admin, partition, OffsetSpec.latest(), IsolationLevel.READ_COMMITTED));
        node.put("highWatermark", offset(admin, partition, OffsetSpec.latest(), IsolationLevel.READ_UNCOMMITTED));
        return node;
    }

    private static long offset(Admin admin, TopicPartition partition, OffsetSpec spec, IsolationLevel level)
        throws Exception {
        return admin.listOffsets(Map.of(partition, spec), new ListOffsetsOptions(level))
            .partitionResult(partition).get().offset();
    }

    private void producers(Admin admin, TopicPartition partition) throws Exception {
        ArrayNode all = JSON.createArrayNode();
        List<ProducerState> states = admin.describeProducers(List.of(partition)).partitionResult(partition).get()
            .activeProducers().stream().sorted((a, b) -> Long.compare(a.producerId(), b.producerId())).toList();
        for (ProducerState state : states) {
            ObjectNode node = all.addObject();
            node.put("producerId", state.producerId());
            node.put("producerEpoch", state.producerEpoch());
            node.put("lastSequence", state.lastSequence());
            node.put("lastTimestamp", state.lastTimestamp());
            // -1 where no marker has been seen, and where no transaction is open, as on the wire.
            node.put("coordinatorEpoch", state.coordinatorEpoch().orElse(-1));
            node.put("currentTransactionStartOffset", state.currentTransactionStartOffset().orElse(-1));
        }
        Files.writeString(out.resolve(partition + ".producers.json"), all.toPrettyString() + "\n");
    }

    private void records(TopicPartition partition) throws Exception {
        Set<Long> committed = new HashSet<>();
        read(partition, "read_committed", record -> committed.add(record.offset()));
        try (PrintWriter lines = new PrintWriter(Files.newBufferedWriter(out.resolve(partition + ".jsonl")))) {
            read(partition, "read_uncommitted", record -> {
                ObjectNode node = JSON.createObjectNode();
                node.put("partition", record.partition());
                node.put("offset", record.offset());
                node.put("timestamp", record.timestamp());
                node.put("timestampType", record.timestampType().toString());
                node.put("leaderEpoch", record.leaderEpoch().orElse(-1));
                node.put("readCommitted", committed.remove(record.offset()));
                node.put("key", base64(record.key()));
                node.put("value", base64(record.value()));
                ArrayNode headers = node.putArray("headers");
                for (Header header : record.headers()) {
                    headers.addArray().add(header.key()).add(base64(header.value()));
                }
                lines.println(node);
            });
        }
        if (!committed.isEmpty()) {
            throw new IllegalStateException(partition + ": seen only by read_committed: " + committed);
        }
    }

    private void read(TopicPartition partition, String isolation, Consumer<ConsumerRecord<byte[], byte[]>> each) {
        Map<String, Object> config = new HashMap<>();
        config.put(ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap);
        config.put(ConsumerConfig.ISOLATION_LEVEL_CONFIG, isolation);
        config.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "none");
        config.put(ConsumerConfig.FETCH_MAX_WAIT_MS_CONFIG, "50");
        try (KafkaConsumer<byte[], byte[]> consumer =
                 new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            List<TopicPartition> only = List.of(partition);
            consumer.assign(only);
            consumer.seekToBeginning(only);
            // Under read_committed this is the last stable offset.
            long end = consumer.endOffsets(only).get(partition);
            long deadline = System.nanoTime() + READ_MS_MAX * 1_000_000;
            while (consumer.position(partition) < end) {
                if (System.nanoTime() > deadline) {
                    throw new IllegalStateException(partition + " " + isolation + ": at "
                        + consumer.position(partition) + " of " + end + " after " + READ_MS_MAX + " ms");
                }
                consumer.poll(Duration.ofMillis(200)).forEach(each);
            }
        }
    }

    private static String base64(byte[] bytes) {
        return bytes == null ? null : Base64.getEncoder().encodeToString(bytes);
    }
}
