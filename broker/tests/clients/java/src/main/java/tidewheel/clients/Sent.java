package tidewheel.clients;

import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.Random;

/** A record as it is sent; partition null: the client decides. */
record Sent(Integer partition, long timestamp, byte[] key, byte[] value, List<Header> headers) {
    static final int STANDARD_RECORDS = 240;

    /** From nothing to near a client's default limit of one message. */
    static final int[] SIZES = {
        0, 1, 2, 127, 128, 1000, 16_383, 16_384, 100_000, 500_000, 900_000, 800_000, 600_000
    };

    ProducerRecord<byte[], byte[]> toKafka(String topic) {
        return new ProducerRecord<>(topic, partition, timestamp, key, value, headers);
    }

    /** In what a read record differs, "" when in nothing. */
    String difference(ConsumerRecord<byte[], byte[]> got) {
        if (!Arrays.equals(got.key(), key)) {
            return "key " + shown(got.key()) + ", sent " + shown(key);
        }
        if (!Arrays.equals(got.value(), value)) {
            return "value " + shown(got.value()) + ", sent " + shown(value);
        }
        if (got.timestamp() != timestamp) {
            return "timestamp " + got.timestamp() + ", sent " + timestamp;
        }
        Header[] seen = got.headers().toArray();
        boolean equal = seen.length == headers.size();
        for (int i = 0; equal && i < seen.length; i++) {
            Header h = headers.get(i);
            equal =
                    Objects.equals(seen[i].key(), h.key())
                            && Arrays.equals(seen[i].value(), h.value());
        }
        return equal ? "" : "headers " + Arrays.toString(seen) + ", sent " + headers;
    }

    private static String shown(byte[] bytes) {
        return bytes == null
                ? "null"
                : bytes.length
                        + " bytes "
                        + Arrays.toString(Arrays.copyOf(bytes, Math.min(8, bytes.length)));
    }

    static byte[] utf8(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    /** Half text that compresses well, half noise that does not. */
    private static byte[] payload(Random random, int size) {
        byte[] out = new byte[size];
        random.nextBytes(out);
        byte[] text = utf8(random.nextInt(1000) + " the tide turns twice a day; ");
        for (int i = 0; i < size / 2; i++) {
            out[i] = text[i % text.length];
        }
        return out;
    }

    private static List<Header> headersOf(int index) {
        if (index % 5 == 0) {
            return List.of();
        }
        return List.of(
                new RecordHeader("index", utf8("" + index)),
                new RecordHeader("dup", utf8("first")),
                new RecordHeader("dup", utf8("second")),
                new RecordHeader("null", (byte[]) null),
                new RecordHeader("empty", new byte[0]),
                new RecordHeader("bytes-\u00fc", new byte[] {0, (byte) 0xff, (byte) 0x80}));
    }

    /** Every kind of key, value, header and timestamp. */
    static List<Sent> standardSet(String name, int partitions) {
        Random random = new Random(name.hashCode());
        List<byte[]> keys =
                new ArrayList<>(
                        List.of(
                                new byte[] {(byte) 0xff, 0, (byte) 0xfe},
                                utf8("\u043a\u043b\u044e\u0447"),
                                utf8("k".repeat(300))));
        for (int i = 0; i < 12; i++) {
            keys.add(utf8("key-" + i));
        }
        long base = System.currentTimeMillis() - 3_600_000;
        List<Sent> out = new ArrayList<>();
        for (int i = 0; i < STANDARD_RECORDS; i++) {
            byte[] key =
                    i % 4 <= 1
                            ? keys.get(random.nextInt(keys.size()))
                            : i % 8 == 2 ? new byte[0] : null;
            byte[] value = payload(random, 1 + random.nextInt(2000));
            if (i % 11 == 1) {
                value = null;
            } else if (i % 11 == 2) {
                value = new byte[0];
            }
            long timestamp =
                    base
                            + 10L * i
                            - (i % 13 == 12 ? 5_000 : 0); // some are dated before their neighbours
            out.add(
                    new Sent(
                            i % 4 == 2 ? i % partitions : null,
                            timestamp,
                            key,
                            value,
                            headersOf(i)));
        }
        return out;
    }

    static List<Sent> sizeSet(String name, int partitions) {
        Random random = new Random(name.hashCode());
        long base = System.currentTimeMillis() - 3_600_000;
        List<Sent> out = new ArrayList<>();
        for (int size : SIZES) {
            int n = out.size();
            out.add(
                    new Sent(
                            n % partitions,
                            base + n,
                            utf8("size-" + size),
                            payload(random, size),
                            List.of()));
        }
        return out;
    }

    /** A plain record for a partition. */
    static Sent of(int partition, long timestamp, String value) {
        return new Sent(partition, timestamp, null, utf8(value), List.of());
    }
}
