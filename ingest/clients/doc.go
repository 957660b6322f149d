// Package clients lets real MQTT clients talk to a real gateway: mosquitto, Paho in Go and Python, MQTT.js, and AWS's device SDK.
//
// Each client is a program that is called as `PROGRAM SCENARIO VERSION HOST PORT CA CERT KEY CLIENT-ID` and plays one of:
//
//	talk     subscribe to talk/CLIENT-ID, publish hello-0, -1 and -2 there with QoS 0, 1 and 2; print "got hello-N" for each
//	leave    open a session that is kept, subscribe to talk/CLIENT-ID with QoS 2, and go; print "left"
//	resume   come back; print "present" if the session is, and "got ..." for the three messages that waited
//	refused  connect as "somebody-else" and print "connect refused"; then as oneself subscribe to secret/x and print "subscribe refused"
//
// .ci/setup go installs what they need.
package clients
