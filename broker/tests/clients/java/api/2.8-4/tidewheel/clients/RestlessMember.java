package tidewheel.clients;

import org.apache.kafka.clients.consumer.ConsumerGroupMetadata;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.CooperativeStickyAssignor;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.RangeAssignor;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

import java.io.FileOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ThreadLocalRandom;
import java.util.stream.Collectors;

/**
 * A member of a restless group, until its standard input closes.
 *
 * <pre>
 * RestlessMember --bootstrap HOST:PORT member GROUP TOPIC ASSIGNOR FILE PLACE:COUNT
 * </pre>
 *
 * It writes the journal that ../go/franz-go/restless.go describes, and kills itself at PLACE
 * (assigned, revoked or commit) when it comes there for the COUNTth time.
 */
public final class RestlessMember implements ConsumerRebalanceListener {
    private static final int AT_ONCE = 500;

    private final KafkaConsumer<byte[], byte[]> consumer;
    /** Not buffered: a kill loses no line. */
    private final FileOutputStream file;

    private final String place;
    private int left;

    /** Where it goes on, where that is not committed yet. */
    private final Map<TopicPartition, OffsetAndMetadata> open = new HashMap<>();

    private volatile boolean ended;

    private RestlessMember(String bootstrap, List<String> args) throws IOException {
        boolean cooperative = args.get(2).equals("cooperative-sticky");
        Class<?> assignor = cooperative ? CooperativeStickyAssignor.class : RangeAssignor.class;
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", bootstrap);
        config.put("group.id", args.get(0));
        config.put("partition.assignment.strategy", List.of(assignor));
        config.put("session.timeout.ms", 3_000);
        config.put("max.poll.interval.ms", 10_000);
        config.put("heartbeat.interval.ms", 100);
        config.put("enable.auto.commit", false);
        config.put("auto.offset.reset", "earliest");
        config.put("fetch.max.wait.ms", 50);
        config.put("max.poll.records", AT_ONCE);
        config.put("default.api.timeout.ms", 5_000);
        config.put("request.timeout.ms", 5_000);
        config.put("reconnect.backoff.max.ms", 200);
        var bytes = new ByteArrayDeserializer();
        consumer = new KafkaConsumer<>(config, bytes, bytes);
        file = new FileOutputStream(args.get(3), true);
        String[] die = args.get(4).split(":");
        place = die[0];
        left = die.length > 1 ? Integer.parseInt(die[1]) : 0;
        consumer.subscribe(List.of(args.get(1)), this);
    }

    private void note(String format, Object... args) {
        Instant now = Instant.now();
        long micros = now.getEpochSecond() * 1_000_000 + now.getNano() / 1_000;
        String line = micros + " " + String.format(format, args) + "\n";
        try {
            file.write(line.getBytes(StandardCharsets.UTF_8));
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private synchronized void reached(String here) {
        if (!here.equals(place) || --left > 0) {
            return;
        }
        String own = Long.toString(ProcessHandle.current().pid());
        try {
            new ProcessBuilder("kill", "-9", own).start().waitFor();
        } catch (IOException | InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    private static String names(Collection<TopicPartition> partitions) {
        return partitions.stream()
                .map(p -> Integer.toString(p.partition()))
                .collect(Collectors.joining(","));
    }

    @Override
    public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
        ConsumerGroupMetadata own = consumer.groupMetadata();
        note("assigned %d %s %s", own.generationId(), own.memberId(), names(partitions));
        reached("assigned");
    }

    @Override
    public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
        reached("revoked");
        commit(partitions);
        gone("revoked", partitions);
    }

    @Override
    public void onPartitionsLost(Collection<TopicPartition> partitions) {
        gone("lost", partitions);
    }

    private void gone(String word, Collection<TopicPartition> partitions) {
        note("%s %s", word, names(partitions));
        partitions.forEach(open::remove);
    }

    /** Commits what was taken of these. That it may fail belongs to this case. */
    private void commit(Collection<TopicPartition> partitions) {
        Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>(open);
        offsets.keySet().retainAll(List.copyOf(partitions));
        if (offsets.isEmpty()) {
            return;
        }
        boolean last = place.equals("commit") && left == 1;
        if (last) {
            // It is killed while the request is under way, or the answer.
            new Thread(() -> reached("commit")).start();
        } else {
            reached("commit");
        }
        try {
            consumer.commitSync(offsets);
        } catch (KafkaException e) {
            return;
        }
        offsets.forEach((at, to) -> note("ok %d %d", at.partition(), to.offset()));
        open.keySet().removeAll(offsets.keySet());
    }

    private void take(TopicPartition from, List<ConsumerRecord<byte[], byte[]>> records) {
        long first = records.get(0).offset();
        long last = first - 1;
        for (ConsumerRecord<byte[], byte[]> r : records) {
            if (r.offset() != last + 1) {
                note("take %d %d %d", from.partition(), first, last);
                first = r.offset();
            }
            last = r.offset();
        }
        note("take %d %d %d", from.partition(), first, last);
        open.put(from, new OffsetAndMetadata(last + 1));
    }

    private void work() {
        while (!ended) {
            var polled = Api.poll(consumer, 100);
            for (TopicPartition p : polled.partitions()) {
                take(p, polled.records(p));
            }
            // Now and then, and when there is nothing to do.
            if (polled.isEmpty() || ThreadLocalRandom.current().nextBoolean()) {
                commit(new ArrayList<>(open.keySet()));
            }
        }
        consumer.close();
    }

    private void awaitEnd() {
        try {
            System.in.transferTo(OutputStream.nullOutputStream());
        } catch (IOException e) {
            // As good as its end.
        }
        ended = true;
    }

    public static void main(String[] args) throws IOException {
        List<String> words = List.of(args);
        int at = words.indexOf("member");
        String bootstrap = words.get(words.indexOf("--bootstrap") + 1);
        RestlessMember member = new RestlessMember(bootstrap, words.subList(at + 1, words.size()));
        Thread end = new Thread(member::awaitEnd);
        end.setDaemon(true);
        end.start();
        member.work();
        System.exit(0);
    }
}
