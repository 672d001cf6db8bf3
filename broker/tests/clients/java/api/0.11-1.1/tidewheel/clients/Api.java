package tidewheel.clients;

import org.apache.kafka.clients.admin.AdminClient;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;

import java.util.List;

/** What differs between generations of the client, as it was until 2.0. */
final class Api {
    static final List<String> CODECS = List.of("none", "gzip", "snappy", "lz4");

    private Api() {}

    static ConsumerRecords<byte[], byte[]> poll(KafkaConsumer<byte[], byte[]> from, long ms) {
        return from.poll(ms);
    }

    static OffsetAndMetadata committed(KafkaConsumer<byte[], byte[]> of, TopicPartition at) {
        return of.committed(at);
    }

    /** Topics have no id here; a new text each time stands for one that was not used before. */
    static String topicId(TopicDescription topic) {
        return "none-" + System.nanoTime();
    }

    /** Where a setting comes from is not told here. */
    static void checkSetByTopic(ConfigEntry entry) {
        World.check(!entry.isDefault(), "%s", entry);
    }

    /** The admin client cannot list offsets yet. */
    static void checkOffsets(AdminClient admin, String topic, long base) {}
}
