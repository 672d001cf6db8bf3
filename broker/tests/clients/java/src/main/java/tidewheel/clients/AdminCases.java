package tidewheel.clients;

import static tidewheel.clients.World.check;

import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.DescribeClusterResult;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.OffsetOutOfRangeException;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.TopicPartitionInfo;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.InvalidConfigurationException;
import org.apache.kafka.common.errors.InvalidPartitionsException;
import org.apache.kafka.common.errors.InvalidReplicationFactorException;
import org.apache.kafka.common.errors.InvalidTopicException;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;

import java.time.Duration;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;

/**
 * Topics, settings, offsets and the cluster through the admin client, and the errors that clients
 * see.
 */
final class AdminCases {
    /** How an id of zeroes is written. */
    private static final String NO_ID = "AAAAAAAAAAAAAAAAAAAAAA";

    private final World world;

    AdminCases(World world) {
        this.world = world;
    }

    List<Main.Case> cases() {
        return List.of(
                Matrix.test("admin/create", () -> create(topic("create"))),
                Matrix.test("admin/describe-configs", () -> configs(topic("configs"))),
                Matrix.test("admin/errors", () -> errors(topic("errors"))),
                Matrix.test("admin/delete-recreate", () -> deleteRecreate(topic("delete"))),
                Matrix.test("admin/list-offsets", () -> offsets(topic("offsets"))),
                Matrix.test("admin/cluster", this::cluster),
                Matrix.test(
                        "metadata/unknown-topic", () -> unknownTopic(topic("nobody-made-this"))),
                Matrix.test("metadata/auto-create", () -> autoCreate(topic("auto-create"))),
                Matrix.test("fetch/out-of-range", () -> outOfRange(topic("out-of-range"))),
                Matrix.test("produce/too-large", () -> tooLarge(topic("too-large"))));
    }

    private String topic(String name) {
        return world.prefix + "-" + name;
    }

    private TopicDescription describe(String topic) throws Exception {
        return Api.describe(world.admin, topic);
    }

    /** Runs what must fail with an error of the class. */
    private static void fails(Class<? extends Exception> want, Matrix.Check body) throws Exception {
        try {
            body.run();
        } catch (ExecutionException e) {
            check(
                    want.isInstance(e.getCause()),
                    "answered %s, due %s",
                    e.getCause(),
                    want.getSimpleName());
            return;
        }
        check(false, "went through, due %s", want.getSimpleName());
    }

    private void create(String topic) throws Exception {
        world.create(topic, 5, Map.of());
        TopicDescription seen = describe(topic);
        check(seen.partitions().size() == 5 && !seen.isInternal(), "%s", seen);
        check(!Api.topicId(seen).equals(NO_ID), "no topic id");
        for (TopicPartitionInfo p : seen.partitions()) {
            check(
                    p.leader() != null
                            && p.replicas().equals(List.of(p.leader()))
                            && p.isr().equals(p.replicas()),
                    "%s",
                    p);
        }
        check(
                world.admin.listTopics().names().get(20, TimeUnit.SECONDS).contains(topic),
                "not listed");
    }

    private Config config(ConfigResource.Type type, String name) throws Exception {
        ConfigResource resource = new ConfigResource(type, name);
        return world.admin
                .describeConfigs(List.of(resource))
                .all()
                .get(20, TimeUnit.SECONDS)
                .get(resource);
    }

    private void configs(String topic) throws Exception {
        world.create(topic, 1, Map.of("retention.ms", "3600000"));
        Config seen = config(ConfigResource.Type.TOPIC, topic);
        ConfigEntry retention = seen.get("retention.ms");
        check(retention.value().equals("3600000"), "%s", retention);
        Api.checkSetByTopic(retention);
        ConfigEntry limit = seen.get("max.message.bytes");
        check(
                limit.value().equals("1048588")
                        && limit.isDefault()
                        && !limit.isReadOnly()
                        && !limit.isSensitive(),
                "%s",
                limit);
        check(
                seen.get("cleanup.policy").value().equals("delete"),
                "%s",
                seen.get("cleanup.policy"));
        check(seen.entries().size() >= 20, "only %d topic settings", seen.entries().size());
        Node node = world.admin.describeCluster().controller().get(20, TimeUnit.SECONDS);
        Config broker = config(ConfigResource.Type.BROKER, node.idString());
        check(
                broker.get("num.partitions") != null && broker.get("log.dirs") != null,
                "broker settings: %d",
                broker.entries().size());
    }

