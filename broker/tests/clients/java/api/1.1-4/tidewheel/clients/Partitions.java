package tidewheel.clients;

import static tidewheel.clients.World.check;

import org.apache.kafka.clients.admin.CreatePartitionsOptions;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.InvalidPartitionsException;
import org.apache.kafka.common.errors.OffsetOutOfRangeException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;

import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;

/** CreatePartitions and DeleteRecords. */
final class Partitions implements Part {
    @Override
    public List<Main.Case> cases(AdminCases cases) {
        return List.of(
                cases.test("admin/create-partitions", topic -> create(cases.world, topic)),
                cases.test("admin/delete-records", topic -> deleteRecords(cases.world, topic)));
    }

    private static void grow(World world, String topic, int count, boolean checkOnly)
            throws Exception {
        Map<String, NewPartitions> asked = Map.of(topic, NewPartitions.increaseTo(count));
        CreatePartitionsOptions options = new CreatePartitionsOptions().validateOnly(checkOnly);
        world.admin.createPartitions(asked, options).all().get(20, TimeUnit.SECONDS);
    }

    private static void create(World world, String topic) throws Exception {
        world.create(topic, 2, Map.of());
        AdminCases.fails(InvalidPartitionsException.class, () -> grow(world, topic, 2, false));
        AdminCases.fails(InvalidPartitionsException.class, () -> grow(world, topic, 1, false));
        AdminCases.fails(
                UnknownTopicOrPartitionException.class,
                () -> grow(world, topic + "-none", 4, false));
        grow(world, topic, 4, true);
        grow(world, topic, 3, false);
        world.settled(
                () -> {
                    int seen = Topics.describe(world.admin, topic).partitions().size();
                    check(seen == 3, "%d partitions", seen);
                });
        for (int p = 0; p < 3; p++) {
            int partition = p;
            world.settled(() -> check(world.end(topic, partition) == 0, "not empty"));
            List<Sent> sent = List.of(Sent.of(p, System.currentTimeMillis(), "in " + p));
            world.produce(topic, sent, "none", "acks=all");
            world.expect(topic, p, 0, sent);
        }
    }

    private static long delete(World world, TopicPartition at, long before) throws Exception {
        return world.admin
                .deleteRecords(Map.of(at, RecordsToDelete.beforeOffset(before)))
                .lowWatermarks()
                .get(at)
                .get(20, TimeUnit.SECONDS)
                .lowWatermark();
    }

    private static void deleteRecords(World world, String topic) throws Exception {
        world.create(topic, 1, Matrix.TOPIC);
        TopicPartition at = new TopicPartition(topic, 0);
        long now = System.currentTimeMillis();
        List<Sent> sent = IntStream.range(0, 10).mapToObj(n -> Sent.of(0, now, "" + n)).toList();
        world.produce(topic, sent, "none", "acks=all");
        long low = delete(world, at, 4);
        check(low == 4, "the log starts at %d", low);
        check(world.consumer.beginningOffsets(List.of(at)).get(at) == 4, "earliest is not 4");
        world.expect(topic, 0, 4, sent.subList(4, 10));
        AdminCases.checkOutOfRange(world, topic, 3);
        AdminCases.fails(OffsetOutOfRangeException.class, () -> delete(world, at, 11));
        low = delete(world, at, -1);
        check(low == 10, "the log starts at %d, not at its end", low);
        RecordMetadata next = world.produce(topic, sent.subList(0, 1), "none", "acks=all").get(0);
        check(next.offset() == 10, "the next record is at %d", next.offset());
    }
}
