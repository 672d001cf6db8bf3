package tidewheel.clients;

import static tidewheel.clients.Uis.get;
import static tidewheel.clients.Uis.page;
import static tidewheel.clients.Uis.refused;
import static tidewheel.clients.World.check;

import org.apache.kafka.clients.admin.AdminClient;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ConfigEntry.ConfigSource;
import org.apache.kafka.clients.admin.ListConsumerGroupOffsetsSpec;
import org.apache.kafka.clients.admin.NewPartitionReassignment;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.ConsumerGroupState;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.GroupIdNotFoundException;
import org.apache.kafka.common.errors.GroupNotEmptyException;
import org.apache.kafka.common.errors.GroupSubscribedToTopicException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.kafka.common.errors.UnsupportedVersionException;

import java.time.Duration;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/**
 * The pages of kafka-ui, see {@link KafkaUi}.
 *
 * <ul>
 *   <li>service/TopicsService.java: the list, a topic, what is done to it
 *   <li>service/ConsumerGroupService.java, OffsetsResetService.java: groups
 *   <li>emitter/ForwardEmitter.java, BackwardEmitter.java, OffsetsInfo.java, SeekOperations.java,
 *       TailingEmitter.java: messages
 * </ul>
 */
final class KafkaUiPages {
    private static final ConfigResource.Type TOPIC = ConfigResource.Type.TOPIC;
    private final Stage stage;
    private final AdminClient admin;

    KafkaUiPages(Stage stage) {
        this.stage = stage;
        admin = stage.admin;
    }

    List<Main.Case> cases() {
        return List.of(
                page("kafka-ui/topic", this::topic),
                page("kafka-ui/create-topic", this::create),
                page("kafka-ui/topic-settings", this::alter),
                page("kafka-ui/recreate-topic", this::recreate),
                page("kafka-ui/messages", this::messages),
                page("kafka-ui/purge", this::purge),
                page("kafka-ui/reset-offsets", this::resetOffsets),
                page("kafka-ui/delete-group", this::deleteGroup),
                page("kafka-ui/delete-topic", this::delete));
    }

    /** listOffsets of both ends, skipping nothing. */
    void checkOffsets(Collection<TopicPartition> of) throws Exception {
        Map<TopicPartition, Long> ends = KafkaUi.offsets(admin, of, OffsetSpec.latest());
        Map<TopicPartition, Long> starts = KafkaUi.offsets(admin, of, OffsetSpec.earliest());
        for (TopicPartition at : Stage.partitions()) {
            check(starts.get(at) == 0, "%s starts at %s", at, starts.get(at));
            check(ends.get(at) == Stage.RECORDS, "%s ends at %s", at, ends.get(at));
        }
    }

    /** describeConsumerGroups and listConsumerGroupOffsets of many groups in one call. */
    void checkGroups(List<String> ids) throws Exception {
        var described = get(admin.describeConsumerGroups(ids).all());
        var reading = described.get(Stage.READING);
        check(reading.state() == ConsumerGroupState.STABLE, "%s", reading);
        check(reading.members().size() == 1, "%s", reading);
        var member = reading.members().iterator().next();
        check(member.clientId().equals("reader-1"), "%s", member);
        check(!member.host().isEmpty(), "%s", member);
        Set<TopicPartition> all = new HashSet<>(Stage.partitions());
        check(member.assignment().topicPartitions().equals(all), "%s", member);
        check(reading.coordinator() != null, "%s", reading);
        var closed = described.get(Stage.CLOSED);
        check(closed.state() == ConsumerGroupState.EMPTY, "%s", closed);
        var offsets =
                get(
                        admin.listConsumerGroupOffsets(
                                        ids.stream()
                                                .collect(
                                                        Collectors.toMap(
                                                                id -> id,
                                                                id ->
                                                                        new ListConsumerGroupOffsetsSpec()
                                                                                .topicPartitions(
                                                                                        null))))
                                .all());
        for (TopicPartition at : all) {
            long read = offsets.get(Stage.READING).get(at).offset();
            long left = offsets.get(Stage.CLOSED).get(at).offset();
            check(read == Stage.RECORDS && left == Stage.COMMITTED, "%s: %d, %d", at, read, left);
        }
    }

    private Map<String, ConfigEntry> settings(String topic) throws Exception {
        return KafkaUi.settings(admin, TOPIC, topic, false);
    }

    private TopicDescription describe(String topic) throws Exception {
        return get(admin.describeTopics(List.of(topic)).topicNameValues().get(topic));
    }

