import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.state.KeyValueStore;

/**
 * Counts the records of each key of "in" and tells every count in "counts", exactly once, until it is
 * killed. The counts are kept in a store with a changelog. The arguments are a folder for its state and
 * the address.
 */
public final class Count {
    public static void main(String[] args) throws InterruptedException {
        StreamsBuilder builder = new StreamsBuilder();
        builder.<String, String>stream("in")
                .groupByKey()
                .count(Materialized.<String, Long, KeyValueStore<Bytes, byte[]>>as("store"))
                .toStream()
                .map((key, count) -> KeyValue.pair(key, key + ":" + count))
                .to("counts");
        new Instance("count", args[1], args[0], 2).run(builder.build());
    }
}
