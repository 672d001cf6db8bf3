package tidewheel.clients;

import static tidewheel.clients.World.check;

import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.common.KafkaFuture;
import org.apache.kafka.common.TopicPartition;

import java.util.List;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;

/** Groups described, listed and deleted. */
final class AdminOfGroups implements GroupAdmin {
    private static <T> T get(KafkaFuture<T> asked) throws Exception {
        return asked.get(20, TimeUnit.SECONDS);
    }

    @Override
    @SuppressWarnings("deprecation") // 4.x calls the state otherwise, and keeps the old name
    public void described(World world, String group, String state, int members) throws Exception {
        ConsumerGroupDescription seen =
                get(world.admin.describeConsumerGroups(List.of(group)).all()).get(group);
        check(seen.state().toString().equals(state), "%s, due is %s", seen, state);
        check(seen.members().size() == members, "%s, due are %d", seen, members);
    }

    @Override
    @SuppressWarnings("deprecation") // 4.x has a more general call beside it
    public void listed(World world, String group, boolean due) throws Exception {
        boolean seen =
                get(world.admin.listConsumerGroups().all()).stream()
                        .anyMatch(listed -> listed.groupId().equals(group));
        check(seen == due, "the group is listed: %s", seen);
    }

    @Override
    public Set<TopicPartition> committed(World world, String group) throws Exception {
        var asked = world.admin.listConsumerGroupOffsets(group);
        return get(asked.partitionsToOffsetAndMetadata()).keySet();
    }

    @Override
    public String delete(World world, String group) throws Exception {
        try {
            get(world.admin.deleteConsumerGroups(List.of(group)).all());
            return "";
        } catch (ExecutionException e) {
            return e.getCause().getClass().getSimpleName();
        }
    }
}
