import org.apache.kafka.clients.producer.KafkaProducer;

/**
 * Adds to some topics after a clean restart, so that a kill leaves a log of which one part is
 * below the recovery point and the other is not. Argument: bootstrap address.
 */
public final class SecondLife {
    private SecondLife() {}

    public static void main(String[] args) throws Exception {
        Connect connect = new Connect(args[0]);
        for (String codec : FirstLife.CODECS) {
            try (KafkaProducer<byte[], byte[]> producer = connect.plain(codec)) {
                Batches.send(producer, Batches.numbered("codec-" + codec, 60, 4));
            }
        }
        try (KafkaProducer<byte[], byte[]> producer = connect.idempotent()) {
            Batches.send(producer, Batches.numbered("idempotent", 100, 3));
            Batches.send(producer, Batches.numbered("idempotent", 110, 3));
        }
        FirstLife.rolled(connect, 80, 30);
        try (KafkaProducer<byte[], byte[]> a = connect.transactional("txn-a", "none");
             KafkaProducer<byte[], byte[]> b = connect.transactional("txn-b", "lz4")) {
            for (int round = 0; round < 4; round++) {
                int n = 300 + round * 20;
                a.beginTransaction();
                Batches.send(a, Batches.numbered("transactional", n, 3));
                b.beginTransaction();
                Batches.send(b, Batches.numbered("transactional", n + 3, 3));
                b.abortTransaction();
                a.commitTransaction();
            }
        }
        System.out.println("second life written");
    }
}
