package tidewheel.clients;

import static tidewheel.clients.Uis.get;
import static tidewheel.clients.Uis.page;
import static tidewheel.clients.Uis.refused;
import static tidewheel.clients.Uis.sorted;
import static tidewheel.clients.World.check;

import org.apache.kafka.clients.admin.AdminClient;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ConfigEntry.ConfigSource;
import org.apache.kafka.clients.admin.DescribeClusterOptions;
import org.apache.kafka.clients.admin.DescribeClusterResult;
import org.apache.kafka.clients.admin.DescribeConfigsOptions;
import org.apache.kafka.clients.admin.FinalizedVersionRange;
import org.apache.kafka.clients.admin.ListTopicsOptions;
import org.apache.kafka.clients.admin.LogDirDescription;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.ScramMechanism;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.admin.UserScramCredentialDeletion;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.TopicPartitionReplica;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclBindingFilter;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.InvalidRequestException;
import org.apache.kafka.common.errors.SecurityDisabledException;
import org.apache.kafka.common.errors.UnsupportedVersionException;
import org.apache.kafka.common.quota.ClientQuotaAlteration;
import org.apache.kafka.common.quota.ClientQuotaEntity;
import org.apache.kafka.common.quota.ClientQuotaFilter;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourceType;

import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.stream.Collectors;

/**
 * kafka-ui of kafbat, with kafka-clients 3.9. Where the calls stand: api/src/main/java/io/kafbat/ui
 * of https://github.com/kafbat/kafka-ui, ReactiveAdminClient as of commit 34a30a1e, the others as
 * of 0fe3b41b.
 *
 * <ul>
 *   <li>service/ReactiveAdminClient.java: all calls of the admin client
 *   <li>service/FeatureService.java, StatisticsService.java, metrics/scrape/ScrapedClusterState.java:
 *       at the start and every 30 seconds
 *   <li>the pages: {@link KafkaUiPages}
 * </ul>
 */
final class KafkaUi {
    /** util/MetadataVersion.java: levels of `metadata.version` that it knows a release for. */
    private static final int METADATA_VERSION_MAX = 30;

    private final AdminClient admin;
    private final KafkaUiPages pages;

    KafkaUi(Stage stage) {
        admin = stage.admin;
        pages = new KafkaUiPages(stage);
    }

    List<Main.Case> cases() {
        List<Main.Case> out =
                new ArrayList<>(
                        List.of(
                                page("kafka-ui/version", this::version),
                                page("kafka-ui/features", this::features),
                                page("kafka-ui/not-offered", this::notOffered),
                                page("kafka-ui/statistics", this::statistics),
                                page("kafka-ui/brokers", this::brokers)));
        out.addAll(pages.cases());
        return out;
    }

    static Map<String, ConfigEntry> settings(
            AdminClient admin, ConfigResource.Type type, String name, boolean documented)
            throws Exception {
        ConfigResource of = new ConfigResource(type, name);
        DescribeConfigsOptions options =
                new DescribeConfigsOptions()
                        .includeSynonyms(true)
                        .includeDocumentation(documented);
        Map<String, ConfigEntry> out = new HashMap<>();
        get(admin.describeConfigs(List.of(of), options).values().get(of))
                .entries()
                .forEach(entry -> out.put(entry.name(), entry));
        return out;
    }

