package tidewheel.clients;

import org.apache.kafka.clients.CommonClientConfigs;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;

import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.function.Supplier;

/**
 * Kafka Streams and Kafka Connect, each with a small job that ends:
 *
 * <pre>
 * Jobs HOST:PORT PREFIX FOLDER streams|connect
 * </pre>
 */
public final class Jobs {
    private Jobs() {}

    /** How long a job may take to get somewhere, on a busy machine. */
    private static final long WAIT_MS = 120_000;

    public static void main(String[] args) throws Exception {
        String bootstrap = args[0];
        Path folder = Path.of(args[2]);
        Main.Body body =
                switch (args[3]) {
                    case "streams" -> () -> new WordCount(bootstrap, args[1], folder).run();
                    case "connect" -> () -> new FileCopy(bootstrap, args[1], folder).run();
                    default -> throw new IllegalArgumentException("unknown job " + args[3]);
                };
        System.exit(Main.runAll(List.of(new Main.Case(args[3], body))) ? 0 : 1);
    }

    static void create(String bootstrap, NewTopic... topics) throws Exception {
        Map<String, Object> config =
                Map.of(CommonClientConfigs.BOOTSTRAP_SERVERS_CONFIG, bootstrap);
        try (Admin admin = Admin.create(config)) {
            admin.createTopics(List.of(topics)).all().get();
        }
    }

    /** Waits until the value is what is due; fails with both after a while. */
    static <T> void await(T due, Supplier<T> value) throws InterruptedException {
        long until = System.currentTimeMillis() + WAIT_MS;
        T seen = value.get();
        while (!due.equals(seen)) {
            if (System.currentTimeMillis() > until) {
                throw new IllegalStateException("not " + due + " but " + seen);
            }
            Thread.sleep(50);
            seen = value.get();
        }
    }
}
