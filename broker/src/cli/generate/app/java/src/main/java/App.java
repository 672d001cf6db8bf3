import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** Sends ten records to a topic and reads them back, in a consumer group. */
public final class App {
  private static final int RECORDS = 10;
  private static final int PATIENCE_S = 30;

  private static void produce(String bootstrap, String topic, String run) throws Exception {
    // Acknowledged by all replicas, and appended once however often a record has to be sent.
    Map<String, Object> settings = Map.of(
        "bootstrap.servers", bootstrap, "acks", "all", "enable.idempotence", true);
    StringSerializer strings = new StringSerializer();
    try (var producer = new KafkaProducer<String, String>(settings, strings, strings)) {
      List<Future<?>> sent = new ArrayList<>();
      for (int number = 0; number < RECORDS; number++) {
        String value = "hello " + number + " of " + run;
        sent.add(producer.send(new ProducerRecord<>(topic, "greeting-" + number, value)));
      }
      for (Future<?> one : sent) {
        one.get(PATIENCE_S, TimeUnit.SECONDS);
      }
    }
  }

  private static int consume(String bootstrap, String topic, String run) {
    Map<String, Object> settings = Map.of(
        "bootstrap.servers", bootstrap, "group.id", "app-java", "auto.offset.reset", "earliest");
    StringDeserializer strings = new StringDeserializer();
    int read = 0;
    long until = System.nanoTime() + TimeUnit.SECONDS.toNanos(PATIENCE_S);
    // Its end commits what was read, and leaves the group.
    try (var consumer = new KafkaConsumer<String, String>(settings, strings, strings)) {
      consumer.subscribe(List.of(topic));
      while (read < RECORDS && System.nanoTime() < until) {
        for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofSeconds(1))) {
          String place = topic + "-" + record.partition() + " " + record.offset();
          System.out.println(place + ": " + record.value());
          // Others may use the topic, too.
          if (record.value() != null && record.value().endsWith(run)) {
            read++;
          }
        }
      }
    }
    return read;
  }

  public static void main(String[] arguments) throws Exception {
    String otherwise = System.getenv().getOrDefault("TIDEWHEEL_BROKERS", "127.0.0.1:9092");
    String bootstrap = arguments.length > 0 ? arguments[0] : otherwise;
    String topic = arguments.length > 1 ? arguments[1] : "greetings";
    String run = UUID.randomUUID().toString();
    produce(bootstrap, topic, run);
    int read = consume(bootstrap, topic, run);
    if (read < RECORDS) {
      System.err.println("only " + read + " of " + RECORDS + " records came back");
      System.exit(1);
    }
    System.out.println(read + " records went through " + bootstrap);
  }
}
