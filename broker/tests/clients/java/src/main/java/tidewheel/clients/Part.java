package tidewheel.clients;

import org.apache.kafka.clients.admin.AdminClient;
import org.apache.kafka.common.config.ConfigResource;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/** A part of the admin client that not every generation offers. Those that it does are built in. */
interface Part {
    /** The cases of the part. */
    List<Main.Case> cases(AdminCases cases);

    /** A way to alter settings; null stands for the default. */
    interface Alter {
        void alter(AdminClient admin, ConfigResource of, Map<String, String> values)
                throws Exception;
    }

    /** The parts that this generation offers. */
    static List<Part> offered() {
        List<String> known =
                List.of(
                        "ReplaceConfigs",
                        "ChangeConfigs",
                        "Partitions",
                        "LogDirs",
                        "Elections",
                        "Producers");
        List<Part> out = new ArrayList<>();
        for (String name : known) {
            try {
                Class<?> part = Class.forName(Part.class.getPackageName() + "." + name);
                out.add((Part) part.getDeclaredConstructor().newInstance());
            } catch (ClassNotFoundException e) {
                continue; // The runner knows which generations must have it.
            } catch (ReflectiveOperationException e) {
                throw new IllegalStateException(e);
            }
        }
        return out;
    }
}
