package bench;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Branched;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.state.Stores;

/**
 * Kafka Streams: transfers join the table of the last consent event, and go to the partner or to quarantine.
 *
 * <p>Defaults wherever the harness does not say otherwise: commit interval 100 ms with exactly_once_v2 and 30 s with
 * at_least_once. The table is in memory, with a changelog.
 */
public final class Join {
    private static final ObjectMapper JSON = new ObjectMapper();

    private Join() {}

    /** A transfer, and whether it may go. */
    private record Routed(boolean granted, byte[] value) {}

    public static void main(String[] args) {
        Map<String, String> job = System.getenv();
        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, job.get("BENCH_GROUP"));
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, job.get("BENCH_BOOTSTRAP_SERVERS"));
        settings.put(StreamsConfig.STATE_DIR_CONFIG, job.get("BENCH_DATA_DIR"));
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, job.get("BENCH_GUARANTEE"));
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, job.get("BENCH_THREADS"));
        settings.put(StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, Serdes.ByteArraySerde.class);
        settings.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, Serdes.ByteArraySerde.class);
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");

        StreamsBuilder builder = new StreamsBuilder();
        KTable<byte[], byte[]> consents =
                builder.table(job.get("BENCH_CONSENTS"), Materialized.as(Stores.inMemoryKeyValueStore("consent")));
        builder.<byte[], byte[]>stream(job.get("BENCH_TRANSFERS"))
                .leftJoin(consents, (transfer, consent) -> new Routed(grants(consent, transfer), transfer))
                .split()
                .branch(
                        (key, routed) -> routed.granted(),
                        Branched.withConsumer(s -> s.mapValues(Routed::value).to(job.get("BENCH_PARTNER"))))
                .defaultBranch(
                        Branched.withConsumer(s -> s.mapValues(Routed::value).to(job.get("BENCH_QUARANTINE"))));

        KafkaStreams streams = new KafkaStreams(builder.build(), settings);
        Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
        streams.start();
    }

    /** The trivial decision: the last consent event of the prospect names the first partner of the transfer. */
    private static boolean grants(byte[] consent, byte[] transfer) {
        if (consent == null) {
            return false;
        }
        try {
            String partner = JSON.readTree(transfer).path("partner_ids").path(0).asText();
            for (JsonNode party : JSON.readTree(consent).path("party_ids")) {
                if (party.asText().equals(partner)) {
                    return true;
                }
            }
            return false;
        } catch (IOException malformed) {
            return false;
        }
    }
}