    /** loadTopic, getTopicConfigs with documentation, getActiveProducersState. */
    private void topic() throws Exception {
        check(describe(Stage.ORDERS).partitions().size() == Stage.PARTITIONS, "partitions");
        Map<String, ConfigEntry> seen = KafkaUi.settings(admin, TOPIC, Stage.ORDERS, true);
        ConfigEntry set = seen.get("retention.ms");
        check(set.source() == ConfigSource.DYNAMIC_TOPIC_CONFIG, "%s", set);
        check(!set.synonyms().isEmpty(), "no synonyms: %s", set);
        for (ConfigEntry entry : seen.values()) {
            String words = entry.documentation();
            check(words != null && !words.isEmpty(), "nothing is said of %s", entry);
        }
        var producers = get(admin.describeProducers(Stage.partitions()).all());
        for (TopicPartition at : Stage.partitions()) {
            check(!producers.get(at).activeProducers().isEmpty(), "no producer of %s", at);
        }
        checkOffsets(Stage.partitions());
        UnknownTopicOrPartitionException none = new UnknownTopicOrPartitionException();
        refused(
                admin.describeTopics(List.of("none")).topicNameValues().get("none"),
                List.of(none.getClass()));
    }

    private void createTopic(String name, int partitions, Map<String, String> configs)
            throws Exception {
        NewTopic wanted = new NewTopic(name, Optional.of(partitions), Optional.empty());
        get(admin.createTopics(List.of(wanted.configs(configs))).all());
        // loadTopicAfterCreation tries again where it is not there yet; here it is.
        check(describe(name).partitions().size() == partitions, "not as it was wanted");
    }

    /** createTopic without a replication factor, increaseTopicPartitions, changeReplicationFactor. */
    private void create() throws Exception {
        createTopic("made", 2, Map.of("cleanup.policy", "delete"));
        get(admin.createPartitions(Map.of("made", NewPartitions.increaseTo(4))).all());
        check(describe("made").partitions().size() == 4, "it has not grown");
        TopicPartition at = new TopicPartition("made", 0);
        int node = get(admin.describeCluster().controller()).id();
        Optional<NewPartitionReassignment> same =
                Optional.of(new NewPartitionReassignment(List.of(node)));
        refused(
                admin.alterPartitionReassignments(Map.of(at, same)).all(),
                List.of(UnsupportedVersionException.class));
    }

    /** incrementalAlterConfig: what was set and is not wanted any more is deleted, with its value. */
    private void alter() throws Exception {
        createTopic("altered", 1, Map.of("retention.ms", "5000000", "segment.bytes", "1048576"));
        Map<String, String> wanted = Map.of("retention.ms", "6000000", "max.message.bytes", "9999");
        var deletions =
                settings("altered").values().stream()
                        .filter(e -> e.source() == ConfigSource.DYNAMIC_TOPIC_CONFIG)
                        .filter(e -> !wanted.containsKey(e.name()))
                        .map(e -> new AlterConfigOp(e, AlterConfigOp.OpType.DELETE));
        var changes =
                wanted.entrySet().stream()
                        .map(e -> new ConfigEntry(e.getKey(), e.getValue()))
                        .map(e -> new AlterConfigOp(e, AlterConfigOp.OpType.SET));
        ConfigResource of = new ConfigResource(TOPIC, "altered");
        List<AlterConfigOp> ops = Stream.concat(deletions, changes).toList();
        check(ops.size() == 3, "%s", ops);
        get(admin.incrementalAlterConfigs(Map.of(of, ops)).all());
        Map<String, String> set = new HashMap<>();
        settings("altered").values().stream()
                .filter(e -> e.source() == ConfigSource.DYNAMIC_TOPIC_CONFIG)
                .forEach(e -> set.put(e.name(), e.value()));
        check(set.equals(wanted), "set is %s", set);
    }

    /** recreateTopic and cloneTopic: made anew with every setting that was described, also defaults. */
    private void recreate() throws Exception {
        createTopic("again", 2, Map.of("retention.ms", "7000000"));
        Map<String, String> all = new HashMap<>();
        for (ConfigEntry entry : settings("again").values()) {
            check(entry.value() != null, "no value of %s, of which none can be made", entry);
            all.put(entry.name(), entry.value());
        }
        get(admin.deleteTopics(List.of("again")).all());
        createTopic("again", 2, all);
        for (Map.Entry<String, String> was : all.entrySet()) {
            String now = settings("again").get(was.getKey()).value();
            check(now.equals(was.getValue()), "%s is %s now", was, now);
        }
        createTopic("clone", 2, all);
    }

