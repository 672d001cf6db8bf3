package tidewheel.clients;

import static tidewheel.clients.World.check;

import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;

import java.io.IOException;
import java.io.PrintWriter;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReference;

/**
 * Produces at every class until standard input closes; writes the ledger that ../go/ledger.go
 * describes.
 */
final class Ledger {
    private static final int PARTITIONS = 3;
    private static final int VALUE = 220;
    private static final int PER_TICK = 24;
    private static final long MOST_UNDER_WAY = 4_000;

    private final World world;
    private final CountDownLatch stop = new CountDownLatch(1);
    private final AtomicLong acked = new AtomicLong();
    private PrintWriter out;

    Ledger(World world) {
        this.world = world;
    }

    private synchronized void note(String format, Object... args) {
        out.printf(format + "%n", args);
    }

    private static byte[] value(long sequence) {
        byte[] bytes = new byte[8 + VALUE];
        Arrays.fill(bytes, (byte) (sequence % 251));
        ByteBuffer.wrap(bytes).putLong(sequence);
        return bytes;
    }

    /** Without idempotence nothing is sent twice, so that every acked record must be there once. */
    private KafkaProducer<byte[], byte[]> producer(String name) {
        boolean idempotent = name.equals("idempotent");
        Map<String, Object> config =
                new HashMap<>(
                        Map.of(
                                "bootstrap.servers",
                                world.bootstrap,
                                "enable.idempotence",
                                idempotent,
                                "acks",
                                name.equals("acks-1") ? "1" : "all",
                                "linger.ms",
                                2,
                                "reconnect.backoff.max.ms",
                                200,
                                "request.timeout.ms",
                                8_000,
                                "delivery.timeout.ms",
                                idempotent ? 120_000 : 10_000));
        if (!idempotent) {
            config.put("retries", 0);
        }
        return new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer());
    }

    private String produce(String topic, String name) throws InterruptedException {
        AtomicLong good = new AtomicLong();
        AtomicLong bad = new AtomicLong();
        AtomicReference<Exception> first = new AtomicReference<>();
        long[] sent = new long[PARTITIONS];
        note("topic %s %d %s", topic, PARTITIONS, name);
        try (KafkaProducer<byte[], byte[]> producer = producer(name)) {
            while (!stop.await(5, TimeUnit.MILLISECONDS)) {
                long total = Arrays.stream(sent).sum();
                long room = total - good.get() - bad.get() < MOST_UNDER_WAY ? PER_TICK : 0;
                for (long n = 0; n < room; n++) {
                    int partition = (int) ((total + n) % PARTITIONS);
                    long sequence = sent[partition]++;
                    producer.send(
                            new ProducerRecord<>(topic, partition, null, value(sequence)),
                            (at, e) -> {
                                if (e == null) {
                                    note(
                                            "ack %s %d %d %d",
                                            topic, at.partition(), at.offset(), sequence);
                                    good.incrementAndGet();
                                    acked.incrementAndGet();
                                } else {
                                    first.compareAndSet(null, e);
                                    bad.incrementAndGet();
                                }
                            });
                }
            }
            producer.flush();
        }
        for (int p = 0; p < PARTITIONS; p++) {
            note("end %s %d %d", topic, p, sent[p]);
        }
        check(
                !name.equals("idempotent") || bad.get() == 0,
                "%d records not acked, first: %s",
                bad.get(),
                first.get());
        check(good.get() > 0, "nothing was acked");
        return good.get() + " acked, " + bad.get() + " not";
    }

    boolean run(String path) throws Exception {
        out = new PrintWriter(Files.newBufferedWriter(Path.of(path)));
        List<Thread> workers = new ArrayList<>();
        List<Boolean> results = new ArrayList<>();
        for (String name : List.of("acks-1", "acks-all", "idempotent")) {
            String topic = world.prefix + "-" + name;
            world.create(topic, PARTITIONS, Matrix.TOPIC);
            Main.Case body = new Main.Case("ledger/" + name, () -> produce(topic, name));
            workers.add(
                    new Thread(
                            () -> {
                                boolean ok = Main.runAll(List.of(body));
                                synchronized (results) {
                                    results.add(ok);
                                }
                            }));
        }
        workers.forEach(Thread::start);
        Thread input = new Thread(this::untilInputCloses);
        input.setDaemon(true);
        input.start();
        while (!stop.await(50, TimeUnit.MILLISECONDS)) {
            System.out.printf("{\"progress\":%d}%n", acked.get());
            System.out.flush();
        }
        for (Thread worker : workers) {
            worker.join();
        }
        out.close();
        return results.size() == workers.size() && !results.contains(false);
    }

    private void untilInputCloses() {
        try {
            System.in.readAllBytes();
        } catch (IOException e) {
            System.err.println("standard input: " + e);
        }
        stop.countDown();
    }
}
