import java.time.Duration;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.state.KeyValueStore;

/**
 * Counts the records of each key of "in" and tells every count in "counts", exactly once, until it is
 * killed. The counts are kept in a store with a changelog. The arguments are a folder for its state and
 * the address.
 */
public final class Count {
    public static void main(String[] args) throws InterruptedException {
        Properties settings = new Properties();
        settings.putAll(Map.of("application.id", "count", "bootstrap.servers", args[1], "state.dir", args[0],
                "processing.guarantee", "exactly_once_v2", "commit.interval.ms", "100",
                "statestore.cache.max.bytes", "0", "num.stream.threads", "2", "replication.factor", "1"));
        settings.putAll(Map.of("default.key.serde", Serdes.StringSerde.class, "default.value.serde", Serdes.StringSerde.class,
                "consumer.session.timeout.ms", "6000", "consumer.heartbeat.interval.ms", "500",
                "reconnect.backoff.max.ms", "200"));
        StreamsBuilder builder = new StreamsBuilder();
        builder.<String, String>stream("in")
                .groupByKey()
                .count(Materialized.<String, Long, KeyValueStore<Bytes, byte[]>>as("store"))
                .toStream()
                .map((key, count) -> KeyValue.pair(key, key + ":" + count))
                .to("counts");
        KafkaStreams streams = new KafkaStreams(builder.build(), settings);
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            return StreamThreadExceptionResponse.REPLACE_THREAD;
        });
        Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(Duration.ofSeconds(10))));
        streams.start();
        new CountDownLatch(1).await();
    }
}
