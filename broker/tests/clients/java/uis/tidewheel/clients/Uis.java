package tidewheel.clients;

import org.apache.kafka.common.KafkaFuture;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;

/**
 * What web consoles ask of a broker, call by call and in their order, and what they need of the
 * answers:
 *
 * <pre>
 * Uis HOST:PORT kafka-ui|akhq|kafdrop
 * </pre>
 *
 * Nothing of theirs is copied: each class names the files in which the calls stand.
 */
public final class Uis {
    private Uis() {}

    /** Consoles show a fault of the cluster where an answer takes longer. */
    private static final int ANSWER_SECONDS = 20;

    /** A page, or what is behind a button of it. */
    interface Check {
        void run() throws Exception;
    }

    public static void main(String[] args) throws Exception {
        boolean ok;
        try (Stage stage = new Stage(args[0])) {
            ok =
                    Main.runAll(
                            switch (args[1]) {
                                case "kafka-ui" -> new KafkaUi(stage).cases();
                                case "akhq" -> new Akhq(stage).cases();
                                case "kafdrop" -> new Kafdrop(stage).cases();
                                default ->
                                        throw new IllegalArgumentException("unknown " + args[1]);
                            });
        }
        System.exit(ok ? 0 : 1);
    }

    static Main.Case page(String name, Check check) {
        return new Main.Case(
                name,
                () -> {
                    check.run();
                    return "";
                });
    }

    static <T> T get(KafkaFuture<T> asked) throws Exception {
        return asked.get(ANSWER_SECONDS, TimeUnit.SECONDS);
    }

    /** Refused in one of these ways: any other one is shown as a fault of the cluster. */
    static void refused(KafkaFuture<?> asked, List<Class<? extends Exception>> ways)
            throws Exception {
        try {
            get(asked);
        } catch (ExecutionException e) {
            if (ways.contains(e.getCause().getClass())) {
                return;
            }
            throw new IllegalStateException("not " + ways + " but " + e.getCause());
        }
        throw new IllegalStateException("done, and not refused: " + ways);
    }

    /** The names in their order, to be compared. */
    static List<String> sorted(Iterable<String> names) {
        List<String> out = new ArrayList<>();
        names.forEach(out::add);
        out.sort(null);
        return out;
    }

    static List<String> sorted(String... names) {
        return sorted(Arrays.asList(names));
    }
}
