package tidewheel.clients;

import org.apache.kafka.clients.admin.AdminClient;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.internals.AbstractCoordinator;
import org.apache.kafka.common.TopicPartition;

import java.lang.reflect.Field;
import java.util.List;

/** What differs between generations of the client, as it was until 2.0. */
final class Api {
    static final List<String> CODECS = List.of("none", "gzip", "snappy", "lz4");

    /** Listeners are told partitions that are lost from those that are given up. */
    static final boolean TELLS_LOST = false;

    private Api() {}

    static ConsumerRecords<byte[], byte[]> poll(KafkaConsumer<byte[], byte[]> from, long ms) {
        return from.poll(ms);
    }

    static OffsetAndMetadata committed(KafkaConsumer<byte[], byte[]> of, TopicPartition at) {
        return of.committed(at);
    }

    /** The library tells nobody. */
    static String generationAndMember(KafkaConsumer<?, ?> of) {
        try {
            Object coordinator = field(KafkaConsumer.class, "coordinator", of);
            Object own = field(AbstractCoordinator.class, "generation", coordinator);
            Class<?> type = own.getClass();
            return field(type, "generationId", own) + " " + field(type, "memberId", own);
        } catch (ReflectiveOperationException e) {
            throw new IllegalStateException(e);
        }
    }

    private static Object field(Class<?> type, String name, Object of)
            throws ReflectiveOperationException {
        Field field = type.getDeclaredField(name);
        field.setAccessible(true);
        return field.get(of);
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
