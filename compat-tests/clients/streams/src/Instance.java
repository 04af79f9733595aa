import java.time.Duration;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;

/** What the instances of our applications share: exactly once, quick to commit and to be missed, until killed. */
final class Instance {
    private final Properties settings = new Properties();

    Instance(String application, String address, String state, int threads) {
        settings.putAll(Map.of("application.id", application, "bootstrap.servers", address, "state.dir", state,
                "processing.guarantee", "exactly_once_v2", "commit.interval.ms", "100",
                "statestore.cache.max.bytes", "0", "num.stream.threads", threads, "replication.factor", "1"));
        settings.putAll(Map.of("default.key.serde", Serdes.StringSerde.class, "default.value.serde", Serdes.StringSerde.class,
                "consumer.session.timeout.ms", "6000", "consumer.heartbeat.interval.ms", "500",
                "reconnect.backoff.max.ms", "200"));
    }

    Instance with(String setting, String value) {
        settings.put(setting, value);
        return this;
    }

    /** Does not return: a thread that fails is replaced, SIGTERM closes it. */
    void run(Topology topology) throws InterruptedException {
        KafkaStreams streams = new KafkaStreams(topology, settings);
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            return StreamThreadExceptionResponse.REPLACE_THREAD;
        });
        Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(Duration.ofSeconds(10))));
        streams.start();
        new CountDownLatch(1).await();
    }
}
