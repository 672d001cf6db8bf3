package tidewheel.clients;

import static tidewheel.clients.World.check;

import org.apache.kafka.common.ElectionType;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.ElectionNotNeededException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;

import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.TimeUnit;

/** ElectLeaders and ListPartitionReassignments: one broker has nothing to do for either. */
final class Elections implements Part {
    @Override
    public List<Main.Case> cases(AdminCases cases) {
        World world = cases.world;
        return List.of(
                cases.test("admin/elect-leaders", topic -> elect(world, topic)),
                cases.test("admin/list-reassignments", topic -> listReassignments(world)));
    }

    private static Throwable answer(World world, TopicPartition at) throws Exception {
        return world.admin
                .electLeaders(ElectionType.PREFERRED, Set.of(at))
                .partitions()
                .get(20, TimeUnit.SECONDS)
                .get(at)
                .orElse(null);
    }

    private static void elect(World world, String topic) throws Exception {
        world.create(topic, 1, Map.of());
        Throwable seen = answer(world, new TopicPartition(topic, 0));
        check(seen instanceof ElectionNotNeededException, "answered %s", seen);
        seen = answer(world, new TopicPartition(topic, 7));
        check(seen instanceof UnknownTopicOrPartitionException, "unknown: answered %s", seen);
    }

    private static void listReassignments(World world) throws Exception {
        var seen =
                world.admin
                        .listPartitionReassignments()
                        .reassignments()
                        .get(20, TimeUnit.SECONDS);
        check(seen.isEmpty(), "%s", seen);
    }
}
