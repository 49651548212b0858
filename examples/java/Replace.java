import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.function.Predicate;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** Replaces the asset behind a deployment, then scores two rows with what serves. */
public class Replace {
    private static final String SERVERS = setting("BATON_BOOTSTRAP_SERVERS", "127.0.0.1:9092");
    private static final String PREFIX = setting("BATON_TOPIC_PREFIX", "baton.");

    public static void main(String[] arguments) throws Exception {
        String space = arguments[0], deployment = arguments[1], asset = arguments[2];
        String commandId = UUID.randomUUID().toString(), requestId = UUID.randomUUID().toString();
        try (var producer = new KafkaProducer<>(Map.<String, Object>of("bootstrap.servers", SERVERS),
                new StringSerializer(), new StringSerializer());
                var events = atEnd("events");
                var responses = atEnd("responses")) {
            var command = new ProducerRecord<>(PREFIX + "commands", space, """
                    {"space_id": "%s", "deployment_id": "%s", "asset_id": "%s", "reason": "accuracy"}
                    """.formatted(space, deployment, asset));
            header(command, "ce_specversion", "1.0");
            header(command, "ce_id", commandId);
            header(command, "ce_source", "/examples/java");
            header(command, "ce_type", "baton.command.replace-asset.v1");
            header(command, "ce_time", Instant.now().toString());
            header(command, "ce_actor", "java@example.com");
            header(command, "content-type", "application/json");
            producer.send(command).get();
            var event = next(events, record -> commandId.equals(header(record, "ce_causationid"))
                    && !"baton.event.update-started.v1".equals(header(record, "ce_type")));
            System.out.println(header(event, "ce_type") + " " + event.value());

            var request = new ProducerRecord<String, String>(PREFIX + "requests", """
                    {"input_data": [{"fields": ["amount", "age"], "values": [[1.2, 30], [870.5, 41]]}]}
                    """);
            header(request, "deployment-id", deployment);
            header(request, "request-id", requestId);
            producer.send(request).get();
            var answer = next(responses, record -> requestId.equals(header(record, "request-id")));
            System.out.println(header(answer, "status") + " " + answer.value());
        }
    }

    /** A consumer at the present end of a topic: what is sent afterwards cannot be missed. */
    private static KafkaConsumer<String, String> atEnd(String topic) {
        var consumer = new KafkaConsumer<>(
                Map.<String, Object>of("bootstrap.servers", SERVERS, "isolation.level", "read_committed"),
                new StringDeserializer(), new StringDeserializer());
        List<TopicPartition> partitions = consumer.partitionsFor(PREFIX + topic).stream()
                .map(info -> new TopicPartition(info.topic(), info.partition())).toList();
        consumer.assign(partitions);
        consumer.seekToEnd(partitions);
        // Seeking is lazy: the position is what has it done.
        partitions.forEach(consumer::position);
        return consumer;
    }

    private static ConsumerRecord<String, String> next(
            KafkaConsumer<String, String> consumer, Predicate<ConsumerRecord<String, String>> wanted) {
        var deadline = Instant.now().plusSeconds(60);
        while (Instant.now().isBefore(deadline)) {
            for (var record : consumer.poll(Duration.ofSeconds(1))) {
                if (wanted.test(record)) {
                    return record;
                }
            }
        }
        throw new IllegalStateException("no answer after 60 s: do a worker and a scoring agent run?");
    }

    private static void header(ProducerRecord<String, String> record, String name, String value) {
        record.headers().add(name, value.getBytes(StandardCharsets.UTF_8));
    }

    private static String header(ConsumerRecord<String, String> record, String name) {
        var header = record.headers().lastHeader(name);
        return header == null ? null : new String(header.value(), StandardCharsets.UTF_8);
    }

    private static String setting(String name, String otherwise) {
        return System.getenv().getOrDefault(name, otherwise);
    }
}