    private void errors(String topic) throws Exception {
        world.create(topic, 1, Map.of());
        fails(TopicExistsException.class, () -> world.create(topic, 1, Map.of()));
        fails(InvalidTopicException.class, () -> world.create("no spaces", 1, Map.of()));
        fails(
                InvalidConfigurationException.class,
                () -> world.create(topic + "-b", 1, Map.of("no.such.key", "1")));
        fails(
                InvalidConfigurationException.class,
                () -> world.create(topic + "-c", 1, Map.of("retention.ms", "soon")));
        fails(InvalidPartitionsException.class, () -> world.create(topic + "-d", 0, Map.of()));
        fails(
                InvalidReplicationFactorException.class,
                () ->
                        world.admin
                                .createTopics(
                                        List.of(
                                                new org.apache.kafka.clients.admin.NewTopic(
                                                        topic + "-e", 1, (short) 100)))
                                .all()
                                .get(20, TimeUnit.SECONDS));
        fails(
                UnknownTopicOrPartitionException.class,
                () ->
                        world.admin
                                .deleteTopics(List.of(topic + "-f"))
                                .all()
                                .get(20, TimeUnit.SECONDS));
    }

    private void deleteRecreate(String topic) throws Exception {
        Set<String> ids = new HashSet<>();
        for (int round = 0; round < 3; round++) {
            world.create(topic, 1, Map.of());
            ids.add(Api.topicId(describe(topic)));
            List<Sent> sent = List.of(Sent.of(0, System.currentTimeMillis(), "round " + round));
            RecordMetadata at = world.produce(topic, sent, "none", "idempotent").get(0);
            check(at.offset() == 0, "round %d: first record at %d", round, at.offset());
            world.admin.deleteTopics(List.of(topic)).all().get(20, TimeUnit.SECONDS);
            world.settled(
                    () -> fails(UnknownTopicOrPartitionException.class, () -> describe(topic)));
        }
        check(ids.size() == 3, "three topics had the ids %s", ids);
    }

    private void offsets(String topic) throws Exception {
        world.create(topic, 1, Matrix.TOPIC);
        long base = System.currentTimeMillis() - 100_000;
        List<Sent> sent = new ArrayList<>();
        for (long t : new long[] {5_000, 9_000, 7_000, 8_000}) {
            sent.add(Sent.of(0, base + t, "v"));
        }
        for (String codec : List.of("none", "gzip")) {
            world.produce(topic, sent, codec, "idempotent");
        }
        TopicPartition at = new TopicPartition(topic, 0);
        check(world.consumer.beginningOffsets(List.of(at)).get(at) == 0, "earliest");
        check(world.end(topic, 0) == 8, "latest");
        Api.checkOffsets(world.admin, topic, base);
    }

    private void cluster() throws Exception {
        DescribeClusterResult seen = world.admin.describeCluster();
        String id = seen.clusterId().get(20, TimeUnit.SECONDS);
        check(id != null && !id.isEmpty(), "no cluster id");
        check(
                seen.nodes().get().contains(seen.controller().get()),
                "controller %s of %s",
                seen.controller().get(),
                seen.nodes().get());
    }

    private void unknownTopic(String topic) throws Exception {
        fails(UnknownTopicOrPartitionException.class, () -> describe(topic));
        check(
                !world.consumer.listTopics().containsKey(topic),
                "asking created the topic");
    }

    private void autoCreate(String topic) throws Exception {
        RecordMetadata at =
                world.produce(
                                topic,
                                List.of(Sent.of(0, System.currentTimeMillis(), "v")),
                                "none",
                                "idempotent")
                        .get(0);
        check(at.offset() == 0, "placed at %d", at.offset());
        describe(topic);
    }

    private void outOfRange(String topic) throws Exception {
        world.create(topic, 1, Map.of());
        try {
            world.read(topic, 0, 1_000, 1, Duration.ofSeconds(10));
        } catch (OffsetOutOfRangeException e) {
            return;
        }
        check(false, "no error");
    }

    private void tooLarge(String topic) throws Exception {
        world.create(topic, 1, Map.of("max.message.bytes", "20000"));
        List<Sent> big = List.of(Sent.of(0, System.currentTimeMillis(), "x".repeat(30_000)));
        fails(RecordTooLargeException.class, () -> world.produce(topic, big, "none", "acks=all"));
        world.produce(
                topic, List.of(Sent.of(0, System.currentTimeMillis(), "v")), "none", "acks=all");
    }
}
