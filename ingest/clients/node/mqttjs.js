// MQTT.js, for the tests of ingest/clients; see doc.go.
const fs = require("node:fs");
const mqtt = require("mqtt");

const [scenario, version, host, port, ca, cert, key, id] = process.argv.slice(2);
const topic = "talk/" + id;
const url = process.env.MQTT_URL || `mqtts://${host}:${port}`; // or wss
setTimeout(() => fail(new Error("timeout")), 25000).unref();

function fail(err) {
  console.log("failed:", err.message);
  process.exit(1);
}

const open = (clientId, clean) =>
  mqtt.connectAsync(url, {
    clientId, clean, protocolVersion: Number(version), reconnectPeriod: 0, connectTimeout: 10000,
    ca: fs.readFileSync(ca), cert: fs.readFileSync(cert), key: fs.readFileSync(key),
    ...(version === "5" ? { properties: { sessionExpiryInterval: 3600 } } : {}),
  }, false);

async function main() {
  if (scenario === "refused") {
    await open("somebody-else", true).then((c) => c.endAsync(true), () => console.log("connect refused"));
    const c = await open(id, true);
    const refused = await c.subscribeAsync("secret/x", { qos: 1 }).then((grants) => grants.some((g) => g.qos >= 128), () => true);
    if (refused) console.log("subscribe refused");
    return c.endAsync();
  }
  let c;
  const got = [];
  let all;
  const three = new Promise((resolve) => (all = resolve));
  const options = {
    clientId: id, clean: scenario !== "resume" && (scenario === "talk" || version === "5"), protocolVersion: Number(version), reconnectPeriod: 0,
    ca: fs.readFileSync(ca), cert: fs.readFileSync(cert), key: fs.readFileSync(key),
    ...(version === "5" ? { properties: { sessionExpiryInterval: 3600 } } : {}),
  };
  c = mqtt.connect(url, options);
  c.on("error", fail);
  c.on("message", (_, payload) => {
    got.push(payload.toString());
    if (got.length === 3) all();
  });
  const connack = await new Promise((resolve) => c.once("connect", resolve));
  if (scenario === "resume") {
    if (connack.sessionPresent) console.log("present");
  } else {
    await c.subscribeAsync(topic, { qos: 2 });
  }
  if (scenario === "talk") for (const qos of [0, 1, 2]) await c.publishAsync(topic, "hello-" + qos, { qos });
  if (scenario === "leave") {
    console.log("left");
  } else {
    await three;
    for (const text of got) console.log("got", text);
  }
  await c.endAsync();
}

main().then(() => process.exit(0), fail);
