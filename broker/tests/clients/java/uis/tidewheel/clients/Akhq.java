package tidewheel.clients;

import static tidewheel.clients.Uis.get;
import static tidewheel.clients.Uis.page;
import static tidewheel.clients.Uis.refused;
import static tidewheel.clients.Uis.sorted;
import static tidewheel.clients.World.check;

import org.apache.kafka.clients.admin.AdminClient;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ListTopicsOptions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.admin.TopicListing;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.ConsumerGroupState;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.acl.AccessControlEntryFilter;
import org.apache.kafka.common.acl.AclBindingFilter;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.SecurityDisabledException;
import org.apache.kafka.common.resource.ResourcePatternFilter;

import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.stream.Collectors;

/**
 * AKHQ, with kafka-clients 3.x: it replaces all settings at once, which 4.0 no longer offers. Where
 * the calls stand: src/main/java/org/akhq of https://github.com/tchiotludo/akhq,
 * modules/AbstractKafkaWrapper.java as of commit 09ca2665, and in repositories/ TopicRepository
 * (066bbcca), ConfigRepository (1652718d), ConsumerGroupRepository (0cc9edc6), RecordRepository
 * (02fb136d), LogDirRepository, AccessControlListRepository.
 */
final class Akhq {
    private final Stage stage;
    private final AdminClient admin;

    Akhq(Stage stage) {
        this.stage = stage;
        admin = stage.admin;
    }

    List<Main.Case> cases() {
        return List.of(
                page("akhq/nodes", this::nodes),
                page("akhq/topics", this::topics),
                page("akhq/topic-data", this::data),
                page("akhq/groups", this::groups),
                page("akhq/acls", this::acls),
                page("akhq/create-topic", this::create),
                page("akhq/topic-settings", this::alterTopic),
                page("akhq/node-settings", this::alterBroker),
                page("akhq/empty-topic", this::empty),
                page("akhq/update-offsets", this::updateOffsets),
                page("akhq/delete-group", this::deleteGroup),
                page("akhq/delete-topic", this::delete));
    }

    private Map<String, ConfigEntry> settings(ConfigResource.Type type, String name)
            throws Exception {
        ConfigResource of = new ConfigResource(type, name);
        Map<String, ConfigEntry> out = new HashMap<>();
        get(admin.describeConfigs(List.of(of)).all())
                .get(of)
                .entries()
                .forEach(entry -> out.put(entry.name(), entry));
        return out;
    }

    /** describeCluster, describeLogDir, and the settings of a node. */
    private void nodes() throws Exception {
        var cluster = admin.describeCluster();
        Collection<Node> nodes = get(cluster.nodes());
        check(nodes.contains(get(cluster.controller())), "the controller is no node");
        check(!get(cluster.clusterId()).isEmpty(), "no cluster id");
        List<Integer> ids = nodes.stream().map(Node::id).toList();
        var dirs = get(admin.describeLogDirs(ids).allDescriptions());
        check(dirs.keySet().equals(new HashSet<>(ids)), "log dirs of %s", dirs.keySet());
        // models/LogDir shows the topic, partition, size and lag of each replica.
        long bytes =
                dirs.values().stream()
                        .flatMap(byPath -> byPath.values().stream())
                        .flatMap(dir -> dir.replicaInfos().entrySet().stream())
                        .filter(replica -> replica.getKey().topic().equals(Stage.ORDERS))
                        .mapToLong(replica -> replica.getValue().size())
                        .sum();
        check(bytes > 0, "no sizes: %s", dirs);
        var seen = settings(ConfigResource.Type.BROKER, ids.get(0).toString());
        // controllers/NodeController shows the source of each by its name.
        check(seen.values().stream().noneMatch(e -> e.source() == null), "no source: %s", seen);
    }

    private TopicDescription describe(String topic) throws Exception {
        return get(admin.describeTopics(List.of(topic)).allTopicNames()).get(topic);
    }

