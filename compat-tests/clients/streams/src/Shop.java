import java.time.Duration;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.GlobalKTable;
import org.apache.kafka.streams.kstream.JoinWindows;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.StreamJoined;
import org.apache.kafka.streams.kstream.TimeWindows;

/**
 * Joins the records of "orders" with the table "people" and with the stream "payments", and counts them in windows,
 * behind a topic of its own that puts them together anew; exactly once, with standby replicas, until it is killed.
 * Order n is of the n-th millisecond after the beginning. The arguments are a folder for its state, the beginning,
 * and the address.
 */
public final class Shop {
    static final long WINDOW_MS = 60;
    static final long PEOPLE = 5;
    static final long KEYS = 6;
    /** Nothing is too late: what tasks do one after the other arrives in any order. */
    static final Duration GRACE = Duration.ofHours(1);

    public static void main(String[] args) throws InterruptedException {
        long beginning = Long.parseLong(args[1]);
        Serde<String> text = Serdes.String();
        StreamsBuilder builder = new StreamsBuilder();
        Consumed<String, String> timed = Consumed.with(text, text)
                .withTimestampExtractor((record, before) -> beginning + Long.parseLong((String) record.value()));
        KStream<String, String> orders = builder.stream("orders", timed);
        KStream<String, String> payments = builder.stream("payments", timed);
        GlobalKTable<String, String> people = builder.globalTable("people");
        orders.join(people, (key, number) -> "p" + Long.parseLong(number) % PEOPLE, (number, person) -> number + " of " + person)
                .to("joined");
        orders.join(payments, (number, paid) -> number + " paid " + paid,
                        JoinWindows.ofTimeDifferenceAndGrace(Duration.ofSeconds(1), GRACE), StreamJoined.with(text, text, text))
                .to("paid");
        orders.map((key, number) -> KeyValue.pair("w" + Long.parseLong(number) % KEYS, number))
                .groupByKey()
                .windowedBy(TimeWindows.ofSizeAndGrace(Duration.ofMillis(WINDOW_MS), GRACE))
                .count()
                .toStream()
                .map((window, count) -> KeyValue.pair(window.key(),
                        window.key() + "@" + window.window().start() + ":" + count))
                .to("windows");
        new Instance("shop", args[2], args[0], 1).with("num.standby.replicas", "1").with("auto.offset.reset", "earliest")
                .run(builder.build());
    }
}
