package tidewheel.clients;

import org.apache.kafka.clients.CommonClientConfigs;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.LongDeserializer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;

import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.TreeMap;
import java.util.stream.IntStream;

/**
 * Words are counted by Kafka Streams, at least once: through a repartition topic and a store with a changelog.
 * Half way the application ends, and goes on without its store, which it has to read back.
 */
final class WordCount {
    private static final int PARTITIONS = 3;
    private static final int LINES = 2_000;
    private static final int WORDS = 50;
    private static final Duration CLOSE = Duration.ofSeconds(60);

    private final String bootstrap;
    private final String name;
    private final Path folder;

    WordCount(String bootstrap, String prefix, Path folder) {
        this.bootstrap = bootstrap;
        this.name = prefix + "-words";
        this.folder = folder;
    }

    String run() throws Exception {
        Jobs.create(
                bootstrap,
                new NewTopic(name, Optional.of(PARTITIONS), Optional.empty()),
                new NewTopic(name + "-counts", Optional.of(PARTITIONS), Optional.empty()));
        Map<String, Long> due = new TreeMap<>();
        for (int round = 0; round < 2; round++) {
            produce(round, due);
            try (KafkaStreams streams = start(round)) {
                awaitCounts(due);
                if (!streams.close(CLOSE)) {
                    throw new IllegalStateException("the application does not end");
                }
            }
        }
        return due.size() + " words in " + 2 * LINES + " lines";
    }

    private void produce(int round, Map<String, Long> due) throws Exception {
        Map<String, Object> config =
                Map.of(CommonClientConfigs.BOOTSTRAP_SERVERS_CONFIG, bootstrap);
        try (KafkaProducer<String, String> producer =
                new KafkaProducer<>(config, new StringSerializer(), new StringSerializer())) {
            for (int line = 0; line < LINES; line++) {
                int number = round * LINES + line;
                List<String> words =
                        IntStream.of(number, number / 7, number * number)
                                .mapToObj(n -> "word-" + n % WORDS)
                                .toList();
                words.forEach(word -> due.merge(word, 1L, Long::sum));
                producer.send(new ProducerRecord<>(name, "" + number, String.join(" ", words)));
            }
        }
    }

    private KafkaStreams start(int round) {
        StreamsBuilder builder = new StreamsBuilder();
        builder.stream(name, Consumed.with(Serdes.String(), Serdes.String()))
                .flatMapValues(line -> List.of(line.split(" ")))
                .groupBy((key, word) -> word, Grouped.with(Serdes.String(), Serdes.String()))
                .count(Materialized.as("counts"))
                .toStream()
                .to(name + "-counts", Produced.with(Serdes.String(), Serdes.Long()));
        Properties config = new Properties();
        config.put(StreamsConfig.APPLICATION_ID_CONFIG, name);
        config.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap);
        config.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 2);
        config.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 200);
        config.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.AT_LEAST_ONCE);
        config.put(StreamsConfig.STATE_DIR_CONFIG, folder.resolve("state-" + round).toString());
        config.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        KafkaStreams streams = new KafkaStreams(builder.build(), config);
        streams.start();
        return streams;
    }

    /** Reads the counts until the last one of every word is what is due. */
    private void awaitCounts(Map<String, Long> due) throws Exception {
        Map<String, Object> config =
                Map.of(CommonClientConfigs.BOOTSTRAP_SERVERS_CONFIG, bootstrap);
        Map<String, Long> counts = new TreeMap<>();
        try (KafkaConsumer<String, Long> consumer =
                new KafkaConsumer<>(config, new StringDeserializer(), new LongDeserializer())) {
            List<TopicPartition> all =
                    IntStream.range(0, PARTITIONS)
                            .mapToObj(p -> new TopicPartition(name + "-counts", p))
                            .toList();
            consumer.assign(all);
            consumer.seekToBeginning(all);
            Jobs.await(
                    due,
                    () -> {
                        consumer.poll(Duration.ofMillis(100))
                                .forEach(record -> counts.put(record.key(), record.value()));
                        return counts;
                    });
        }
    }
}
