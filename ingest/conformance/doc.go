// Package conformance holds muster's MQTT side to the standards: a test for every normative statement of MQTT 3.1.1 and 5.0
// that a server must keep, against a real server over real sockets, in each of the ways in which a server can run.
//
// statements311_test.go and statements5_test.go list every statement; docs/mqtt-conformance.md is made of them, with the tests.
package conformance
