package tidewheel.clients;

import org.apache.kafka.clients.admin.AdminClient;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;

/** The broker under test and what every mode needs to reach it. */
final class World implements AutoCloseable {
    static final Duration READ = Duration.ofSeconds(20);

    /** How long a reader at the end is watched for records that must not come. */
    static final Duration QUIET = Duration.ofMillis(300);

    final String bootstrap;
    final String prefix;
    final int partitions;
    final AdminClient admin;
    final KafkaConsumer<byte[], byte[]> consumer;

    /** Whether the broker is Apache Kafka, which takes its time. */
    final boolean settle;

    /** Whether members join by the newer protocol, which consumers know since 4.0. */
    boolean newerProtocol;

    World(String bootstrap, String prefix, int partitions, boolean settle) {
        this.bootstrap = bootstrap;
        this.prefix = prefix;
        this.partitions = partitions;
        this.settle = settle;
        admin = AdminClient.create(Map.of("bootstrap.servers", bootstrap));
        consumer =
                new KafkaConsumer<>(
                        Map.of(
                                "bootstrap.servers",
                                bootstrap,
                                "auto.offset.reset",
                                "none",
                                "fetch.max.wait.ms",
                                50,
                                "enable.auto.commit",
                                false,
                                "allow.auto.create.topics",
                                false),
                        new ByteArrayDeserializer(),
                        new ByteArrayDeserializer());
    }

    @Override
    public void close() {
        consumer.close();
        admin.close();
    }

    static void check(boolean ok, String format, Object... args) {
        if (!ok) {
            throw new IllegalStateException(String.format(format, args));
        }
    }

    /** Creates a topic that can be written and read at once. */
    void create(String topic, int count, Map<String, String> config) throws Exception {
        NewTopic wanted = new NewTopic(topic, count, (short) 1).configs(config);
        admin.createTopics(List.of(wanted)).all().get(20, TimeUnit.SECONDS);
        if (settle) { // the answer to CreateTopics comes before the new leaders serve
            settled(
                    () -> {
                        for (int p = 0; p < count; p++) {
                            end(topic, p);
                        }
                    });
        }
    }

    /** What must hold at once; with Apache Kafka, after a while. */
    void settled(Matrix.Check body) throws Exception {
        long until = System.nanoTime() + READ.toNanos();
        while (true) {
            try {
                body.run();
                return;
            } catch (Exception e) {
                if (!settle || System.nanoTime() > until) {
                    throw e;
                }
                Thread.sleep(50);
            }
        }
    }

    long end(String topic, int partition) {
        TopicPartition at = new TopicPartition(topic, partition);
        return consumer.endOffsets(List.of(at)).get(at);
    }

    KafkaProducer<byte[], byte[]> producer(String codec, String mode) {
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", bootstrap);
        config.put("compression.type", codec);
        config.put("enable.idempotence", mode.equals("idempotent"));
        config.put("acks", mode.startsWith("acks=") ? mode.substring(5) : "all");
        config.put("linger.ms", 2);
        return new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer());
    }

    /** Sends in order, waits for all and says where each went (offset -1 at acks=0). */
    List<RecordMetadata> produce(String topic, List<Sent> records, String codec, String mode)
            throws Exception {
        List<RecordMetadata> placed = new ArrayList<>();
        try (KafkaProducer<byte[], byte[]> producer = producer(codec, mode)) {
            List<Future<RecordMetadata>> pending = new ArrayList<>();
            for (Sent r : records) {
                pending.add(producer.send(r.toKafka(topic)));
            }
            producer.flush();
            for (Future<RecordMetadata> f : pending) {
                placed.add(f.get(30, TimeUnit.SECONDS));
            }
        }
        return placed;
    }

    /** Up to `count` records of a partition from an offset on, within the limit. */
    List<ConsumerRecord<byte[], byte[]>> read(
            String topic, int partition, long offset, int count, Duration limit) {
        TopicPartition at = new TopicPartition(topic, partition);
        consumer.assign(List.of(at));
        consumer.seek(at, offset);
        List<ConsumerRecord<byte[], byte[]>> out = new ArrayList<>();
        long until = System.nanoTime() + limit.toNanos();
        while (out.size() < count && System.nanoTime() < until) {
            Api.poll(consumer, 100).forEach(out::add);
        }
        return out.size() > count ? out.subList(0, count) : out;
    }

    /** Reads from an offset on and compares with what must be there. */
    void expect(String topic, int partition, long from, List<Sent> want) {
        List<ConsumerRecord<byte[], byte[]>> got = read(topic, partition, from, want.size(), READ);
        check(
                got.size() == want.size(),
                "partition %d from %d: %d of %d records read",
                partition,
                from,
                got.size(),
                want.size());
        for (int i = 0; i < got.size(); i++) {
            check(
                    got.get(i).offset() == from + i,
                    "partition %d: offset %d, expected %d",
                    partition,
                    got.get(i).offset(),
                    from + i);
            String text = want.get(i).difference(got.get(i));
            check(text.isEmpty(), "partition %d offset %d: %s", partition, from + i, text);
        }
    }
}
