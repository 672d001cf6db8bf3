package tidewheel.clients;

import static tidewheel.clients.Uis.get;
import static tidewheel.clients.World.check;

import org.apache.kafka.clients.admin.AdminClient;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;

/**
 * What a broker holds when somebody opens a console: topics of three kinds with records, a group
 * that reads, and one that does not any more.
 */
final class Stage implements AutoCloseable {
    /** Three partitions with ten records each, and one that is pending. */
    static final String ORDERS = "orders";

    /** What is set on it. */
    static final Map<String, String> SETTINGS =
            Map.of("retention.ms", "86400000", "delay.mode", "timestamp");

    /** A compacted topic with one partition, empty. */
    static final String STATE = "state";

    /** A topic with delays, of which one record is pending. */
    static final String LATER = "later";

    static final List<String> TOPICS = List.of(LATER, ORDERS, STATE);

    /** A group with a member that has read all. */
    static final String READING = "reading";

    /** A group without members, six records behind in each partition. */
    static final String CLOSED = "closed";

    static final int PARTITIONS = 3;
    static final int RECORDS = 10;
    static final int COMMITTED = 4;
    private static final long SECOND_MS = 1_000;

    final String bootstrap;
    final AdminClient admin;

    /** When the first record of each partition was made; the next ones a second later each. */
    final long baseMs = System.currentTimeMillis() - 3_600 * SECOND_MS;

    private final CountDownLatch caughtUp = new CountDownLatch(1);
    private final Thread member;
    private volatile boolean isOver;

    Stage(String bootstrap) throws Exception {
        this.bootstrap = bootstrap;
        admin = AdminClient.create(Map.of("bootstrap.servers", bootstrap));
        get(
                admin.createTopics(
                                List.of(
                                        new NewTopic(ORDERS, PARTITIONS, (short) 1).configs(SETTINGS),
                                        new NewTopic(STATE, 1, (short) 1)
                                                .configs(Map.of("cleanup.policy", "compact")),
                                        new NewTopic(LATER, 1, (short) 1)
                                                .configs(Map.of("delay.mode", "timestamp"))))
                        .all());
        produce();
        try (KafkaConsumer<byte[], byte[]> closed = consumer(Map.of("group.id", CLOSED))) {
            Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
            partitions().forEach(at -> offsets.put(at, new OffsetAndMetadata(COMMITTED)));
            closed.commitSync(offsets);
        }
        member = new Thread(this::read, "member");
        member.setDaemon(true);
        member.start();
        check(caughtUp.await(60, TimeUnit.SECONDS), "the member has not read all");
    }

    static List<TopicPartition> partitions() {
        return IntStream.range(0, PARTITIONS).mapToObj(p -> new TopicPartition(ORDERS, p)).toList();
    }

    private void produce() throws Exception {
        Map<String, Object> config = Map.of("bootstrap.servers", bootstrap);
        try (KafkaProducer<byte[], byte[]> producer =
                new KafkaProducer<>(
                        config, new ByteArraySerializer(), new ByteArraySerializer())) {
            for (int n = 0; n < RECORDS; n++) {
                for (int p = 0; p < PARTITIONS; p++) {
                    byte[] key = ("k" + n).getBytes(StandardCharsets.UTF_8);
                    byte[] value = ("{\"n\":" + n + "}").getBytes(StandardCharsets.UTF_8);
                    long time = baseMs + n * SECOND_MS;
                    producer.send(
                            new ProducerRecord<>(
                                    ORDERS,
                                    p,
                                    time,
                                    key,
                                    value,
                                    List.of(new RecordHeader("h", new byte[] {1}))));
                }
            }
            producer.flush();
            long inAnHour = System.currentTimeMillis() + 3_600 * SECOND_MS;
            producer.send(new ProducerRecord<>(LATER, 0, inAnHour, null, new byte[] {2}));
            for (int p = 0; p < PARTITIONS; p++) {
                producer.send(new ProducerRecord<>(ORDERS, p, inAnHour, null, new byte[] {3}));
            }
            producer.flush();
        }
    }

    /** A consumer as consoles make them: no commits of its own accord. */
    KafkaConsumer<byte[], byte[]> consumer(Map<String, Object> more) {
        Map<String, Object> config = new HashMap<>(more);
        config.put("bootstrap.servers", bootstrap);
        config.put("enable.auto.commit", false);
        config.put("auto.offset.reset", "earliest");
        config.put("allow.auto.create.topics", false);
        return new KafkaConsumer<>(
                config, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    private void read() {
        try (KafkaConsumer<byte[], byte[]> consumer =
                consumer(Map.of("group.id", READING, "client.id", "reader-1"))) {
            consumer.subscribe(List.of(ORDERS));
            int seen = 0;
            while (!isOver) {
                seen += consumer.poll(Duration.ofMillis(100)).count();
                if (seen == RECORDS * PARTITIONS && caughtUp.getCount() > 0) {
                    consumer.commitSync();
                    caughtUp.countDown();
                }
            }
        }
    }

    /** Reads what is there of some partitions from where the consumer stands, and no record twice. */
    static List<ConsumerRecord<byte[], byte[]>> poll(
            KafkaConsumer<byte[], byte[]> consumer, int due) {
        List<ConsumerRecord<byte[], byte[]>> out = new ArrayList<>();
        Set<String> places = new HashSet<>();
        long until = System.nanoTime() + World.READ.toNanos();
        while (out.size() < due && System.nanoTime() < until) {
            for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(200))) {
                String place = record.topic() + record.partition() + "@" + record.offset();
                check(places.add(place), "%s came twice", place);
                out.add(record);
            }
        }
        check(out.size() == due, "%d records, due are %d", out.size(), due);
        return out;
    }

    @Override
    public void close() throws Exception {
        isOver = true;
        member.join(10_000);
        admin.close();
    }
}
