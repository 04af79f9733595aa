import java.time.Duration;
import java.util.List;
import java.util.Properties;
import org.apache.kafka.clients.consumer.CommitFailedException;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.errors.RetriableException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * A member that is killed, paused and started again: prints partition and offset of each record, then
 * commits. The arguments are the address, a topic, a group and its protocol.
 */
public final class Churn {
    private Churn() {}

    /**
     * The newer consumer's threads race: one takes a partition away while the other hands out what was
     * fetched of it (as in KAFKA-16227). Nothing was handed out then, and it goes on.
     */
    private static ConsumerRecords<byte[], byte[]> poll(KafkaConsumer<byte[], byte[]> consumer) {
        try {
            return consumer.poll(Duration.ofMillis(200));
        } catch (IllegalStateException error) {
            if (!error.getMessage().startsWith("No current assignment for partition")) {
                throw error;
            }
            System.err.println(error);
            return ConsumerRecords.empty();
        }
    }

    public static void main(String[] args) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", args[0]);
        properties.put("group.id", args[2]);
        properties.put("enable.auto.commit", "false");
        properties.put("auto.offset.reset", "earliest");
        properties.put("max.poll.records", "200");
        properties.put("key.deserializer", ByteArrayDeserializer.class.getName());
        properties.put("value.deserializer", ByteArrayDeserializer.class.getName());
        if (args[3].equals("consumer")) {
            properties.put("group.protocol", "consumer");
        } else {
            properties.put("session.timeout.ms", "6000");
            properties.put("heartbeat.interval.ms", "300");
            properties.put("partition.assignment.strategy",
                "org.apache.kafka.clients.consumer.RangeAssignor");
        }
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(properties)) {
            consumer.subscribe(List.of(args[1]));
            while (true) {
                ConsumerRecords<byte[], byte[]> records = poll(consumer);
                StringBuilder lines = new StringBuilder();
                for (ConsumerRecord<byte[], byte[]> record : records) {
                    lines.append(record.partition()).append(' ').append(record.offset()).append('\n');
                }
                System.out.print(lines);
                System.out.flush();
                try {
                    if (!records.isEmpty()) {
                        consumer.commitSync();
                    }
                } catch (CommitFailedException | RetriableException error) {
                    // The partitions are another's by now, who reads the records again.
                    System.err.println(error);
                }
            }
        }
    }
}
