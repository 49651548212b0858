import ai.onnxruntime.OnnxTensor;
import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtException;
import ai.onnxruntime.OrtSession;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import com.fasterxml.jackson.databind.ObjectWriter;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.Set;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.processor.api.ContextualProcessor;
import org.apache.kafka.streams.processor.api.Record;

/** Scores each request with an ONNX model: exactly once, one call a record. */
public final class Scoring {
    public record Table(List<String> fields, float[][] values) {}

    public record Request(List<Table> input_data) {}

    /** Keys an answer by its request's partition, by which alone it is partitioned. */
    static final class Scorer extends ContextualProcessor<byte[], byte[], Integer, byte[]> {
        private static final List<String> FIELDS = List.of("prediction", "probability");
        private static final ObjectMapper MAPPER = new ObjectMapper();
        private static final ObjectReader READER = MAPPER.readerFor(Request.class);
        private static final ObjectWriter WRITER = MAPPER.writerFor(Map.class);

        private final OrtEnvironment environment;
        private final OrtSession session;
        private final String input;

        Scorer(OrtEnvironment environment, OrtSession session) {
            this.environment = environment;
            this.session = session;
            this.input = session.getInputNames().iterator().next();
        }

        @Override
        public void process(Record<byte[], byte[]> record) {
            int partition = context().recordMetadata().orElseThrow().partition();
            try {
                context().forward(record.withKey(partition).withValue(answer(record.value())));
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            } catch (OrtException error) {
                throw new IllegalStateException(error);
            }
        }

        private byte[] answer(byte[] value) throws IOException, OrtException {
            Request request = READER.readValue(value);
            float[][] rows = request.input_data().get(0).values();
            try (OnnxTensor tensor = OnnxTensor.createTensor(environment, rows);
                    OrtSession.Result result = session.run(Map.of(input, tensor))) {
                long[] labels = (long[]) result.get(0).getValue();
                float[][] shares = (float[][]) result.get(1).getValue();
                Object[][] values = new Object[rows.length][];
                for (int row = 0; row < rows.length; row++) {
                    values[row] = new Object[] {labels[row], shares[row]};
                }
                return WRITER.writeValueAsBytes(
                        Map.of("predictions", List.of(Map.of("fields", FIELDS, "values", values))));
            }
        }
    }

    private static Properties properties(String state, String interval) {
        Properties properties = new Properties();
        properties.put(StreamsConfig.APPLICATION_ID_CONFIG, System.getenv("PEER_GROUP"));
        properties.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, System.getenv("PEER_SERVERS"));
        properties.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        properties.put(StreamsConfig.STATE_DIR_CONFIG, state);
        properties.put("auto.offset.reset", "earliest");
        if (!interval.isEmpty()) {
            properties.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, interval);
        }
        return properties;
    }

    /** Arguments: the ONNX file, a folder for state, commit.interval.ms ("" for the default). */
    public static void main(String[] arguments) throws OrtException {
        OrtEnvironment environment = OrtEnvironment.getEnvironment();
        OrtSession.SessionOptions options = new OrtSession.SessionOptions();
        // A row a call: more threads would only hand it to each other.
        options.setIntraOpNumThreads(1);
        OrtSession session = environment.createSession(arguments[0], options);
        StreamsBuilder builder = new StreamsBuilder();
        builder.stream(
                        System.getenv("PEER_REQUESTS"),
                        Consumed.with(Serdes.ByteArray(), Serdes.ByteArray()))
                .process(() -> new Scorer(environment, session))
                .to(
                        System.getenv("PEER_RESPONSES"),
                        Produced.with(
                                        // The answer itself has no key.
                                        Serdes.<Integer>serdeFrom((topic, key) -> null, (topic, key) -> null),
                                        Serdes.ByteArray())
                                .withStreamPartitioner(
                                        (topic, key, value, count) -> Optional.of(Set.of(key))));
        KafkaStreams streams =
                new KafkaStreams(builder.build(), properties(arguments[1], arguments[2]));
        streams.setUncaughtExceptionHandler(
                error -> {
                    error.printStackTrace();
                    // Not exit(): it would wait for the thread that it is called from.
                    Runtime.getRuntime().halt(70);
                    return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
                });
        Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
        streams.start();
    }
}
