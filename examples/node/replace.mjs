// Replaces the asset behind a deployment, then scores two rows with what serves.
//     node replace.mjs SPACE DEPLOYMENT ASSET
import { randomUUID } from "node:crypto";
import { Kafka, Partitioners, logLevel } from "kafkajs";

const [space, deployment, asset] = process.argv.slice(2);
const servers = process.env.BATON_BOOTSTRAP_SERVERS ?? "127.0.0.1:9092";
const prefix = process.env.BATON_TOPIC_PREFIX ?? "baton.";
const kafka = new Kafka({ brokers: servers.split(","), logLevel: logLevel.ERROR });

const commandId = randomUUID();
const requestId = randomUUID();
const header = (message, name) => message.headers[name]?.toString();

// Answers are read from where the topics end now: what is sent below cannot be missed.
const admin = kafka.admin();
await admin.connect();
const topics = [`${prefix}events`, `${prefix}responses`];
const ends = await Promise.all(topics.map((topic) => admin.fetchTopicOffsets(topic)));
const consumer = kafka.consumer({ groupId: `example-${commandId}` });
await consumer.connect();
await consumer.subscribe({ topics });
const waiting = { event: deferred(), answer: deferred() };
await consumer.run({
  autoCommit: false,
  eachMessage: async ({ message }) => {
    const started = header(message, "ce_type") === "baton.event.update-started.v1";
    if (header(message, "ce_causationid") === commandId && !started) waiting.event.resolve(message);
    if (header(message, "request-id") === requestId) waiting.answer.resolve(message);
  },
});
topics.forEach((topic, number) => {
  for (const { partition, high } of ends[number]) consumer.seek({ topic, partition, offset: high });
});

const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner });
await producer.connect();
const late = setTimeout(() => {
  console.error("no answer after 60 s: do a worker and a scoring agent run?");
  process.exit(3);
}, 60_000);

await producer.send({
  topic: `${prefix}commands`,
  messages: [
    {
      key: space,
      headers: {
        ce_specversion: "1.0",
        ce_id: commandId,
        ce_source: "/examples/node",
        ce_type: "baton.command.replace-asset.v1",
        ce_time: new Date().toISOString(),
        ce_actor: "node@example.com",
        "content-type": "application/json",
      },
      value: JSON.stringify({
        space_id: space,
        deployment_id: deployment,
        asset_id: asset,
        reason: "accuracy",
      }),
    },
  ],
});
const event = await waiting.event.promise;
const told = JSON.parse(event.value);
console.log(header(event, "ce_type").replace("baton.", ""), "revision", told.revision ?? told.message);

await producer.send({
  topic: `${prefix}requests`,
  messages: [
    {
      headers: { "deployment-id": deployment, "request-id": requestId },
      value: JSON.stringify({
        input_data: [{ fields: ["amount", "age"], values: [[1.2, 30], [870.5, 41]] }],
      }),
    },
  ],
});
const answer = JSON.parse((await waiting.answer.promise).value);
if (answer.error) {
  console.log(`${answer.error.code}: ${answer.error.message}`);
} else {
  const rows = JSON.stringify(answer.predictions[0].values);
  console.log(`asset ${answer.asset_id}, revision ${answer.revision}: ${rows}`);
}
clearTimeout(late);
await Promise.all([consumer.disconnect(), producer.disconnect(), admin.disconnect()]);
process.exitCode = answer.error ? 1 : 0;

function deferred() {
  const it = {};
  it.promise = new Promise((resolve) => (it.resolve = resolve));
  return it;
}
