package tidewheel.clients;

import org.apache.kafka.common.utils.Exit;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/**
 * Kafka's own tools, one call after the other in one JVM: each line of the input is a class and its
 * arguments, tabs between them, and what the tool says ends with a line {@code =}.
 */
public final class Calls {
    private Calls() {}

    /** A tool that wants to end the JVM ends its call. */
    private static final class Ended extends Error {
        private static final long serialVersionUID = 1;

        Ended() {
            super(null, null, false, false);
        }
    }

    public static void main(String[] args) throws Exception {
        Exit.setExitProcedure(
                (status, message) -> {
                    throw new Ended();
                });
        System.setErr(System.out);
        BufferedReader calls =
                new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = calls.readLine(); line != null; line = calls.readLine()) {
            String[] call = line.split("\t", -1);
            Object given = Arrays.copyOfRange(call, 1, call.length);
            try {
                Class.forName(call[0]).getMethod("main", String[].class).invoke(null, given);
            } catch (InvocationTargetException e) {
                if (!(e.getCause() instanceof Ended)) {
                    e.getCause().printStackTrace();
                }
            }
            System.out.println("=");
        }
    }
}
