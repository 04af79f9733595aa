import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AdminClientConfig;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Clients with the settings every writer of test data shares. */
final class Connect {
    private final String bootstrap;

    Connect(String bootstrap) {
        this.bootstrap = bootstrap;
    }

    Admin admin() {
        return Admin.create(Map.of(AdminClientConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap));
    }

    /** Neither idempotent nor transactional: batches carry producer id -1. */
    KafkaProducer<byte[], byte[]> plain(String codec) {
        return producer(Map.of(
            ProducerConfig.ENABLE_IDEMPOTENCE_CONFIG, "false",
            ProducerConfig.COMPRESSION_TYPE_CONFIG, codec));
    }

    KafkaProducer<byte[], byte[]> idempotent() {
        return producer(Map.of(ProducerConfig.ENABLE_IDEMPOTENCE_CONFIG, "true"));
    }

    KafkaProducer<byte[], byte[]> transactional(String id, String codec) {
        KafkaProducer<byte[], byte[]> producer = producer(Map.of(
            ProducerConfig.TRANSACTIONAL_ID_CONFIG, id,
            ProducerConfig.TRANSACTION_TIMEOUT_CONFIG, "900000",
            ProducerConfig.COMPRESSION_TYPE_CONFIG, codec));
        producer.initTransactions();
        return producer;
    }

    private KafkaProducer<byte[], byte[]> producer(Map<String, String> more) {
        Properties p = new Properties();
        p.put(ProducerConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap);
        p.put(ProducerConfig.ACKS_CONFIG, "all");
        // A batch ends where the writer flushes and nowhere else, so its extent is known.
        p.put(ProducerConfig.LINGER_MS_CONFIG, "60000");
        p.put(ProducerConfig.BATCH_SIZE_CONFIG, "262144");
        p.putAll(more);
        return new KafkaProducer<>(p, new ByteArraySerializer(), new ByteArraySerializer());
    }
}