    /**
     * ConfigRelatedInfo.extract: settings of the controller, without options, and features. Without
     * a version of 2.3 and later it replaces all settings of a topic; from 2.6 on it asks for
     * documentation and quotas.
     */
    private void version() throws Exception {
        DescribeClusterResult cluster =
                admin.describeCluster(
                        new DescribeClusterOptions().includeAuthorizedOperations(false));
        Node controller = get(cluster.controller());
        check(controller != null && !controller.isEmpty(), "no controller");
        check(!get(cluster.clusterId()).isEmpty(), "no cluster id");
        check(get(cluster.nodes()).contains(controller), "the controller is no node");
        check(get(cluster.authorizedOperations()) == null, "operations that were not asked for");
        ConfigResource of =
                new ConfigResource(ConfigResource.Type.BROKER, Integer.toString(controller.id()));
        Collection<ConfigEntry> entries =
                get(admin.describeConfigs(List.of(of)).all()).get(of).entries();
        Optional<String> named =
                entries.stream()
                        .filter(entry -> entry.name().contains("inter.broker.protocol.version"))
                        .map(ConfigEntry::value)
                        .findFirst();
        boolean canDelete =
                entries.stream()
                        .filter(entry -> entry.name().equals("delete.topic.enable"))
                        .allMatch(entry -> Boolean.parseBoolean(entry.value()));
        check(canDelete, "topics cannot be deleted");
        FinalizedVersionRange level =
                get(admin.describeFeatures().featureMetadata())
                        .finalizedFeatures()
                        .get("metadata.version");
        boolean known =
                level != null
                        && level.maxVersionLevel() >= 1
                        && level.maxVersionLevel() <= METADATA_VERSION_MAX;
        check(named.isPresent() || known, "no version: %s, %s", named, level);
    }

    /** isAuthorizedSecurityEnabled, FeatureService; and calls that it makes in spite of that. */
    private void features() throws Exception {
        List<Class<? extends Exception>> off =
                List.of(
                        SecurityDisabledException.class,
                        InvalidRequestException.class,
                        UnsupportedVersionException.class);
        refused(admin.describeAcls(AclBindingFilter.ANY).values(), off);
        refused(
                admin.describeClientQuotas(ClientQuotaFilter.all()).entities(),
                List.of(UnsupportedVersionException.class));
    }

    /**
     * What its pages of ACLs, quotas, brokers and KRaft ask of a broker that has these, and those of
     * Redpanda Console of users: refused at once, each on its own, and the connection serves on.
     * What is moved between brokers is a list, and empty.
     */
    private void notOffered() throws Exception {
        List<Class<? extends Exception>> none = List.of(UnsupportedVersionException.class);
        AclBinding everything =
                new AclBinding(
                        new ResourcePattern(ResourceType.TOPIC, "orders", PatternType.LITERAL),
                        new AccessControlEntry(
                                "User:ada", "*", AclOperation.READ, AclPermissionType.ALLOW));
        refused(admin.createAcls(List.of(everything)).all(), none);
        refused(admin.deleteAcls(List.of(AclBindingFilter.ANY)).all(), none);
        ClientQuotaEntity ada = new ClientQuotaEntity(Map.of(ClientQuotaEntity.USER, "ada"));
        var rate = new ClientQuotaAlteration.Op("producer_byte_rate", 1e6);
        var quota = new ClientQuotaAlteration(ada, List.of(rate));
        refused(admin.alterClientQuotas(List.of(quota)).all(), none);
        refused(admin.describeUserScramCredentials().all(), none);
        var user = new UserScramCredentialDeletion("ada", ScramMechanism.SCRAM_SHA_256);
        refused(admin.alterUserScramCredentials(List.of(user)).all(), none);
        refused(admin.describeMetadataQuorum().quorumInfo(), none);
        int node = get(admin.describeCluster().controller()).id();
        TopicPartitionReplica replica = new TopicPartitionReplica(Stage.ORDERS, 0, node);
        refused(admin.alterReplicaLogDirs(Map.of(replica, "/elsewhere")).all(), none);
        var moved = get(admin.listPartitionReassignments().reassignments());
        check(moved.isEmpty(), "moved %s", moved);
        check(!get(admin.describeCluster().nodes()).isEmpty(), "it does not serve on");
    }