    /** listTopics, describeTopics of all in one call, and both ends by a consumer. */
    private void topics() throws Exception {
        var listed = get(admin.listTopics(new ListTopicsOptions().listInternal(true)).listings());
        List<String> names = sorted(listed.stream().map(TopicListing::name).toList());
        check(names.containsAll(Stage.TOPICS), "topics %s", names);
        var described = get(admin.describeTopics(names).allTopicNames());
        check(described.size() == names.size(), "described %s", described.keySet());
        List<TopicPartition> partitions = new ArrayList<>();
        for (TopicDescription topic : described.values()) {
            for (var partition : topic.partitions()) {
                check(partition.leader() != null, "%s has no leader", partition);
                partitions.add(new TopicPartition(topic.name(), partition.partition()));
            }
        }
        try (KafkaConsumer<byte[], byte[]> consumer = stage.consumer(Map.of())) {
            var begins = consumer.beginningOffsets(partitions);
            var ends = consumer.endOffsets(partitions);
            check(begins.size() == partitions.size(), "begins of %s", begins.keySet());
            check(ends.size() == partitions.size(), "ends of %s", ends.keySet());
        }
        var unlisted = get(admin.listTopics(new ListTopicsOptions()).names());
        check(unlisted.equals(new HashSet<>(Stage.TOPICS)), "internal ones too: %s", unlisted);
    }

    /** getLastRecord, consumeOldest, consumeNewest, getOffsetForTime. */
    private void data() throws Exception {
        List<TopicPartition> all = Stage.partitions();
        Map<String, Object> few = Map.of("max.poll.records", all.size() * 3);
        try (KafkaConsumer<byte[], byte[]> consumer = stage.consumer(few)) {
            consumer.assign(all);
            consumer.endOffsets(consumer.assignment())
                    .forEach((at, end) -> consumer.seek(at, Math.max(0, end - 2)));
            Stage.poll(consumer, 2 * all.size());
            long time = stage.baseMs + 5_000;
            var found =
                    consumer.offsetsForTimes(
                            all.stream().collect(Collectors.toMap(at -> at, at -> time)));
            found.forEach((at, offset) -> check(offset.offset() == 5, "%s: %s", at, offset));
            var later =
                    consumer.offsetsForTimes(
                            Map.of(all.get(0), System.currentTimeMillis() + 86_400_000));
            check(later.get(all.get(0)) == null, "%s", later);
            all.forEach(at -> consumer.seek(at, 0));
            Stage.poll(consumer, Stage.RECORDS * all.size());
        }
    }

    /** listConsumerGroups, describeConsumerGroups of all, the offsets of each, the ends of topics. */
    private void groups() throws Exception {
        List<String> ids =
                sorted(get(admin.listConsumerGroups().all()).stream().map(g -> g.groupId()).toList());
        check(ids.equals(sorted(Stage.CLOSED, Stage.READING)), "groups %s", ids);
        var described = get(admin.describeConsumerGroups(ids).all());
        var reading = described.get(Stage.READING);
        check(reading.state() == ConsumerGroupState.STABLE, "%s", reading);
        check(reading.members().iterator().next().assignment() != null, "%s", reading);
        for (String id : ids) {
            var offsets = get(admin.listConsumerGroupOffsets(id).partitionsToOffsetAndMetadata());
            check(offsets.keySet().equals(new HashSet<>(Stage.partitions())), "%s", offsets);
            // models/ConsumerGroup takes the offset of each without a look.
            check(offsets.values().stream().noneMatch(o -> o == null), "%s", offsets);
            lag(offsets, id.equals(Stage.CLOSED) ? Stage.RECORDS - Stage.COMMITTED : 0);
        }
    }

    /** Behind the ends of the partitions, in which records are pending that do not count. */
    private void lag(Map<TopicPartition, OffsetAndMetadata> committed, long due) {
        try (KafkaConsumer<byte[], byte[]> consumer = stage.consumer(Map.of())) {
            consumer.endOffsets(committed.keySet())
                    .forEach(
                            (at, end) -> {
                                long lag = end - committed.get(at).offset();
                                check(lag == due, "%s is %d behind, due is %d", at, lag, due);
                            });
        }
    }

    private void acls() throws Exception {
        AclBindingFilter all =
                new AclBindingFilter(ResourcePatternFilter.ANY, AccessControlEntryFilter.ANY);
        refused(admin.describeAcls(all).values(), List.of(SecurityDisabledException.class));
    }

