package tidewheel.clients;

import java.util.ArrayDeque;
import java.util.Arrays;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * Drives a broker through Kafka's Java client and prints one JSON line per case: {"case": ...,
 * "ok": ..., "detail": ..., "ms": ...}. The runner (broker/tests/clients.rs) reads them.
 *
 * <pre>
 * Main --bootstrap HOST:PORT --prefix NAME [--partitions N] [--settle] matrix
 * Main --bootstrap HOST:PORT --prefix NAME [--settle] broker
 * Main --bootstrap HOST:PORT --prefix NAME [--settle] groups
 * Main --bootstrap HOST:PORT --prefix NAME [--settle] consumers
 * Main --bootstrap HOST:PORT --prefix NAME [--settle] survive
 * Main --bootstrap HOST:PORT digest TOPIC...
 * Main --bootstrap HOST:PORT --prefix NAME ledger FILE
 * </pre>
 *
 * `broker` holds the cases that want the broker to themselves, `groups` those of consumer groups,
 * `consumers` the same by the newer protocol, `survive` that of a broker that is killed.
 * --settle waits for the leaders of a new topic, which Apache Kafka needs.
 */
public final class Main {
    private Main() {}

    /** One named check; its result is a detail for the report. */
    interface Body {
        String run() throws Exception;
    }

    record Case(String name, Body body) {}

    public static void main(String[] args) throws Exception {
        Map<String, String> options =
                new HashMap<>(Map.of("--prefix", "t", "--partitions", "3", "--settle", "false"));
        Deque<String> words = new ArrayDeque<>(List.of(args));
        while (words.size() > 1 && words.peek().startsWith("--")) {
            String name = words.pop();
            options.put(name, name.equals("--settle") ? "true" : words.pop());
        }
        if (words.isEmpty() || !options.containsKey("--bootstrap")) {
            System.err.println(
                    "usage: Main --bootstrap HOST:PORT [--prefix NAME] matrix|broker|groups|consumers|survive|digest|ledger ...");
            System.exit(2);
        }
        String mode = words.pop();
        List<String> rest = List.copyOf(words);
        boolean ok;
        try (World world =
                new World(
                        options.get("--bootstrap"),
                        options.get("--prefix"),
                        Integer.parseInt(options.get("--partitions")),
                        Boolean.parseBoolean(options.get("--settle")))) {
            ok =
                    switch (mode) {
                        case "matrix" -> runAll(new Matrix(world).cases());
                        case "broker" -> runAll(new AdminCases(world).brokerCases());
                        case "groups" -> runAll(Groups.cases(world));
                        case "consumers" -> runAll(Groups.consumerCases(world));
                        case "survive" -> runAll(Groups.surviveCases(world));
                        case "digest" -> runAll(Matrix.digests(world, rest));
                        case "ledger" -> new Ledger(world).run(rest.get(0));
                        default -> throw new IllegalArgumentException("unknown mode " + mode);
                    };
        }
        System.exit(ok ? 0 : 1);
    }

    static boolean runAll(List<Case> cases) {
        boolean ok = true;
        for (Case c : cases) {
            long started = System.nanoTime();
            String detail;
            boolean well = false;
            try {
                detail = c.body().run();
                well = true;
            } catch (Exception | LinkageError e) { // a failed case is not the end of the program
                detail = text(e);
            }
            report(c.name(), well, detail, (System.nanoTime() - started) / 1_000_000);
            ok &= well;
        }
        return ok;
    }

    private static String text(Throwable e) {
        Throwable cause = e.getCause() == null ? e : e.getCause();
        return cause + " at " + Arrays.stream(e.getStackTrace()).limit(4).toList();
    }

    static void report(String name, boolean ok, String detail, long ms) {
        System.out.printf(
                "{\"case\":\"%s\",\"ok\":%s,\"detail\":\"%s\",\"ms\":%d}%n",
                escape(name), ok, escape(detail), ms);
        System.out.flush();
    }

    private static String escape(String text) {
        StringBuilder out = new StringBuilder();
        for (char c : text.toCharArray()) {
            if (c == '"' || c == '\\') {
                out.append('\\').append(c);
            } else if (c < 0x20 || c > 0x7e) {
                out.append(String.format("\\u%04x", (int) c));
            } else {
                out.append(c);
            }
        }
        return out.toString();
    }
}
