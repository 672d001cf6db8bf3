package tidewheel.clients;

import org.apache.kafka.clients.admin.AdminClient;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.InvalidConfigurationException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;

import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/** AlterConfigs, which 4.0 no longer offers: what is not named falls back to its default. */
final class ReplaceConfigs implements Part, Part.Alter {
    @Override
    public List<Main.Case> cases(AdminCases cases) {
        return List.of(cases.test("admin/alter-configs", topic -> replace(cases, topic)));
    }

    @Override
    public void alter(AdminClient admin, ConfigResource of, Map<String, String> values)
            throws Exception {
        List<ConfigEntry> entries =
                values.entrySet().stream()
                        .filter(e -> e.getValue() != null)
                        .map(e -> new ConfigEntry(e.getKey(), e.getValue()))
                        .toList();
        admin.alterConfigs(Map.of(of, new Config(entries))).all().get(20, TimeUnit.SECONDS);
    }

    private void replace(AdminCases cases, String topic) throws Exception {
        World world = cases.world;
        world.create(topic, 1, Map.of("retention.ms", "3600000"));
        ConfigResource of = AdminCases.topic(topic);
        alter(world.admin, of, Map.of("max.message.bytes", "20000"));
        world.settled(() -> cases.limitHolds(topic));
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
        cases.has(of, "max.message.bytes", "20000", false);
        cases.has(of, "retention.ms", "604800000", true);
    }
}
