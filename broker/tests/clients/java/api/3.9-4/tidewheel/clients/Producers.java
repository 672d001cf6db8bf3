package tidewheel.clients;

import static tidewheel.clients.World.check;

import org.apache.kafka.clients.admin.ProducerState;
import org.apache.kafka.common.TopicPartition;

import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/** DescribeProducers. */
final class Producers implements Part {
    @Override
    public List<Main.Case> cases(AdminCases cases) {
        return List.of(
                cases.test("admin/describe-producers", topic -> describe(cases.world, topic)));
    }

    private static List<ProducerState> ask(World world, TopicPartition at) throws Exception {
        return world.admin
                .describeProducers(List.of(at))
                .partitionResult(at)
                .get(20, TimeUnit.SECONDS)
                .activeProducers();
    }

    private static void describe(World world, String topic) throws Exception {
        world.create(topic, 1, Map.of());
        TopicPartition at = new TopicPartition(topic, 0);
        check(ask(world, at).isEmpty(), "producers before the first record");
        Sent one = Sent.of(0, System.currentTimeMillis(), "v");
        world.produce(topic, List.of(one, one, one), "none", "idempotent");
        List<ProducerState> seen = ask(world, at);
        check(seen.size() == 1, "%s", seen);
        ProducerState state = seen.get(0);
        boolean ok =
                state.producerId() >= 0 && state.producerEpoch() == 0 && state.lastSequence() == 2;
        check(ok, "%s", state);
    }
}
