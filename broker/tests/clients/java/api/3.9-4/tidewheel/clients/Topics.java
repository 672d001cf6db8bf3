package tidewheel.clients;

import static tidewheel.clients.World.check;

import org.apache.kafka.clients.admin.AdminClient;
import org.apache.kafka.clients.admin.ListOffsetsResult.ListOffsetsResultInfo;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.TopicDescription;

import java.util.List;
import java.util.concurrent.TimeUnit;

/** What 3.x renamed or added about topics. */
final class Topics {
    private Topics() {}

    static TopicDescription describe(AdminClient admin, String topic) throws Exception {
        return admin.describeTopics(List.of(topic))
                .allTopicNames()
                .get(20, TimeUnit.SECONDS)
                .get(topic);
    }

    static void checkNewerOffsets(AdminClient admin, String topic, long base) throws Exception {
        check(Api.ask(admin, topic, OffsetSpec.earliestLocal()).offset() == 0, "earliest local");
        ListOffsetsResultInfo top = Api.ask(admin, topic, OffsetSpec.maxTimestamp());
        check(top.offset() == 1 && top.timestamp() == base + 9_000, "max timestamp %s", top);
        check(top.leaderEpoch().isPresent(), "no leader epoch: %s", top);
    }
}
