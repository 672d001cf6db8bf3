package tidewheel.clients;

import org.apache.kafka.clients.admin.AdminClient;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.InvalidConfigurationException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;

import java.util.Arrays;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/** IncrementalAlterConfigs: what is not named stays, null deletes. */
final class ChangeConfigs implements Part, Part.Alter {
    @Override
    public List<Main.Case> cases(AdminCases cases) {
        return List.of(
                cases.test("admin/incremental-alter-configs", topic -> change(cases, topic)));
    }

    @Override
    public void alter(AdminClient admin, ConfigResource of, Map<String, String> values)
            throws Exception {
        Collection<AlterConfigOp> ops =
                values.entrySet().stream()
                        .map(e -> op(new ConfigEntry(e.getKey(), e.getValue())))
                        .toList();
        admin.incrementalAlterConfigs(Map.of(of, ops)).all().get(20, TimeUnit.SECONDS);
    }

    private static AlterConfigOp op(ConfigEntry entry) {
        return new AlterConfigOp(
                entry,
                entry.value() == null
                        ? AlterConfigOp.OpType.DELETE
                        : AlterConfigOp.OpType.SET);
    }

    private void change(AdminCases cases, String topic) throws Exception {
        World world = cases.world;
        world.create(topic, 1, Map.of("retention.ms", "3600000"));
        ConfigResource of = AdminCases.topic(topic);
        alter(world.admin, of, Map.of("max.message.bytes", "20000"));
        world.settled(() -> cases.limitHolds(topic));
        cases.has(of, "max.message.bytes", "20000", false);
        cases.has(of, "retention.ms", "3600000", false);
        AdminCases.fails(
                InvalidConfigurationException.class,
                () -> alter(world.admin, of, Map.of("no.such.key", "1")));
        AdminCases.fails(
                InvalidConfigurationException.class,
                () -> alter(world.admin, of, Map.of("retention.ms", "soon")));
        AdminCases.fails(
                UnknownTopicOrPartitionException.class,
                () ->
                        alter(
                                world.admin,
                                AdminCases.topic(topic + "-none"),
                                Map.of("retention.ms", "1")));
        Map<String, String> back = new HashMap<>();
        for (String name : Arrays.asList("retention.ms", "max.message.bytes")) {
            back.put(name, null);
        }
        alter(world.admin, of, back);
        cases.has(of, "retention.ms", "604800000", true);
        cases.has(of, "max.message.bytes", "1048588", true);
    }
}
