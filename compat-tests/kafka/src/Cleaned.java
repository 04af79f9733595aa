import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;

/** Waits until the cleaner has nothing left to do on a topic, by what it leaves on disk. */
final class Cleaned {
    private static final long WAIT_MS_MAX = 90_000;

    private Cleaned() {}

    static void await(Path logDir, String topic) throws Exception {
        long deadline = System.nanoTime() + WAIT_MS_MAX * 1_000_000;
        while (!isDone(logDir, topic)) {
            if (System.nanoTime() > deadline) {
                throw new IllegalStateException("the cleaner has not reached the active segment of " + topic
                    + " after " + WAIT_MS_MAX + " ms");
            }
            Thread.sleep(100);
        }
    }

    /** The cleaner's checkpoint stands at the active segment and no file is on its way out. */
    private static boolean isDone(Path logDir, String topic) throws Exception {
        List<String> names;
        try (Stream<Path> files = Files.list(logDir.resolve(topic + "-0"))) {
            names = files.map(f -> f.getFileName().toString()).toList();
        }
        if (names.stream().anyMatch(n -> n.matches(".*\\.(deleted|cleaned|swap)"))) {
            return false;
        }
        long active = names.stream().filter(n -> n.endsWith(".log"))
            .mapToLong(n -> Long.parseLong(n.substring(0, 20))).max().orElseThrow();
        Path checkpoint = logDir.resolve("cleaner-offset-checkpoint");
        return active > 0 && Files.exists(checkpoint)
            && Files.readAllLines(checkpoint).stream().anyMatch(l -> l.equals(topic + " 0 " + active));
    }
}
