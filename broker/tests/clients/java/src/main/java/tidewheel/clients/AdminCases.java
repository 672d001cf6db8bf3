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
import org.apache.kafka.common.errors.InvalidRequestException;
import org.apache.kafka.common.errors.InvalidTopicException;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;

import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
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
    /** How far in the future delayed records are dated. */
    static final long DELAY_MS = 4_000;

    /** How long after it was due, or asked for where that is later, a record may be read. */
    private static final long LATE_MS = 5_000;

    /** How an id of zeroes is written. */
    private static final String NO_ID = "AAAAAAAAAAAAAAAAAAAAAA";

    final World world;

    AdminCases(World world) {
        this.world = world;
    }

    List<Main.Case> cases() {
        List<Main.Case> out =
                new ArrayList<>(
                        List.of(
                                test("admin/create", this::create),
                                test("admin/describe-configs", this::configs),
                                test("admin/errors", this::errors),
                                test("admin/delete-recreate", this::deleteRecreate),
                                test("admin/list-offsets", this::offsets),
                                test("admin/cluster", topic -> cluster()),
                                test("metadata/unknown-topic", this::unknownTopic),
                                test("metadata/auto-create", this::autoCreate),
                                test("fetch/out-of-range", this::outOfRange),
                                test("produce/too-large", this::tooLarge),
                                test("produce/delayed", this::delayed)));
        Part.offered().forEach(part -> out.addAll(part.cases(this)));
        return out;
    }

    /** The cases that want the broker to themselves. */
    List<Main.Case> brokerCases() {
        return List.of(test("admin/alter-broker-configs", this::alterBroker));
    }

    /** A check with a topic of its own. */
    interface TopicCheck {
        void run(String topic) throws Exception;
    }

    Main.Case test(String name, TopicCheck body) {
        String topic = world.prefix + "-" + name.replace('/', '-');
        return Matrix.test(name, () -> body.run(topic));
    }

    private TopicDescription describe(String topic) throws Exception {
        return Topics.describe(world.admin, topic);
    }

    /** Runs what must fail with an error of the class. */
    static void fails(Class<? extends Exception> want, Matrix.Check body) throws Exception {
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

    /** The topic as something that has settings. */
    static ConfigResource topic(String name) {
        return new ConfigResource(ConfigResource.Type.TOPIC, name);
    }

    /** The broker as something that has settings. */
    private ConfigResource broker() throws Exception {
        Node node = world.admin.describeCluster().controller().get(20, TimeUnit.SECONDS);
        return new ConfigResource(ConfigResource.Type.BROKER, node.idString());
    }

    /** Shows a setting, in a moment where the broker is Apache Kafka. */
    void has(ConfigResource of, String name, String value, boolean isDefault) throws Exception {
        world.settled(
                () -> {
                    ConfigEntry seen = config(of).get(name);
                    boolean ok = value.equals(seen.value()) && seen.isDefault() == isDefault;
                    check(ok, "%s, due is %s, default %s", seen, value, isDefault);
                });
    }

    private Config config(ConfigResource resource) throws Exception {
        return world.admin
                .describeConfigs(List.of(resource))
                .all()
                .get(20, TimeUnit.SECONDS)
                .get(resource);
    }

    private void configs(String topic) throws Exception {
        world.create(topic, 1, Map.of("retention.ms", "3600000"));
        Config seen = config(topic(topic));
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
        Config broker = config(broker());
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
        Topics.checkNewerOffsets(world.admin, topic, base);
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
        checkOutOfRange(world, topic, 1_000);
    }

    /** A read from the offset ends with the error. */
    static void checkOutOfRange(World world, String topic, long offset) {
        try {
            world.read(topic, 0, offset, 1, Duration.ofSeconds(10));
        } catch (OffsetOutOfRangeException e) {
            return;
        }
        check(false, "offset %d: no error", offset);
    }

    private void tooLarge(String topic) throws Exception {
        world.create(topic, 1, Map.of("max.message.bytes", "20000"));
        limitHolds(topic);
    }

    /**
     * Records from the future are read when their time has come, and not before: with every codec
     * and whatever acknowledgement is asked for; some ask by a header.
     */
    private void delayed(String topic) throws Exception {
        if (world.settle) { // Apache Kafka has no delays
            return;
        }
        world.create(topic, 1, Map.of("delay.mode", "both"));
        List<Sent> sent = new ArrayList<>();
        List<Long> dues = new ArrayList<>();
        long due = 0;
        for (String codec : Api.CODECS) {
            for (String mode : Matrix.MODES) {
                long now = System.currentTimeMillis();
                // Each a moment after the last one, so that their order is known.
                due = Math.max(now + DELAY_MS, due + 1);
                byte[] value = Sent.utf8(codec + " " + mode);
                boolean asks = sent.size() % 4 == 3;
                List<Header> headers =
                        asks
                                ? List.of(new RecordHeader("delay-until", Sent.utf8("" + due)))
                                : List.of();
                sent.add(new Sent(0, asks ? now : due, Sent.utf8("k"), value, headers));
                dues.add(due);
                List<Sent> last = sent.subList(sent.size() - 1, sent.size());
                long at = world.produce(topic, last, codec, mode).get(0).offset();
                boolean early = at >= 0 && !mode.equals("acks=0") && left(due) > 0;
                check(!early, "%s %s: acked at %d, %d ms early", codec, mode, at, left(due));
            }
        }
        boolean all = world.end(topic, 0) == sent.size();
        check(!all || left(due) <= 0, "the log ended %d ms early", left(due));
        for (int at = 0; at < dues.size(); at++) {
            long asked = System.currentTimeMillis();
            world.expect(topic, 0, at, sent.subList(at, at + 1));
            long after = -left(dues.get(at));
            check(after >= 0, "%d was read %d ms before it was due", at, -after);
            check(-left(Math.max(asked, dues.get(at))) <= LATE_MS, "%d: %d ms late", at, after);
        }
        world.expect(topic, 0, 0, sent);
        check(world.end(topic, 0) == sent.size(), "more than was sent");
    }

    /** Milliseconds until then. */
    static long left(long due) {
        return due - System.currentTimeMillis();
    }

    private void send(String topic, int size) throws Exception {
        List<Sent> sent = List.of(Sent.of(0, System.currentTimeMillis(), "x".repeat(size)));
        world.produce(topic, sent, "none", "acks=all");
    }

    /** A limit of 20,000 bytes refuses 30,000 and takes less. */
    void limitHolds(String topic) throws Exception {
        fails(RecordTooLargeException.class, () -> send(topic, 30_000));
        send(topic, 1);
    }

    /** What DescribeLogDirs must tell of a topic. */
    interface Sizes {
        Map<Integer, Long> get() throws Exception;
    }

    void logDirs(String topic, Sizes sizes) throws Exception {
        world.create(topic, 2, Map.of());
        List<Sent> sent = List.of(Sent.of(1, System.currentTimeMillis(), "x".repeat(5_000)));
        world.produce(topic, sent, "none", "acks=all");
        Map<Integer, Long> seen = sizes.get();
        check(seen.keySet().equals(Set.of(0, 1)), "partitions %s", seen);
        check(seen.get(0) == 0 && seen.get(1) > 5_000 && seen.get(1) < 5_200, "bytes %s", seen);
    }

    /** A setting of the broker is the default of topics, from the answer on. */
    private void alterBroker(String topic) throws Exception {
        Part.Alter way = null; // the newest that is offered
        for (Part part : Part.offered()) {
            way = part instanceof Part.Alter found ? found : way;
        }
        Part.Alter alter = way;
        world.create(topic, 1, Map.of());
        ConfigResource broker = broker();
        alter.alter(world.admin, broker, Map.of("message.max.bytes", "20000"));
        world.settled(() -> limitHolds(topic));
        for (Map<String, String> bad :
                List.of(Map.of("message.max.bytes", "many"), Map.of("log.dirs", "/elsewhere"))) {
            fails(
                    InvalidRequestException.class,
                    () -> alter.alter(world.admin, broker, bad));
        }
        has(broker, "message.max.bytes", "20000", false);
        has(topic(topic), "max.message.bytes", "20000", false);
        Map<String, String> back = new HashMap<>();
        back.put("message.max.bytes", null);
        alter.alter(world.admin, broker, back);
        has(topic(topic), "max.message.bytes", "1048588", true);
        world.settled(() -> send(topic, 30_000));
    }
}
