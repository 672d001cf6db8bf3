package tidewheel.clients;

import static tidewheel.clients.World.check;

import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.OffsetAndTimestamp;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;

import java.io.ByteArrayOutputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;

/** The cases of each codec. */
final class Matrix {
    static final List<String> MODES = List.of("acks=0", "acks=1", "acks=all", "idempotent");
    static final Map<String, String> TOPIC =
            Map.of("segment.bytes", "1048576", "retention.ms", "-1");

    private final World world;

    /** What the acks=all topic of each codec must hold, by partition. */
    private final Map<String, List<List<Sent>>> written = new HashMap<>();

    Matrix(World world) {
        this.world = world;
    }

    /** A case without a detail. */
    interface Check {
        void run() throws Exception;
    }

    static Main.Case test(String name, Check check) {
        return new Main.Case(
                name,
                () -> {
                    check.run();
                    return "";
                });
    }

    List<Main.Case> cases() {
        List<Main.Case> out = new ArrayList<>();
        for (String codec : Api.CODECS) {
            for (String mode : MODES) {
                out.add(test(codec + "/" + mode, () -> roundTrip(codec, mode)));
            }
            out.add(test(codec + "/offset", () -> fromOffset(codec)));
            out.add(test(codec + "/timestamp", () -> fromTimestamp(codec)));
            out.add(test(codec + "/end", () -> fromEnd(codec)));
            String sizes = topic(codec, "sizes");
            out.add(
                    test(
                            codec + "/sizes",
                            () ->
                                    write(
                                            sizes,
                                            Sent.sizeSet(sizes, world.partitions),
                                            codec,
                                            "acks=all")));
        }
        out.addAll(new AdminCases(world).cases());
        return out;
    }

    private String topic(String codec, String mode) {
        return world.prefix + "-" + codec + "-" + mode.replace('=', '-');
    }

    private List<List<Sent>> byPartition(List<Sent> records, List<RecordMetadata> placed) {
        List<List<Sent>> out = new ArrayList<>();
        for (int p = 0; p < world.partitions; p++) {
            out.add(new ArrayList<>());
        }
        for (int i = 0; i < records.size(); i++) {
            Sent r = records.get(i);
            RecordMetadata at = placed.get(i);
            check(
                    r.partition() == null || r.partition() == at.partition(),
                    "sent to %s, placed in %d",
                    r.partition(),
                    at.partition());
            List<Sent> list = out.get(at.partition());
            check(
                    at.offset() < 0 || at.offset() == list.size(),
                    "partition %d: acked offset %d, expected %d",
                    at.partition(),
                    at.offset(),
                    list.size());
            list.add(r);
        }
        return out;
    }

    /** Creates the topic, produces, reads all back and checks the ends. */
    private List<List<Sent>> write(String topic, List<Sent> records, String codec, String mode)
            throws Exception {
        world.create(topic, world.partitions, TOPIC);
        List<List<Sent>> want = byPartition(records, world.produce(topic, records, codec, mode));
        for (int p = 0; p < want.size(); p++) {
            world.expect(topic, p, 0, want.get(p));
            long end = world.end(topic, p);
            check(
                    end == want.get(p).size(),
                    "partition %d ends at %d, %d records were sent",
                    p,
                    end,
                    want.get(p).size());
        }
        return want;
    }

    private void roundTrip(String codec, String mode) throws Exception {
        String topic = topic(codec, mode);
        List<List<Sent>> want =
                write(topic, Sent.standardSet(topic, world.partitions), codec, mode);
        Map<String, Integer> home = new HashMap<>();
        for (int p = 0; p < want.size(); p++) {
            for (Sent r : want.get(p)) {
                if (r.key() == null || r.key().length == 0 || r.partition() != null) {
                    continue;
                }
                Integer before = home.put(HexFormat.of().formatHex(r.key()), p);
                check(
                        before == null || before == p,
                        "a key lies in partitions %s and %d",
                        before,
                        p);
            }
        }
        check(home.size() > 3, "too few keys to say anything");
        if (mode.equals("acks=all")) {
            written.put(codec, want);
        }
    }

    private List<List<Sent>> of(String codec) {
        check(written.containsKey(codec), "needs %s/acks=all, which failed", codec);
        return written.get(codec);
    }

