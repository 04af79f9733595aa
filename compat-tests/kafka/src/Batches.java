import static java.nio.charset.StandardCharsets.UTF_8;

import java.util.ArrayList;
import java.util.List;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.header.internals.RecordHeader;

/** Records with known content, sent one batch at a time. */
final class Batches {
    /**
     * Near the present: a broker forgets producers whose newest record is a day old, and
     * would otherwise drop them when it loads their snapshot.
     */
    static final long START = System.currentTimeMillis() / 60_000 * 60_000 - 3_600_000;

    private Batches() {}

    static byte[] bytes(String text) {
        return text.getBytes(UTF_8);
    }

    static ProducerRecord<byte[], byte[]> record(String topic, long second, byte[] key, byte[] value) {
        return new ProducerRecord<>(topic, 0, START + second * 1000, key, value);
    }

    static ProducerRecord<byte[], byte[]> text(String topic, long second, String key, String value) {
        return record(topic, second, bytes(key), value == null ? null : bytes(value));
    }

    /** {@code count} records, keys and values numbered from {@code first}, a second apart. */
    static List<ProducerRecord<byte[], byte[]>> numbered(String topic, int first, int count) {
        List<ProducerRecord<byte[], byte[]>> out = new ArrayList<>();
        for (int i = first; i < first + count; i++) {
            out.add(text(topic, i, "key-" + i, "value-" + i + " the quick brown fox jumps over the lazy dog"));
        }
        return out;
    }

    /** Every shape of key, value and header the record format can express. */
    static List<ProducerRecord<byte[], byte[]>> shapes(String topic) {
        List<ProducerRecord<byte[], byte[]>> out = new ArrayList<>();
        out.add(text(topic, 0, "plain", "plain value"));
        out.add(record(topic, 1, null, bytes("null key")));
        out.add(record(topic, 2, bytes("null value"), null));
        out.add(record(topic, 3, null, null));
        out.add(record(topic, 4, new byte[0], bytes("empty key")));
        out.add(record(topic, 5, bytes("empty value"), new byte[0]));
        ProducerRecord<byte[], byte[]> one = text(topic, 6, "one header", "v");
        one.headers().add("trace", bytes("0123"));
        out.add(one);
        ProducerRecord<byte[], byte[]> twice = text(topic, 7, "duplicate header keys", "v");
        twice.headers().add("h", bytes("first")).add("other", bytes("between")).add("h", bytes("second"))
            .add("h", bytes("second"));
        out.add(twice);
        ProducerRecord<byte[], byte[]> odd = text(topic, 8, "odd headers", "v");
        odd.headers().add(new RecordHeader("null", (byte[]) null)).add("empty", new byte[0]).add("", bytes("no name"));
        out.add(odd);
        out.add(text(topic, 9, "ключ", "значение ✓ 値"));
        byte[] every = new byte[256];
        for (int i = 0; i < every.length; i++) {
            every[i] = (byte) i;
        }
        out.add(record(topic, 10, every, every));
        out.add(text(topic, 11, "long", "0123456789abcdef".repeat(256)));
        // Earlier than its neighbours: a negative timestamp delta inside the batch's range.
        out.add(text(topic, 5, "late", "timestamp goes back"));
        return out;
    }

    static void send(KafkaProducer<byte[], byte[]> producer, List<ProducerRecord<byte[], byte[]>> batch)
        throws Exception {
        List<java.util.concurrent.Future<?>> sent = new ArrayList<>();
        for (ProducerRecord<byte[], byte[]> record : batch) {
            sent.add(producer.send(record));
        }
        producer.flush();
        for (java.util.concurrent.Future<?> s : sent) {
            s.get();
        }
    }
}
