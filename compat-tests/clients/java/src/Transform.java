import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Random;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Consumes, transforms, produces, exactly once, until it is killed or fails; whoever started it starts
 * it again. Each number of "in" goes to "out" and moves money in "money": as much comes to one partition
 * as leaves the other. Now and then a transaction is taken back. The arguments are a transactional id
 * and the address.
 */
public final class Transform {
    public static void main(String[] args) {
        String id = args[0];
        Properties common = new Properties();
        common.put("bootstrap.servers", args[1]);
        common.put("reconnect.backoff.max.ms", "200");
        Properties consuming = new Properties();
        consuming.putAll(common);
        consuming.putAll(Map.of("group.id", "transform", "auto.offset.reset", "earliest", "enable.auto.commit", "false",
                "isolation.level", "read_committed", "max.poll.records", "5", "session.timeout.ms", "6000",
                "heartbeat.interval.ms", "500"));
        Properties producing = new Properties();
        producing.putAll(common);
        producing.putAll(Map.of("transactional.id", id, "transaction.timeout.ms", "5000"));
        Random random = new Random();
        try (var consumer = new KafkaConsumer<>(consuming, new StringDeserializer(), new StringDeserializer());
                var producer = new KafkaProducer<>(producing, new StringSerializer(), new StringSerializer())) {
            producer.initTransactions();
            consumer.subscribe(List.of("in"));
            while (true) {
                var polled = consumer.poll(Duration.ofMillis(100));
                if (!polled.isEmpty()) {
                    transform(consumer, producer, polled, random.nextInt(6) == 0);
                }
            }
        } catch (RuntimeException error) {
            error.printStackTrace();
            Runtime.getRuntime().halt(1);
        }
    }

    private static void transform(KafkaConsumer<String, String> consumer, KafkaProducer<String, String> producer,
            ConsumerRecords<String, String> polled, boolean takenBack) {
        Map<TopicPartition, OffsetAndMetadata> ends = new HashMap<>();
        Map<TopicPartition, Long> starts = new HashMap<>();
        producer.beginTransaction();
        for (ConsumerRecord<String, String> record : polled) {
            TopicPartition partition = new TopicPartition(record.topic(), record.partition());
            starts.putIfAbsent(partition, record.offset());
            ends.put(partition, new OffsetAndMetadata(record.offset() + 1));
            int amount = 1 + record.value().hashCode() % 9;
            producer.send(new ProducerRecord<>("out", record.partition(), null, record.value()));
            producer.send(new ProducerRecord<>("money", 0, null, record.value() + ":" + amount));
            producer.send(new ProducerRecord<>("money", 1, null, record.value() + ":" + -amount));
        }
        producer.sendOffsetsToTransaction(ends, consumer.groupMetadata());
        if (takenBack) {
            producer.flush();
            producer.abortTransaction();
            starts.forEach(consumer::seek);
        } else {
            producer.commitTransaction();
        }
    }
}
