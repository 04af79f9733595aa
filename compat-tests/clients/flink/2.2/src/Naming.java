import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.stream.Collectors;
import org.apache.flink.connector.kafka.sink.KafkaSinkBuilder;
import org.apache.flink.connector.kafka.sink.TransactionNamingStrategy;

/** The ways this line of Flink has to name the transactions of its sink. */
final class Naming {
    static List<String> names() {
        return Arrays.stream(TransactionNamingStrategy.values())
                .map(naming -> naming.name().toLowerCase(Locale.ROOT)).collect(Collectors.toList());
    }

    static <T> KafkaSinkBuilder<T> use(KafkaSinkBuilder<T> builder, String name) {
        return builder.setTransactionNamingStrategy(TransactionNamingStrategy.valueOf(name.toUpperCase(Locale.ROOT)));
    }
}
