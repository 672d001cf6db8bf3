package tidewheel.clients;

import static tidewheel.clients.Uis.get;
import static tidewheel.clients.Uis.page;
import static tidewheel.clients.Uis.refused;
import static tidewheel.clients.Uis.sorted;
import static tidewheel.clients.World.check;

import org.apache.kafka.clients.admin.AdminClient;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry.ConfigSource;
import org.apache.kafka.clients.admin.ConsumerGroupListing;
import org.apache.kafka.clients.admin.DeleteTopicsOptions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndTimestamp;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.PartitionInfo;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.acl.AccessControlEntryFilter;
import org.apache.kafka.common.acl.AclBindingFilter;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.SecurityDisabledException;
import org.apache.kafka.common.resource.ResourcePatternFilter;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;

/**
 * Kafdrop 4, with kafka-clients 3.9. Where the calls stand: src/main/java/kafdrop/service of
 * https://github.com/obsidiandynamics/kafdrop as of commit 00485432, KafkaHighLevelAdminClient.java,
 * KafkaHighLevelConsumer.java and KafkaMonitorImpl.java, which makes pages of them.
 */
final class Kafdrop {
    private final Stage stage;
    private final AdminClient admin;

    Kafdrop(Stage stage) {
        this.stage = stage;
        admin = stage.admin;
    }

    List<Main.Case> cases() {
        return List.of(
                page("kafdrop/cluster", this::cluster),
                page("kafdrop/topic", this::topic),
                page("kafdrop/messages", this::messages),
                page("kafdrop/search", this::search),
                page("kafdrop/consumer", this::group),
                page("kafdrop/acls", this::acls),
                page("kafdrop/create-topic", this::create),
                page("kafdrop/delete-topic", this::delete));
    }

    /** As KafkaHighLevelConsumer makes it: one consumer for all pages, without a group. */
    private KafkaConsumer<byte[], byte[]> consumer() {
        return stage.consumer(
                Map.of(
                        "client.id",
                        "kafdrop-consumer",
                        "max.poll.records",
                        100,
                        "isolation.level",
                        "read_committed"));
    }

    /** getBrokers, getTopics: metadata by the consumer, settings of all topics in one call. */
    private void cluster() throws Exception {
        var described = admin.describeCluster();
        Node controller = get(described.controller());
        for (Node node : get(described.nodes())) {
            check(!node.host().isEmpty() && node.port() > 0, "%s", node);
        }
        check(controller != null && !get(described.clusterId()).isEmpty(), "%s", controller);
        try (KafkaConsumer<byte[], byte[]> consumer = consumer()) {
            Map<String, List<PartitionInfo>> topics = consumer.listTopics();
            check(topics.keySet().containsAll(Stage.TOPICS), "topics %s", topics.keySet());
            for (List<PartitionInfo> partitions : topics.values()) {
                partitions.forEach(Kafdrop::checkReplicas);
            }
            Map<String, Config> configs = settings(topics.keySet());
            check(configs.keySet().equals(topics.keySet()), "settings of %s", configs.keySet());
        }
    }

    /** getTopicInfo: under-replicated is what lacks an ISR, and preferred is the first replica. */
    private static void checkReplicas(PartitionInfo partition) {
        check(partition.leader() != null, "%s", partition);
        check(partition.replicas().length == 1, "%s", partition);
        check(partition.inSyncReplicas().length == 1, "%s", partition);
        check(partition.offlineReplicas().length == 0, "%s", partition);
    }

    private Map<String, Config> settings(Iterable<String> topics) throws Exception {
        List<ConfigResource> of = new ArrayList<>();
        topics.forEach(topic -> of.add(new ConfigResource(ConfigResource.Type.TOPIC, topic)));
        Map<String, Config> out = new HashMap<>();
        get(admin.describeConfigs(of).all()).forEach((one, found) -> out.put(one.name(), found));
        return out;
    }