    private void fromOffset(String codec) {
        List<List<Sent>> want = of(codec);
        for (int p = 0; p < want.size(); p++) {
            int n = want.get(p).size();
            for (int from : new int[] {1, n / 3, n / 2 + 1, n - 1}) {
                world.expect(topic(codec, "acks=all"), p, from, want.get(p).subList(from, n));
            }
        }
    }

    private void fromTimestamp(String codec) {
        List<List<Sent>> want = of(codec);
        String topic = topic(codec, "acks=all");
        for (int p = 0; p < want.size(); p++) {
            List<Long> stamps = want.get(p).stream().map(Sent::timestamp).toList();
            int n = stamps.size();
            long high = Collections.max(stamps);
            for (long t :
                    new long[] {
                        0,
                        Collections.min(stamps),
                        stamps.get(n / 2),
                        stamps.get(n - 1) - 1,
                        high,
                        high + 1
                    }) {
                int first = 0;
                while (first < n && stamps.get(first) < t) {
                    first++;
                }
                TopicPartition at = new TopicPartition(topic, p);
                OffsetAndTimestamp found = world.consumer.offsetsForTimes(Map.of(at, t)).get(at);
                long got = found == null ? n : found.offset();
                check(
                        got == first,
                        "partition %d: %d is at %d, the first such record is %d",
                        p,
                        t,
                        got,
                        first);
                check(
                        found == null || found.timestamp() == stamps.get(first),
                        "partition %d: wrong timestamp %s",
                        p,
                        found);
                world.expect(topic, p, first, want.get(p).subList(first, Math.min(first + 3, n)));
            }
        }
    }

    private void fromEnd(String codec) throws Exception {
        List<List<Sent>> want = of(codec);
        String topic = topic(codec, "acks=all");
        for (int p = 0; p < want.size(); p++) {
            check(
                    world.read(topic, p, want.get(p).size(), 1, World.QUIET).isEmpty(),
                    "partition %d: a record past the end",
                    p);
        }
        List<Sent> more = new ArrayList<>();
        for (int i = 0; i < 9; i++) {
            more.add(Sent.of(i % world.partitions, System.currentTimeMillis(), "end " + i));
        }
        List<RecordMetadata> placed = world.produce(topic, more, codec, "acks=1");
        for (int p = 0; p < want.size(); p++) {
            long end = want.get(p).size();
            List<Sent> tail = new ArrayList<>();
            for (int i = 0; i < more.size(); i++) {
                if (more.get(i).partition() == p) {
                    check(
                            placed.get(i).offset() == end + tail.size(),
                            "partition %d: acked at %d, the end was %d",
                            p,
                            placed.get(i).offset(),
                            end);
                    tail.add(more.get(i));
                }
            }
            world.expect(topic, p, end, tail);
        }
    }

    /** A hash over all that each topic holds; harness.py describes the bytes that are hashed. */
    static List<Main.Case> digests(World world, List<String> topics) {
        List<Main.Case> out = new ArrayList<>();
        for (String topic : topics) {
            out.add(new Main.Case("digest/" + topic, () -> digest(world, topic)));
        }
        return out;
    }

    private static String digest(World world, String topic) throws Exception {
        MessageDigest sum = MessageDigest.getInstance("SHA-256");
        for (int p = 0; p < world.partitions; p++) {
            int end = (int) world.end(topic, p);
            List<ConsumerRecord<byte[], byte[]>> got = world.read(topic, p, 0, end, World.READ);
            check(got.size() == end, "%s-%d: %d of %d records read", topic, p, got.size(), end);
            for (ConsumerRecord<byte[], byte[]> r : got) {
                sum.update(canonical(r));
            }
        }
        return HexFormat.of().formatHex(sum.digest());
    }

    private static byte[] canonical(ConsumerRecord<byte[], byte[]> r) throws IOException {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        DataOutputStream out = new DataOutputStream(bytes);
        out.writeInt(r.partition());
        out.writeLong(r.offset());
        out.writeLong(r.timestamp());
        blob(out, r.key());
        blob(out, r.value());
        Header[] headers = r.headers().toArray();
        out.writeInt(headers.length);
        for (Header h : headers) {
            blob(out, Sent.utf8(h.key()));
            blob(out, h.value());
        }
        return bytes.toByteArray();
    }

    private static void blob(DataOutputStream out, byte[] bytes) throws IOException {
        out.writeInt(bytes == null ? -1 : bytes.length);
        if (bytes != null) {
            out.write(bytes);
        }
    }
}
