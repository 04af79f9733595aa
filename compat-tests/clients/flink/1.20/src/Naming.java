import java.util.List;
import org.apache.flink.connector.kafka.sink.KafkaSinkBuilder;

/** This line of Flink has one way to name the transactions of its sink. */
final class Naming {
    static List<String> names() {
        return List.of("incrementing");
    }

    static <T> KafkaSinkBuilder<T> use(KafkaSinkBuilder<T> builder, String name) {
        return builder;
    }
}
