package tidewheel.clients;

import static tidewheel.clients.World.check;

import org.apache.kafka.clients.admin.AdminClient;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ListOffsetsResult.ListOffsetsResultInfo;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.ConsumerGroupMetadata;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;

import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.TimeUnit;

/** What differs between generations of the client, as it is since 2.8. */
final class Api {
    static final List<String> CODECS = List.of("none", "gzip", "snappy", "lz4", "zstd");

    /** Listeners are told partitions that are lost from those that are given up. */
    static final boolean TELLS_LOST = true;

    private Api() {}

    static ConsumerRecords<byte[], byte[]> poll(KafkaConsumer<byte[], byte[]> from, long ms) {
        return from.poll(Duration.ofMillis(ms));
    }

    static OffsetAndMetadata committed(KafkaConsumer<byte[], byte[]> of, TopicPartition at) {
        return of.committed(Set.of(at)).get(at);
    }

    static String generationAndMember(KafkaConsumer<?, ?> of) {
        ConsumerGroupMetadata own = of.groupMetadata();
        return own.generationId() + " " + own.memberId();
    }

    static String topicId(TopicDescription topic) {
        return topic.topicId().toString();
    }

    static void checkSetByTopic(ConfigEntry entry) {
        check(entry.source() == ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG, "%s", entry);
        check(entry.type() == ConfigEntry.ConfigType.LONG, "%s", entry);
    }

    static ListOffsetsResultInfo ask(AdminClient admin, String topic, OffsetSpec spec)
            throws Exception {
        TopicPartition at = new TopicPartition(topic, 0);
        return admin.listOffsets(Map.of(at, spec)).partitionResult(at).get(20, TimeUnit.SECONDS);
    }

    static void checkOffsets(AdminClient admin, String topic, long base) throws Exception {
        check(ask(admin, topic, OffsetSpec.earliest()).offset() == 0, "earliest");
        check(ask(admin, topic, OffsetSpec.latest()).offset() == 8, "latest");
        ListOffsetsResultInfo after = ask(admin, topic, OffsetSpec.forTimestamp(base + 6_000));
        check(after.offset() == 1 && after.timestamp() == base + 9_000, "timestamp %s", after);
        check(after.leaderEpoch().isPresent(), "no leader epoch: %s", after);
        check(
                ask(admin, topic, OffsetSpec.forTimestamp(base + 9_001)).offset() == -1,
                "timestamp past the end");
    }
}
