"""Paho for Python, for the tests of ingest/clients; see doc.go."""
import ssl
import sys
import threading

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

scenario, version, host, port, ca, cert, key, name = sys.argv[1:9]
five = version == "5"
topic = "talk/" + name


class Side:
    """One connection and what came of it."""

    def __init__(self, client_id, clean):
        self.changed = threading.Condition()
        self.rc = self.present = self.granted = None
        self.got = []
        self.done = set()
        if five:
            self.client = mqtt.Client(client_id, protocol=mqtt.MQTTv5)
        else:
            self.client = mqtt.Client(client_id, clean_session=clean, protocol=mqtt.MQTTv311)
        c = self.client
        c.tls_set(ca, cert, key, tls_version=ssl.PROTOCOL_TLS_CLIENT)
        c.on_connect = lambda c, u, flags, rc, *p: self.note(rc=int(getattr(rc, "value", rc)), present=bool(flags["session present"]))
        c.on_subscribe = lambda c, u, mid, codes, *p: self.note(granted=[int(getattr(q, "value", q)) for q in codes])
        c.on_message = self.message
        c.on_publish = self.published
        if five:
            props = Properties(PacketTypes.CONNECT)
            props.SessionExpiryInterval = 3600
            c.connect(host, int(port), clean_start=clean, properties=props)
        else:
            c.connect(host, int(port))
        c.loop_start()
        self.wait(lambda: self.rc is not None)

    def note(self, **what):
        with self.changed:
            self.__dict__.update(what)
            self.changed.notify_all()

    def message(self, c, u, m):
        with self.changed:
            self.got.append(m.payload.decode())
            self.changed.notify_all()

    def published(self, c, u, mid):
        with self.changed:
            self.done.add(mid)
            self.changed.notify_all()

    def wait(self, ok):
        with self.changed:
            if not self.changed.wait_for(ok, 20):
                sys.exit("failed: timeout")

    def subscribe(self, filter):
        self.granted = None
        self.client.subscribe(filter, 2)
        self.wait(lambda: self.granted is not None)
        return self.granted[0]

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


if scenario == "refused":
    other = Side("somebody-else", True)
    if other.rc != 0:
        print("connect refused")
    other.client.loop_stop()
    own = Side(name, True)
    if own.subscribe("secret/x") >= 0x80:
        print("subscribe refused")
    own.close()
    sys.exit()

side = Side(name, scenario == "talk" or five and scenario == "leave")
if side.rc != 0:
    sys.exit("failed: connect %d" % side.rc)
if scenario == "resume":
    if side.present:
        print("present")
elif side.subscribe(topic) != 2:
    sys.exit("failed: subscribe")
if scenario == "talk":
    for qos in range(3):
        mid = side.client.publish(topic, "hello-%d" % qos, qos).mid
        side.wait(lambda: mid in side.done)
if scenario == "leave":
    print("left")
else:
    side.wait(lambda: len(side.got) >= 3)
    for text in side.got:
        print("got", text)
side.close()