    /** ConfigRepository.update: what was set dynamically and what is new, in place of all settings. */
    @SuppressWarnings("deprecation") // this is what it calls
    private void update(ConfigResource.Type type, String name, Map<String, String> configs)
            throws Exception {
        List<ConfigEntry> entries = new ArrayList<>();
        settings(type, name).values().stream()
                .filter(entry -> entry.source().name().startsWith("DYNAMIC_"))
                .forEach(entry -> entries.add(new ConfigEntry(entry.name(), entry.value())));
        configs.forEach((key, value) -> entries.add(new ConfigEntry(key, value)));
        ConfigResource of = new ConfigResource(type, name);
        get(admin.alterConfigs(Map.of(of, new Config(entries))).all());
    }

    private void create() throws Exception {
        get(admin.createTopics(Set.of(new NewTopic("made", 2, (short) 1))).all());
        // checkIfTopicExists tries again after 3 s where it is not there yet; here it is.
        check(describe("made").partitions().size() == 2, "partitions");
        update(ConfigResource.Type.TOPIC, "made", Map.of("retention.ms", "5000000"));
        check(topicSetting("made", "retention.ms").equals("5000000"), "not set");
    }

    private String topicSetting(String topic, String name) throws Exception {
        return settings(ConfigResource.Type.TOPIC, topic).get(name).value();
    }

    private void alterTopic() throws Exception {
        update(ConfigResource.Type.TOPIC, "made", Map.of("max.message.bytes", "9999"));
        check(topicSetting("made", "retention.ms").equals("5000000"), "what was set is gone");
        update(ConfigResource.Type.TOPIC, "made", Map.of("retention.ms", "6000000"));
        check(topicSetting("made", "retention.ms").equals("6000000"), "not altered");
        check(topicSetting("made", "max.message.bytes").equals("9999"), "the other one is gone");
    }

    private void alterBroker() throws Exception {
        ConfigResource.Type type = ConfigResource.Type.BROKER;
        String id = Integer.toString(get(admin.describeCluster().controller()).id());
        String before = settings(type, id).get("log.retention.ms").value();
        update(type, id, Map.of("message.max.bytes", "2000000"));
        ConfigEntry now = settings(type, id).get("message.max.bytes");
        check(now.value().equals("2000000") && !now.isDefault(), "%s", now);
        String other = settings(type, id).get("log.retention.ms").value();
        check(Objects.equals(before, other), "%s was %s", other, before);
    }

    /** RecordRepository.emptyTopic: everything up to the end of each partition. */
    private void empty() throws Exception {
        Map<TopicPartition, RecordsToDelete> all = new HashMap<>();
        try (KafkaConsumer<byte[], byte[]> consumer = stage.consumer(Map.of())) {
            consumer.endOffsets(List.of(new TopicPartition("made", 0)))
                    .forEach((at, end) -> all.put(at, RecordsToDelete.beforeOffset(end)));
        }
        for (var deleted : admin.deleteRecords(all).lowWatermarks().values()) {
            check(get(deleted).lowWatermark() == 0, "%s", get(deleted));
        }
    }

    /** updateOffsets: a consumer that names the group and subscribes to nothing. */
    private void updateOffsets() throws Exception {
        TopicPartition at = Stage.partitions().get(1);
        try (KafkaConsumer<byte[], byte[]> consumer =
                stage.consumer(Map.of("group.id", Stage.CLOSED))) {
            consumer.commitSync(Map.of(at, new OffsetAndMetadata(7)));
        }
        var offsets =
                get(admin.listConsumerGroupOffsets(Stage.CLOSED).partitionsToOffsetAndMetadata());
        check(offsets.get(at).offset() == 7, "%s", offsets);
    }

    private void deleteGroup() throws Exception {
        Set<TopicPartition> all = new HashSet<>(Stage.partitions());
        get(admin.deleteConsumerGroupOffsets(Stage.CLOSED, all).all());
        TopicPartition at = Stage.partitions().get(0);
        Map<TopicPartition, OffsetAndMetadata> one = Map.of(at, new OffsetAndMetadata(1));
        try (KafkaConsumer<byte[], byte[]> consumer =
                stage.consumer(Map.of("group.id", "brief"))) {
            consumer.commitSync(one);
        }
        get(admin.deleteConsumerGroups(Set.of("brief")).all());
    }

    private void delete() throws Exception {
        get(admin.deleteTopics(Set.of("made")).all());
        var left = get(admin.listTopics().names());
        check(left.equals(new HashSet<>(Stage.TOPICS)), "left is %s", left);
    }
}