    /** getTopic: what is set on it, and both ends of partitions that the consumer is assigned. */
    private void topic() throws Exception {
        Map<String, String> set = new HashMap<>();
        settings(List.of(Stage.ORDERS)).get(Stage.ORDERS).entries().stream()
                .filter(e -> e.source() != ConfigSource.DEFAULT_CONFIG)
                .filter(e -> e.source() != ConfigSource.STATIC_BROKER_CONFIG)
                .forEach(e -> set.put(e.name(), e.value()));
        check(set.equals(Stage.SETTINGS), "set is %s", set);
        try (KafkaConsumer<byte[], byte[]> consumer = consumer()) {
            List<TopicPartition> all = Stage.partitions();
            consumer.assign(all);
            consumer.beginningOffsets(all).forEach((at, n) -> check(n == 0, "%s: %d", at, n));
            consumer.endOffsets(all).forEach((at, n) -> check(n == 10, "%s: %d", at, n));
        }
    }

    /** getLatestRecords, of one partition from an offset, and of all from near their ends. */
    private void messages() {
        try (KafkaConsumer<byte[], byte[]> consumer = consumer()) {
            TopicPartition one = Stage.partitions().get(0);
            consumer.assign(List.of(one));
            consumer.seek(one, 6);
            check(consumer.beginningOffsets(List.of(one)).get(one) == 0, "the beginning");
            check(consumer.endOffsets(List.of(one)).get(one) == Stage.RECORDS, "the end");
            Stage.poll(consumer, 4);
            List<TopicPartition> all =
                    consumer.partitionsFor(Stage.ORDERS).stream()
                            .map(info -> new TopicPartition(info.topic(), info.partition()))
                            .toList();
            consumer.assign(all);
            consumer.endOffsets(all).forEach((at, end) -> consumer.seek(at, end - 1 - 5));
            Stage.poll(consumer, 6 * all.size());
        }
    }

    /** searchRecords: from a time on in all partitions, to the end. */
    private void search() {
        try (KafkaConsumer<byte[], byte[]> consumer = consumer()) {
            List<TopicPartition> all = Stage.partitions();
            consumer.assign(all);
            long time = stage.baseMs + 2_000;
            Map<TopicPartition, OffsetAndTimestamp> found =
                    consumer.offsetsForTimes(
                            all.stream().collect(Collectors.toMap(at -> at, at -> time)));
            found.forEach((at, offset) -> consumer.seek(at, offset.offset()));
            Stage.poll(consumer, 8 * all.size());
        }
    }

    /** getConsumerOffsets: of every group that is listed as valid, one call each. */
    private void group() throws Exception {
        List<String> groups =
                sorted(
                        get(admin.listConsumerGroups().valid()).stream()
                                .map(ConsumerGroupListing::groupId)
                                .toList());
        check(groups.equals(sorted(Stage.CLOSED, Stage.READING)), "groups %s", groups);
        for (String group : groups) {
            var offsets =
                    get(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata());
            long due = group.equals(Stage.CLOSED) ? Stage.COMMITTED : Stage.RECORDS;
            for (TopicPartition at : Stage.partitions()) {
                check(offsets.get(at).offset() == due, "%s: %s", group, offsets);
            }
        }
    }

    /** listAcls: an empty page where security is off, and an error page for anything else. */
    private void acls() throws Exception {
        AclBindingFilter all =
                new AclBindingFilter(ResourcePatternFilter.ANY, AccessControlEntryFilter.ANY);
        refused(admin.describeAcls(all).values(), List.of(SecurityDisabledException.class));
    }

    private void create() throws Exception {
        get(admin.createTopics(List.of(new NewTopic("made", 2, (short) 1))).all());
        try (KafkaConsumer<byte[], byte[]> consumer = consumer()) {
            check(consumer.listTopics().get("made").size() == 2, "not as it was wanted");
        }
    }

    private void delete() throws Exception {
        DeleteTopicsOptions soon = new DeleteTopicsOptions();
        soon.timeoutMs(5_000);
        get(admin.deleteTopics(List.of("made"), soon).all());
        try (KafkaConsumer<byte[], byte[]> consumer = consumer()) {
            var left = new HashSet<>(consumer.listTopics().keySet());
            check(!left.contains("made"), "left is %s", left);
        }
    }
}
