package tidewheel.clients;

import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.connect.cli.ConnectDistributed;
import org.apache.kafka.connect.runtime.Connect;
import org.apache.kafka.connect.runtime.distributed.DistributedHerder;

import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.stream.IntStream;

/**
 * Lines go from a file through a topic into a file, by a distributed worker of Kafka Connect. Half way it ends;
 * the next one finds connectors and places again in the compacted topics of the first, and no line comes twice.
 */
final class FileCopy {
    private static final int LINES = 1_000;
    private static final String STRINGS = "org.apache.kafka.connect.storage.StringConverter";
    private static final String FILES = "org.apache.kafka.connect.file.FileStream";

    private final String bootstrap;
    private final String name;
    private final Path from;
    private final Path to;
    private final HttpClient http = HttpClient.newHttpClient();

    FileCopy(String bootstrap, String prefix, Path folder) {
        this.bootstrap = bootstrap;
        this.name = prefix + "-lines";
        this.from = folder.resolve("from.txt");
        this.to = folder.resolve("to.txt");
    }

    String run() throws Exception {
        Jobs.create(bootstrap, new NewTopic(name, Optional.of(1), Optional.empty()));
        Files.createFile(to);
        for (int round = 0; round < 2; round++) {
            Files.write(from, lines(round * LINES, LINES), StandardOpenOption.CREATE, StandardOpenOption.APPEND);
            Connect<DistributedHerder> worker = new ConnectDistributed().startConnect(config());
            try {
                URI rest = worker.rest().serverUrl();
                if (round == 0) {
                    connect(rest, "source", "Source", Map.of("topic", name, "file", from.toString()));
                    connect(rest, "sink", "Sink", Map.of("topics", name, "file", to.toString()));
                }
                int due = (round + 1) * LINES;
                Jobs.await(due, this::copied);
                if (round == 1) {
                    delete(rest, "source");
                    delete(rest, "sink");
                    Jobs.await("[]", () -> send(HttpRequest.newBuilder(rest.resolve("/connectors")), 200));
                }
            } finally {
                worker.stop();
                worker.awaitStop();
            }
        }
        List<String> copied = Files.readAllLines(to);
        if (!copied.equals(lines(0, 2 * LINES))) {
            throw new IllegalStateException(copied.size() + " lines, not each of them once and in order");
        }
        return copied.size() + " lines";
    }

    private static List<String> lines(int first, int count) {
        return IntStream.range(first, first + count).mapToObj(n -> "line " + n).toList();
    }

    private int copied() {
        try {
            return Files.readAllLines(to).size();
        } catch (java.io.IOException e) {
            throw new java.io.UncheckedIOException(e);
        }
    }

    private Map<String, String> config() {
        Map<String, String> config = new HashMap<>();
        config.put("bootstrap.servers", bootstrap);
        config.put("group.id", name + "-workers");
        for (String topic : List.of("config", "offset", "status")) {
            config.put(topic + ".storage.topic", name + "-" + topic);
            config.put(topic + ".storage.replication.factor", "1");
        }
        config.put("offset.flush.interval.ms", "1000");
        config.put("scheduled.rebalance.max.delay.ms", "0");
        config.put("key.converter", STRINGS);
        config.put("value.converter", STRINGS);
        config.put("listeners", "http://127.0.0.1:0");
        config.put("plugin.discovery", "service_load");
        return config;
    }

    private void connect(URI rest, String connector, String kind, Map<String, String> config) {
        StringBuilder body = new StringBuilder();
        body.append("{\"connector.class\":\"").append(FILES).append(kind).append("Connector\"");
        config.forEach(
                (key, value) -> body.append(",\"" + key + "\":\"" + value + "\""));
        body.append(",\"tasks.max\":\"1\"}");
        URI uri = rest.resolve("/connectors/" + name + "-" + connector + "/config");
        send(
                HttpRequest.newBuilder(uri)
                        .header("Content-Type", "application/json")
                        .PUT(HttpRequest.BodyPublishers.ofString(body.toString())),
                201);
    }

    private void delete(URI rest, String connector) {
        URI uri = rest.resolve("/connectors/" + name + "-" + connector);
        send(HttpRequest.newBuilder(uri).DELETE(), 204);
    }

    private String send(HttpRequest.Builder request, int due) {
        try {
            var answer = http.send(request.build(), BodyHandlers.ofString());
            if (answer.statusCode() != due) {
                throw new IllegalStateException(answer.statusCode() + ": " + answer.body());
            }
            return answer.body();
        } catch (java.io.IOException | InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }
}
