// Command pahoclients is both Paho clients for Go, for the tests of ingest/clients: VERSION 4 is paho.mqtt.golang, 5 is paho.golang.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// side is what the command line says.
type side struct {
	address string
	tls     *tls.Config
	id      string
	topic   string
}

func main() {
	scenario, version, host, port, ca, cert, key, id := os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5], os.Args[6], os.Args[7], os.Args[8]
	time.AfterFunc(25*time.Second, func() { fail(fmt.Errorf("timeout")) })
	pem, err := os.ReadFile(ca)
	check(err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	pair, err := tls.LoadX509KeyPair(cert, key)
	check(err)
	s := &side{address: net.JoinHostPort(host, port), tls: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}, ServerName: host}, id: id, topic: "talk/" + id}
	if version == "4" {
		s.three(scenario)
	} else {
		s.five(scenario)
	}
}

func fail(err error) {
	fmt.Println("failed:", err)
	os.Exit(1)
}

func check(err error) {
	if err != nil {
		fail(err)
	}
}

// three plays the scenario with MQTT 3.1.1.
func (s *side) three(scenario string) {
	got := make(chan string, 10)
	connect := func(id string, clean bool) (mqtt.Client, *mqtt.ConnectToken) {
		o := mqtt.NewClientOptions().AddBroker("ssl://" + s.address).SetTLSConfig(s.tls).SetClientID(id).SetCleanSession(clean).
			SetAutoReconnect(false).SetConnectTimeout(10 * time.Second).SetProtocolVersion(4).
			SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { got <- string(m.Payload()) })
		c := mqtt.NewClient(o)
		token := c.Connect().(*mqtt.ConnectToken)
		token.Wait()
		return c, token
	}
	if scenario == "refused" {
		if _, token := connect("somebody-else", true); token.Error() != nil {
			fmt.Println("connect refused")
		}
		c, token := connect(s.id, true)
		check(token.Error())
		sub := c.Subscribe("secret/x", 1, nil).(*mqtt.SubscribeToken)
		if sub.Wait(); sub.Error() != nil || sub.Result()["secret/x"] == 0x80 {
			fmt.Println("subscribe refused")
		}
		return
	}
	c, token := connect(s.id, scenario == "talk")
	check(token.Error())
	if scenario == "resume" {
		if token.SessionPresent() {
			fmt.Println("present")
		}
	} else {
		sub := c.Subscribe(s.topic, 2, nil)
		sub.Wait()
		check(sub.Error())
	}
	if scenario == "talk" {
		for qos := range byte(3) {
			pub := c.Publish(s.topic, qos, false, fmt.Sprint("hello-", qos))
			pub.Wait()
			check(pub.Error())
		}
	}
	if scenario != "leave" {
		for range 3 {
			fmt.Println("got", <-got)
		}
	} else {
		fmt.Println("left")
	}
	c.Disconnect(500)
}

// five plays the scenario with MQTT 5.
func (s *side) five(scenario string) {
	ctx := context.Background()
	got := make(chan string, 10)
	connect := func(id string, clean bool) (*paho.Client, *paho.Connack, error) {
		conn, err := tls.Dial("tcp", s.address, s.tls)
		check(err)
		c := paho.NewClient(paho.ClientConfig{Conn: packets.NewThreadSafeConn(conn), OnPublishReceived: []func(paho.PublishReceived) (bool, error){
			func(p paho.PublishReceived) (bool, error) {
				got <- string(p.Packet.Payload)
				return true, nil
			}}})
		expiry := uint32(3600)
		ack, err := c.Connect(ctx, &paho.Connect{ClientID: id, CleanStart: clean, KeepAlive: 30, Properties: &paho.ConnectProperties{SessionExpiryInterval: &expiry}})
		return c, ack, err
	}
	if scenario == "refused" {
		if _, _, err := connect("somebody-else", true); err != nil {
			fmt.Println("connect refused")
		}
		c, _, err := connect(s.id, true)
		check(err)
		if _, err := c.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "secret/x", QoS: 1}}}); err != nil {
			fmt.Println("subscribe refused")
		}
		return
	}
	c, ack, err := connect(s.id, scenario != "resume")
	check(err)
	if scenario == "resume" {
		if ack.SessionPresent {
			fmt.Println("present")
		}
	} else {
		_, err := c.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: s.topic, QoS: 2}}})
		check(err)
	}
	if scenario == "talk" {
		for qos := range byte(3) {
			_, err := c.Publish(ctx, &paho.Publish{Topic: s.topic, QoS: qos, Payload: fmt.Append(nil, "hello-", qos)})
			check(err)
		}
	}
	if scenario != "leave" {
		for range 3 {
			fmt.Println("got", <-got)
		}
		time.Sleep(200 * time.Millisecond) // its last acknowledgements leave by themselves
	} else {
		fmt.Println("left")
	}
	check(c.Disconnect(&paho.Disconnect{ReasonCode: 0}))
}