    /** ScrapedClusterState.scrape: all of the cluster, in two rounds of calls at once. */
    private void statistics() throws Exception {
        DescribeClusterResult cluster =
                admin.describeCluster(
                        new DescribeClusterOptions().includeAuthorizedOperations(true));
        Collection<Node> nodes = get(cluster.nodes());
        get(cluster.authorizedOperations());
        var dirs = admin.describeLogDirs(nodes.stream().map(Node::id).toList()).allDescriptions();
        var groups = admin.listConsumerGroups().all();
        var names = admin.listTopics(new ListTopicsOptions().listInternal(true)).names();
        List<String> topics = sorted(get(names));
        check(topics.containsAll(Stage.TOPICS), "topics %s", topics);
        var described = admin.describeTopics(topics).topicNameValues();
        var resources =
                topics.stream()
                        .map(name -> new ConfigResource(ConfigResource.Type.TOPIC, name))
                        .toList();
        var configs =
                admin.describeConfigs(resources, new DescribeConfigsOptions().includeSynonyms(true))
                        .values();
        checkSizes(get(dirs), nodes.size());
        List<String> ids = sorted(get(groups).stream().map(g -> g.groupId()).toList());
        check(ids.equals(sorted(Stage.CLOSED, Stage.READING)), "groups %s", ids);
        List<TopicPartition> partitions = new ArrayList<>();
        for (String topic : topics) {
            check(!get(configs.get(resource(topic))).entries().isEmpty(), "nothing set: %s", topic);
            TopicDescription seen = get(described.get(topic));
            for (var partition : seen.partitions()) {
                check(partition.leader() != null, "%s has no leader", partition);
                check(partition.isr().equals(partition.replicas()), "not in sync: %s", partition);
                partitions.add(new TopicPartition(topic, partition.partition()));
            }
        }
        pages.checkOffsets(partitions);
        pages.checkGroups(ids);
    }

    private static ConfigResource resource(String topic) {
        return new ConfigResource(ConfigResource.Type.TOPIC, topic);
    }

    /** InternalLogDirStats: sizes of partitions, and how full the disks are. */
    private static void checkSizes(Map<Integer, Map<String, LogDirDescription>> dirs, int nodes) {
        check(dirs.size() == nodes, "log dirs %s", dirs);
        for (var byPath : dirs.values()) {
            for (LogDirDescription dir : byPath.values()) {
                check(dir.error() == null, "%s", dir);
                check(dir.totalBytes().orElse(0) > 0, "no size of the disk: %s", dir);
                check(dir.usableBytes().orElse(0) > 0, "no free space: %s", dir);
            }
            for (TopicPartition at : Stage.partitions()) {
                boolean sized =
                        byPath.values().stream()
                                .map(dir -> dir.replicaInfos().get(at))
                                .anyMatch(info -> info != null && info.size() > 0);
                check(sized, "no size of %s", at);
            }
        }
    }

    /** BrokerService: settings of a broker, one of them set and set back, and its disks. */
    private void brokers() throws Exception {
        String id = Integer.toString(get(admin.describeCluster().controller()).id());
        ConfigResource.Type type = ConfigResource.Type.BROKER;
        Map<String, ConfigEntry> seen = settings(admin, type, id, false);
        for (ConfigEntry entry : seen.values()) {
            check(entry.source() != ConfigSource.UNKNOWN, "whence is %s?", entry);
        }
        String name = "message.max.bytes";
        check(!seen.get(name).isReadOnly(), "%s can only be read", name);
        alterBroker(id, name, "2000000");
        ConfigEntry now = settings(admin, type, id, false).get(name);
        check(now.value().equals("2000000"), "%s", now);
        check(now.source() == ConfigSource.DYNAMIC_BROKER_CONFIG, "%s", now);
        alterBroker(id, name, seen.get(name).value());
    }

    private void alterBroker(String id, String name, String value) throws Exception {
        ConfigResource of = new ConfigResource(ConfigResource.Type.BROKER, id);
        AlterConfigOp op =
                new AlterConfigOp(new ConfigEntry(name, value), AlterConfigOp.OpType.SET);
        get(admin.incrementalAlterConfigs(Map.of(of, List.of(op))).all());
    }

    /** Offsets of partitions by one of the ways to name them, as listOffsetsUnsafe asks. */
    static Map<TopicPartition, Long> offsets(
            AdminClient admin, Collection<TopicPartition> of, OffsetSpec spec) throws Exception {
        var asked =
                admin.listOffsets(of.stream().collect(Collectors.toMap(at -> at, at -> spec)));
        Map<TopicPartition, Long> out = new HashMap<>();
        for (TopicPartition at : of) {
            out.put(at, get(asked.partitionResult(at)).offset());
        }
        return out;
    }
}
