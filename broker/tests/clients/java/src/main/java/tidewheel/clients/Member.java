package tidewheel.clients;

import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.TimeUnit;

/** A consumer in a group, on a thread of its own, which alone may touch it. */
final class Member implements ConsumerRebalanceListener {
    /** A record, and in which of the member's assignments it came. */
    record Taken(int session, int partition, long offset) {}

    /** What the thread does between two polls. */
    interface Call<T> {
        T on(KafkaConsumer<byte[], byte[]> consumer) throws Exception;
    }

    private final KafkaConsumer<byte[], byte[]> consumer;
    private final ConcurrentLinkedQueue<Runnable> asked = new ConcurrentLinkedQueue<>();
    private final Thread thread = new Thread(this::work);

    // Guarded by this.
    private final Set<Integer> owned = new HashSet<>();
    private final List<Taken> taken = new ArrayList<>();
    private int session;
    private Exception failed;

    // Of the thread.
    private boolean left;

    Member(World world, String group, String topic, boolean autoCommit) {
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", world.bootstrap);
        config.put("group.id", group);
        config.put("auto.offset.reset", "earliest");
        config.put("enable.auto.commit", autoCommit);
        config.put("fetch.max.wait.ms", 50);
        if (world.newerProtocol) {
            config.put("group.protocol", "consumer");
        } else {
            config.put("heartbeat.interval.ms", 100);
        }
        consumer =
                new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer());
        consumer.subscribe(List.of(topic), this);
        thread.setDaemon(true);
        thread.start();
    }

    @Override
    public synchronized void onPartitionsAssigned(Collection<TopicPartition> partitions) {
        session++;
        partitions.forEach(p -> owned.add(p.partition()));
    }

    @Override
    public synchronized void onPartitionsRevoked(Collection<TopicPartition> partitions) {
        partitions.forEach(p -> owned.remove(p.partition()));
    }

    private void work() {
        try {
            while (!left) {
                for (ConsumerRecord<byte[], byte[]> r : Api.poll(consumer, 50)) {
                    take(r);
                }
                for (Runnable next = asked.poll(); next != null; next = asked.poll()) {
                    next.run();
                }
            }
        } catch (Exception e) {
            synchronized (this) {
                failed = e;
            }
        }
    }

    private synchronized void take(ConsumerRecord<byte[], byte[]> r) {
        taken.add(new Taken(session, r.partition(), r.offset()));
    }

    synchronized Set<Integer> owned() {
        return Set.copyOf(owned);
    }

    /** What it took so far, in order; throws what ended it. */
    synchronized List<Taken> taken() throws Exception {
        if (failed != null) {
            throw new IllegalStateException("the member ended", failed);
        }
        return List.copyOf(taken);
    }

    <T> T ask(Call<T> call) throws Exception {
        CompletableFuture<T> answer = new CompletableFuture<>();
        asked.add(
                () -> {
                    try {
                        answer.complete(call.on(consumer));
                    } catch (Exception e) {
                        answer.completeExceptionally(e);
                    }
                });
        return answer.get(Groups.LIMIT_S, TimeUnit.SECONDS);
    }

    void leave() throws Exception {
        ask(
                own -> {
                    own.close();
                    left = true;
                    return null;
                });
    }
}
