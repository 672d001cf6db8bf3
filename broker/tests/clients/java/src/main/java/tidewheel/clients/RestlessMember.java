package tidewheel.clients;

import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
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
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ThreadLocalRandom;
import java.util.stream.Collectors;

/**
 * A member of a restless group, until its standard input closes.
 *
 * <pre>
 * RestlessMember --bootstrap HOST:PORT member GROUP TOPIC ASSIGNOR FILE PLACE:COUNT
 * </pre>
 *
 * It writes the journal that ../go/harness/journal.go describes, and kills itself at PLACE
 * (assigned, revoked or commit) when it comes there for the COUNTth time. The ASSIGNOR `consumer`
 * has it join by the newer protocol (KIP-848).
 */
public final class RestlessMember implements ConsumerRebalanceListener {
    private static final int AT_ONCE = 500;
    private static final int REBALANCE_MS = 10_000;
    private static final String PACKAGE = "org.apache.kafka.clients.consumer.";

    private final KafkaConsumer<byte[], byte[]> consumer;
    /** Not buffered: a kill loses no line. */
    private final FileOutputStream file;

    private final String place;
    private int left;

    /** Where it goes on, where that is not committed yet. */
    private final Map<TopicPartition, OffsetAndMetadata> open = new HashMap<>();

    /** What it has, and when a commit was sent that was acknowledged meanwhile. */
    private final Set<TopicPartition> owned = new HashSet<>();

    private long had;

    private volatile boolean ended;

    private RestlessMember(String bootstrap, List<String> args) throws IOException {
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", bootstrap);
        config.put("group.id", args.get(0));
        config.putAll(protocol(args.get(2)));
        config.put("max.poll.interval.ms", REBALANCE_MS);
        config.put("enable.auto.commit", false);
        config.put("auto.offset.reset", "earliest");
        config.put("fetch.max.wait.ms", 50);
        config.put("max.poll.records", AT_ONCE);
        config.put("default.api.timeout.ms", 5_000);
        // The old ones wait no longer for a rebalance either.
        config.put("request.timeout.ms", Api.TELLS_LOST ? 5_000 : REBALANCE_MS + 2_000);
        config.put("reconnect.backoff.max.ms", 200);
        var bytes = new ByteArrayDeserializer();
        consumer = new KafkaConsumer<>(config, bytes, bytes);
        file = new FileOutputStream(args.get(3), true);
        String[] die = args.get(4).split(":");
        place = die[0];
        left = die.length > 1 ? Integer.parseInt(die[1]) : 0;
        consumer.subscribe(List.of(args.get(1)), this);
    }

    private static Map<String, Object> protocol(String assignor) {
        if (assignor.equals("consumer")) {
            return Map.of("group.protocol", "consumer");
        }
        boolean cooperative = assignor.equals("cooperative-sticky");
        String name = cooperative ? "CooperativeStickyAssignor" : "RangeAssignor";
        return Map.of(
                "partition.assignment.strategy", List.of(PACKAGE + name),
                "session.timeout.ms", 3_000,
                "heartbeat.interval.ms", 100);
    }

    private static long micros() {
        Instant now = Instant.now();
        return now.getEpochSecond() * 1_000_000 + now.getNano() / 1_000;
    }

    private void note(String format, Object... args) {
        noteAt(micros(), format, args);
    }

    private void noteAt(long at, String format, Object... args) {
        String line = at + " " + String.format(format, args) + "\n";
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
        owned.addAll(partitions);
        had = 0;
        note("assigned %s %s", Api.generationAndMember(consumer), names(partitions));
        reached("assigned");
    }

    @Override
    public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
        reached("revoked");
        commit(partitions);
        if (Api.TELLS_LOST) {
            gone(micros(), "revoked", partitions);
        } else {
            gone(had == 0 ? micros() : had, had == 0 ? "lost" : "revoked", partitions);
        }
    }

    /** Called by those that tell it. */
    public void onPartitionsLost(Collection<TopicPartition> partitions) {
        gone(micros(), "lost", partitions);
    }

    private void gone(long at, String word, Collection<TopicPartition> partitions) {
        noteAt(at, "%s %s", word, names(partitions));
        partitions.forEach(open::remove);
        owned.removeAll(List.copyOf(partitions));
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
        long began = micros();
        try {
            consumer.commitSync(offsets);
        } catch (KafkaException e) {
            return;
        }
        had = began;
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
        if (!owned.isEmpty()) {
            // The old ones do not say that they leave.
            gone(micros(), "lost", new ArrayList<>(owned));
        }
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