    /** From the beginning, backwards, from a time, and what comes while the page is open. */
    private void messages() throws Exception {
        List<TopicPartition> all = Stage.partitions();
        try (KafkaConsumer<byte[], byte[]> consumer = stage.consumer(Map.of())) {
            check(consumer.partitionsFor(Stage.ORDERS).size() == all.size(), "partitions");
            consumer.assign(all);
            Map<TopicPartition, Long> starts = consumer.beginningOffsets(all);
            Map<TopicPartition, Long> ends = consumer.endOffsets(all);
            starts.forEach(consumer::seek);
            Stage.poll(consumer, Stage.RECORDS * all.size()).forEach(KafkaUiPages::checkRecord);
            for (TopicPartition at : all) {
                consumer.seek(at, ends.get(at) - 3);
            }
            Stage.poll(consumer, 3 * all.size());
            long time = stage.baseMs + 7_500;
            var found =
                    consumer.offsetsForTimes(
                            all.stream().collect(Collectors.toMap(at -> at, at -> time)));
            for (TopicPartition at : all) {
                check(found.get(at).offset() == 8, "%s at the time: %s", at, found.get(at));
                consumer.seek(at, found.get(at).offset());
            }
            Stage.poll(consumer, 2 * all.size());
            consumer.seekToEnd(all);
            check(consumer.poll(Duration.ofMillis(300)).isEmpty(), "records behind the end");
        }
    }

    private static void checkRecord(ConsumerRecord<byte[], byte[]> record) {
        check(new String(record.key()).equals("k" + record.offset()), "%s", record);
        check(record.headers().lastHeader("h").value().length == 1, "%s", record);
    }

    /** MessagesService.deleteTopicMessages: up to the end of each partition. */
    private void purge() throws Exception {
        List<TopicPartition> made = List.of(new TopicPartition("made", 0));
        Map<TopicPartition, Long> ends = KafkaUi.offsets(admin, made, OffsetSpec.latest());
        Map<TopicPartition, RecordsToDelete> all = new HashMap<>();
        ends.forEach((at, end) -> all.put(at, RecordsToDelete.beforeOffset(end)));
        get(admin.deleteRecords(all).all());
    }

    /** OffsetsResetService: only of a group that is empty; then lag by the committed offsets. */
    private void resetOffsets() throws Exception {
        var group = get(admin.describeConsumerGroups(List.of(Stage.CLOSED)).all());
        check(group.get(Stage.CLOSED).state() == ConsumerGroupState.EMPTY, "%s", group);
        Map<TopicPartition, OffsetAndMetadata> wanted = new HashMap<>();
        KafkaUi.offsets(admin, Stage.partitions(), OffsetSpec.forTimestamp(stage.baseMs + 2_000))
                .forEach((at, offset) -> wanted.put(at, new OffsetAndMetadata(offset)));
        get(admin.alterConsumerGroupOffsets(Stage.CLOSED, wanted).all());
        var now =
                get(
                        admin.listConsumerGroupOffsets(Stage.CLOSED)
                                .partitionsToOffsetAndMetadata());
        for (TopicPartition at : Stage.partitions()) {
            check(now.get(at).offset() == 2, "%s is at %s", at, now.get(at));
        }
        Set<TopicPartition> all = new HashSet<>(Stage.partitions());
        refused(
                admin.deleteConsumerGroupOffsets(Stage.READING, all).all(),
                List.of(GroupSubscribedToTopicException.class));
        get(admin.deleteConsumerGroupOffsets(Stage.CLOSED, all).all());
        var left =
                get(
                        admin.listConsumerGroupOffsets(Stage.CLOSED)
                                .partitionsToOffsetAndMetadata());
        check(left.values().stream().noneMatch(o -> o != null), "left is %s", left);
    }

    /** deleteConsumerGroups: two kinds of refusals have words of their own. */
    private void deleteGroup() throws Exception {
        refused(
                admin.deleteConsumerGroups(List.of(Stage.READING)).all(),
                List.of(GroupNotEmptyException.class));
        refused(
                admin.deleteConsumerGroups(List.of("none")).all(),
                List.of(GroupIdNotFoundException.class));
        Map<TopicPartition, OffsetAndMetadata> one =
                Map.of(Stage.partitions().get(0), new OffsetAndMetadata(1));
        get(admin.alterConsumerGroupOffsets("brief", one).all());
        get(admin.deleteConsumerGroups(List.of("brief")).all());
        var left = get(admin.listConsumerGroups().all());
        check(left.stream().noneMatch(g -> g.groupId().equals("brief")), "left is %s", left);
    }

    private void delete() throws Exception {
        for (String topic : List.of("made", "altered", "again", "clone")) {
            get(admin.deleteTopics(List.of(topic)).all());
        }
        var left = get(admin.listTopics().names());
        check(left.equals(new HashSet<>(Stage.TOPICS)), "left is %s", left);
    }
}
