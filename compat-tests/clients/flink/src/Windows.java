import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.time.Duration;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import java.util.stream.StreamSupport;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.serialization.SimpleStringSchema;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.configuration.CheckpointingOptions;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.ExternalizedCheckpointRetention;
import org.apache.flink.configuration.RestartStrategyOptions;
import org.apache.flink.configuration.StateRecoveryOptions;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.sink.KafkaSinkBuilder;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.core.execution.JobClient;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.windowing.WindowFunction;
import org.apache.flink.streaming.api.windowing.assigners.TumblingEventTimeWindows;
import org.apache.flink.streaming.api.windowing.windows.TimeWindow;

/**
 * Tells for each window of each key of "in" which records are in it, exactly once, until it is killed. There
 * is a job for each way to name transactions, with an output topic of its own. A record "key,n" is of the n-th
 * millisecond; "key@start: n n n" is told of it. A job begins at its newest checkpoint. The arguments are a
 * folder for these, the length of a window, the address, and where a session cluster takes jobs, which then
 * run there: their names and ids are printed.
 */
public final class Windows {
    public static void main(String[] args) throws Exception {
        Path checkpoints = Path.of(args[0]);
        Duration length = Duration.ofMillis(Long.parseLong(args[1]));
        // Where a session cluster takes jobs; none for one in this JVM.
        Optional<String> cluster = args.length > 3 ? Optional.of(args[3]) : Optional.empty();
        for (String naming : Naming.names()) {
            start(naming, checkpoints.resolve(naming), length, args[2], cluster);
        }
        if (cluster.isEmpty()) {
            Thread.currentThread().join();
        }
    }

    /** A checkpoint is whole when its metadata is there; what it covers is committed only then. */
    static Optional<Path> newest(Path checkpoints) throws IOException {
        if (!Files.exists(checkpoints)) {
            return Optional.empty();
        }
        try (Stream<Path> files = Files.walk(checkpoints, 3)) {
            return files.filter(file -> file.endsWith("_metadata"))
                    .max(Comparator.comparing(Windows::written))
                    .map(Path::getParent);
        }
    }

    static FileTime written(Path file) {
        try {
            return Files.getLastModifiedTime(file);
        } catch (IOException error) {
            throw new IllegalStateException(error);
        }
    }

    static void start(String topic, Path checkpoints, Duration length, String address, Optional<String> cluster) throws Exception {
        Configuration settings = new Configuration();
        settings.set(CheckpointingOptions.CHECKPOINT_STORAGE, "filesystem");
        settings.set(CheckpointingOptions.CHECKPOINTS_DIRECTORY, checkpoints.toUri().toString());
        settings.set(CheckpointingOptions.MAX_RETAINED_CHECKPOINTS, 3);
        settings.set(CheckpointingOptions.EXTERNALIZED_CHECKPOINT_RETENTION, ExternalizedCheckpointRetention.RETAIN_ON_CANCELLATION);
        settings.set(RestartStrategyOptions.RESTART_STRATEGY, "fixed-delay");
        settings.set(RestartStrategyOptions.RESTART_STRATEGY_FIXED_DELAY_ATTEMPTS, 20);
        settings.set(RestartStrategyOptions.RESTART_STRATEGY_FIXED_DELAY_DELAY, Duration.ofMillis(200));
        newest(checkpoints).ifPresent(path -> settings.set(StateRecoveryOptions.SAVEPOINT_PATH, path.toUri().toString()));
        var environment = cluster.map(place -> remote(place, settings))
                .orElseGet(() -> StreamExecutionEnvironment.getExecutionEnvironment(settings));
        environment.setParallelism(2);
        environment.enableCheckpointing(300);
        var source = KafkaSource.<String>builder().setBootstrapServers(address).setTopics("in").setGroupId(topic)
                .setStartingOffsets(OffsetsInitializer.earliest()).setValueOnlyDeserializer(new SimpleStringSchema()).build();
        KafkaSinkBuilder<String> builder = KafkaSink.<String>builder().setBootstrapServers(address)
                .setRecordSerializer(KafkaRecordSerializationSchema.builder().setTopic(topic)
                        .setValueSerializationSchema(new SimpleStringSchema()).build())
                .setDeliveryGuarantee(DeliveryGuarantee.EXACTLY_ONCE).setTransactionalIdPrefix(topic)
                // As long as the broker allows: one that is left open has to be found and aborted.
                .setProperty("transaction.timeout.ms", "900000");
        KafkaSink<String> sink = Naming.use(builder, topic).build();
        WatermarkStrategy<String> times = WatermarkStrategy.<String>forMonotonousTimestamps()
                .withTimestampAssigner((record, stamp) -> Long.parseLong(record.substring(record.indexOf(',') + 1)));
        WindowFunction<String, String, String, TimeWindow> tell = (key, window, records, out) ->
                out.collect(key + "@" + window.getStart() + ":" + numbers(records));
        environment.fromSource(source, times, "source").uid("source")
                .keyBy(record -> record.substring(0, record.indexOf(',')))
                .window(TumblingEventTimeWindows.of(length))
                .apply(tell, Types.STRING).uid("windows")
                .sinkTo(sink).uid("sink");
        JobClient job = environment.executeAsync(topic);
        if (cluster.isPresent()) {
            System.out.println(topic + " " + job.getJobID());
            return;
        }
        job.getJobExecutionResult().whenComplete((result, error) -> {
            if (error != null) {
                error.printStackTrace();
            }
            // It has no end of its own.
            Runtime.getRuntime().halt(1);
        });
    }

    /** What a job is made of is on the cluster's own class path. */
    static StreamExecutionEnvironment remote(String place, Configuration settings) {
        int colon = place.lastIndexOf(':');
        return StreamExecutionEnvironment.createRemoteEnvironment(
                place.substring(0, colon), Integer.parseInt(place.substring(colon + 1)), settings);
    }

    static String numbers(Iterable<String> records) {
        List<String> numbers = StreamSupport.stream(records.spliterator(), false)
                .map(record -> record.substring(record.indexOf(',') + 1)).collect(Collectors.toList());
        return " " + String.join(" ", numbers);
    }
}
