package tidewheel.clients;

import org.apache.kafka.common.requests.DescribeLogDirsResponse.LogDirInfo;

import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/** DescribeLogDirs, as it was shown before 2.7. */
final class LogDirs implements Part {
    @Override
    public List<Main.Case> cases(AdminCases cases) {
        return List.of(
                cases.test(
                        "admin/log-dirs",
                        topic -> cases.logDirs(topic, () -> sizes(cases.world, topic))));
    }

    /** The bytes of each partition of a topic. */
    private static Map<Integer, Long> sizes(World world, String topic) throws Exception {
        int node = world.admin.describeCluster().controller().get(20, TimeUnit.SECONDS).id();
        Map<Integer, Long> out = new HashMap<>();
        for (LogDirInfo dir :
                world.admin
                        .describeLogDirs(List.of(node))
                        .all()
                        .get(20, TimeUnit.SECONDS)
                        .get(node)
                        .values()) {
            dir.replicaInfos.forEach(
                    (at, replica) -> {
                        if (at.topic().equals(topic)) {
                            out.put(at.partition(), replica.size);
                        }
                    });
        }
        return out;
    }
}
