package tidewheel.clients;

import org.apache.kafka.clients.admin.AdminClient;
import org.apache.kafka.clients.admin.TopicDescription;

import java.util.List;
import java.util.concurrent.TimeUnit;

/** What 3.x renamed or added about topics, as it was before. */
final class Topics {
    private Topics() {}

    static TopicDescription describe(AdminClient admin, String topic) throws Exception {
        return admin.describeTopics(List.of(topic)).all().get(20, TimeUnit.SECONDS).get(topic);
    }

    /** The admin client does not know the newer kinds of offsets yet. */
    static void checkNewerOffsets(AdminClient admin, String topic, long base) {}
}
