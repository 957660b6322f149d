// AWS's device SDK v2, for the tests of ingest/clients; see doc.go. It knows QoS 0 and 1 only, as AWS does, so hello-2 is sent with QoS 1.
const { mqtt, mqtt5, iot } = require("aws-iot-device-sdk-v2");
const { once } = require("node:events");

const [scenario, version, host, port, ca, cert, key, id] = process.argv.slice(2);
const topic = "talk/" + id;
const text = (payload) => Buffer.from(payload).toString();
setTimeout(() => fail(new Error("timeout")), 25000).unref();

function fail(err) {
  console.log("failed:", err.message || err);
  process.exit(1);
}

// collect prints what came once it is three messages.
function collect() {
  const got = [];
  let done;
  const three = new Promise((resolve) => (done = resolve));
  return { three, add: (payload) => { got.push("got " + text(payload)); if (got.length === 3) { console.log(got.join("\n")); done(); } } };
}

async function main4() {
  const open = (clientId, clean) => {
    const config = iot.AwsIotMqttConnectionConfigBuilder.new_mtls_builder_from_path(cert, key)
      .with_certificate_authority_from_path(undefined, ca).with_endpoint(host).with_port(Number(port)).with_client_id(clientId)
      .with_clean_session(clean).with_reconnect_min_sec(10).with_reconnect_max_sec(20).build();
    return new mqtt.MqttClient().new_connection(config);
  };
  if (scenario === "refused") {
    await open("somebody-else", true).connect().then(() => {}, () => console.log("connect refused"));
    const c = open(id, true);
    await c.connect();
    const grant = await c.subscribe("secret/x", mqtt.QoS.AtLeastOnce, () => {}).catch(() => ({ error_code: 1 }));
    if (grant.error_code || grant.qos === 128) console.log("subscribe refused");
    return;
  }
  const c = open(id, scenario === "talk");
  const inbox = collect();
  c.on("message", (_, payload) => inbox.add(payload));
  const present = await c.connect();
  if (scenario === "resume") {
    if (present) console.log("present");
  } else {
    await c.subscribe(topic, mqtt.QoS.AtLeastOnce);
  }
  if (scenario === "talk") for (const n of [0, 1, 2]) await c.publish(topic, "hello-" + n, Math.min(n, 1));
  if (scenario === "leave") console.log("left");
  else await inbox.three;
  await c.disconnect();
}

async function main5() {
  const open = (clientId, session) => {
    const config = iot.AwsIotMqtt5ClientConfigBuilder.newDirectMqttBuilderWithMtlsFromPath(host, cert, key)
      .withPort(Number(port)).withCertificateAuthorityFromPath(undefined, ca).withSessionBehavior(session)
      .withConnectProperties({ clientId, keepAliveIntervalSeconds: 30, sessionExpiryIntervalSeconds: 3600 }).build();
    return new mqtt5.Mqtt5Client(config);
  };
  const clean = mqtt5.ClientSessionBehavior.Clean;
  if (scenario === "refused") {
    const other = open("somebody-else", clean);
    const failure = once(other, "connectionFailure");
    other.start();
    await failure;
    console.log("connect refused");
    other.stop();
    const c = open(id, clean);
    const up = once(c, "connectionSuccess");
    c.start();
    await up;
    const suback = await c.subscribe({ subscriptions: [{ topicFilter: "secret/x", qos: 1 }] });
    if (suback.reasonCodes[0] >= 128) console.log("subscribe refused");
    return;
  }
  // The SDK resumes a session only where it knows of one itself, unless told to at the first connection.
  const c = open(id, scenario === "resume" ? mqtt5.ClientSessionBehavior.RejoinAlways : clean);
  const inbox = collect();
  c.on("messageReceived", (event) => inbox.add(event.message.payload));
  const up = once(c, "connectionSuccess");
  c.start();
  const [success] = await up;
  if (scenario === "resume") {
    if (success.connack.sessionPresent) console.log("present");
  } else {
    await c.subscribe({ subscriptions: [{ topicFilter: topic, qos: 1 }] });
  }
  if (scenario === "talk") for (const n of [0, 1, 2]) await c.publish({ topicName: topic, qos: Math.min(n, 1), payload: "hello-" + n });
  if (scenario === "leave") console.log("left");
  else await inbox.three;
  const down = once(c, "stopped");
  c.stop();
  await down;
}

(version === "4" ? main4() : main5()).then(() => process.exit(0), fail);
