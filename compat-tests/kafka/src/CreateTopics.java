import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;

/**
 * Creates topics of one partition from which nothing is ever removed. Arguments: bootstrap address,
 * topic names.
 */
public final class CreateTopics {
    private CreateTopics() {}

    public static void main(String[] args) throws Exception {
        List<NewTopic> topics = Arrays.stream(args).skip(1)
            .map(name -> new NewTopic(name, 1, (short) 1).configs(Map.of("retention.ms", "-1")))
            .toList();
        try (Admin admin = new Connect(args[0]).admin()) {
            admin.createTopics(topics).all().get();
        }
    }
}
