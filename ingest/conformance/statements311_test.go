package conformance

// statements311 lists the normative statements of MQTT 3.1.1 in our words: number, whose duty it is, and what it asks for. S is the server's,
// C the client's alone; n/a: the reason follows the colon.
const statements311 = `
1.5.3-1 S text of ill-formed UTF-8 closes the connection
1.5.3-2 S so does U+0000 in a text
1.5.3-3 S a byte order mark is kept as the character that it is
2.2.2-1 S reserved flags have the values of the table
2.2.2-2 S other values of them close the connection
2.3.1-1 S SUBSCRIBE, UNSUBSCRIBE, and PUBLISH of QoS 1 and 2 have a packet id that is not 0
2.3.1-2 C a new packet takes an unused id
2.3.1-3 C a repeated packet keeps its id
2.3.1-4 S both hold for messages of the server
2.3.1-5 S PUBLISH of QoS 0 has no packet id
2.3.1-6 S PUBACK, PUBREC and PUBREL carry the id of their PUBLISH
2.3.1-7 S SUBACK and UNSUBACK carry the id of their request
3.1.0-1 S the first packet is a CONNECT
3.1.0-2 S a second CONNECT ends the connection
3.1.2-1 S a wrong protocol name is not served as MQTT 3.1.1
3.1.2-2 S an unknown level is answered with return code 1
3.1.2-3 S the reserved connect flag must be 0
3.1.2-4 S without clean session the session goes on, or a new one is kept
3.1.2-5 S messages of QoS 1 and 2 are kept for a session without a connection
3.1.2-6 S a clean session begins empty and ends with its connection
3.1.2-7 S retained messages outlive every session
3.1.2-8 S a will is kept and published when the connection ends without DISCONNECT
3.1.2-9 S with the will flag there are topic and message of a will
3.1.2-10 S a will is gone once it was published or discarded
3.1.2-11 S without the will flag there is nothing of a will
3.1.2-12 S and nothing is published
3.1.2-13 S and its QoS is 0
3.1.2-14 S the QoS of a will is 0, 1 or 2
3.1.2-15 S without the will flag its retain flag is 0
3.1.2-16 S a will without the retain flag is not retained
3.1.2-17 S a will with it is
3.1.2-18 S no user name without its flag
3.1.2-19 S a user name with it
3.1.2-20 S no password without its flag
3.1.2-21 S a password with it
3.1.2-22 S no password without a user name
3.1.2-23 C it sends something within each keep alive
3.1.2-24 S silence for one and a half keep alives ends the connection
3.1.3-1 S the fields of the payload have a fixed order
3.1.3-2 S the client id names the session
3.1.3-3 S it is there, and first
3.1.3-4 S it is UTF-8
3.1.3-5 S 1 to 23 letters and digits are allowed
3.1.3-6 S an empty one is replaced by one of the server
3.1.3-7 C an empty one comes with clean session
3.1.3-8 S else return code 2 refuses it
3.1.3-9 S return code 2 refuses ids that the server does not like
3.1.3-10 S a will's topic is UTF-8
3.1.3-11 S a user name is UTF-8
3.1.4-1 S an ill-formed CONNECT closes the connection without CONNACK
3.1.4-2 S a client that comes twice takes over
3.1.4-3 S clean session is dealt with
3.1.4-4 S a good CONNECT gets CONNACK 0
3.1.4-5 S what follows a refused CONNECT does not count
3.2.0-1 S the server's first packet is a CONNACK
3.2.2-1 S a clean session is never present
3.2.2-2 S a kept one is
3.2.2-3 S one that is not there is not
3.2.2-4 S a refusal says that no session is present
3.2.2-5 S a refusal closes the connection
3.2.2-6 S so does a refusal that has no code, without CONNACK
3.3.1-1 S a repeated PUBLISH has the DUP flag
3.3.1-2 S QoS 0 never has
3.3.1-3 S the publisher's flag is not passed on
3.3.1-4 S QoS 3 closes the connection
3.3.1-5 S a retained message is stored with its QoS
3.3.1-6 S new subscriptions get it
3.3.1-7 S one of QoS 0 replaces the one before
3.3.1-8 S it has the retain flag for a new subscription
3.3.1-9 S and not for one that was there
3.3.1-10 S an empty one is passed on and removes it
3.3.1-11 S and is not stored
3.3.1-12 S without the flag nothing is stored or removed
3.3.2-1 S the topic comes first and is UTF-8
3.3.2-2 S it has no wildcard
3.3.2-3 S it matches the filter of who gets it
3.3.4-1 S the answer is that of the QoS
3.3.5-1 S overlapping subscriptions give the highest QoS
3.3.5-2 S a publish that is not allowed is acknowledged, or ends the connection
3.6.1-1 S PUBREL has its flags
3.8.1-1 S SUBSCRIBE has its flags
3.8.3-1 S filters are UTF-8
3.8.3-2 n/a: wildcards are supported
3.8.3-3 S there is at least one
3-8.3-4 S reserved bits and QoS 3 close the connection
3.8.4-1 S SUBSCRIBE is answered
3.8.4-2 S with its packet id
3.8.4-3 S the same filter again replaces the subscription; retained messages come again
3.8.4-4 S several filters count as several SUBSCRIBEs with one answer
3.8.4-5 S a code for each: the QoS, or failure
3.8.4-6 S messages come with the lower of both QoS
3.9.3-1 S codes have the order of the filters
3.9.3-2 S and are 0, 1, 2 or 0x80
3.10.1-1 S UNSUBSCRIBE has its flags
3.10.3-1 S its filters are UTF-8
3.10.3-2 S there is at least one
3.10.4-1 S filters are compared byte by byte
3.10.4-2 S nothing new is delivered
3.10.4-3 S what was begun is completed
3.10.4-4 S UNSUBACK has the packet id
3.10.4-5 S also where nothing was deleted
3.10.4-6 S several filters count as several requests with one answer
3.12.4-1 S PINGREQ is answered
3.14.1-1 S DISCONNECT with flags ends the connection as a violation
3.14.4-1 S a client closes the connection after DISCONNECT: so does the server
3.14.4-2 S nothing after DISCONNECT counts
3.14.4-3 S DISCONNECT discards the will
4.1.0-1 S the session lasts as long as it is to
4.1.0-2 S and as its connection
4.3.1-1 S QoS 0 is sent with DUP 0
4.3.2-1 S QoS 1 is sent with a free id, and unacknowledged until PUBACK
4.3.2-2 S QoS 1 is answered with PUBACK; the id is free then
4.3.3-1 S QoS 2 is sent with a free id, released after PUBREC, never sent again after PUBREL
4.3.3-2 S QoS 2 is answered, delivered once, and complete with PUBCOMP
4.4.0-1 S after a reconnect what is not acknowledged is sent again, with its ids
4.5.0-1 S a message is added to the sessions of all subscribers
4.5.0-2 C messages are acknowledged whatever becomes of them
4.6.0-1 S messages are sent again in their order
4.6.0-2 S PUBACKs have the order of the PUBLISHes
4.6.0-3 S so have PUBRECs
4.6.0-4 S PUBRELs have the order of the PUBRECs
4.6.0-5 S every topic is ordered
4.6.0-6 S messages of one client to a topic reach each subscriber in order
4.7.1-1 S topics have no wildcards
4.7.1-2 S # stands alone, and last
4.7.1-3 S + fills its level
4.7.2-1 S a leading wildcard does not match topics with $
4.7.3-1 S topics and filters have at least one character
4.7.3-2 S and no U+0000
4.7.3-3 S and at most 65,535 bytes
4.7.3-4 S nothing is normalized
4.8.0-1 S violations close the connection
4.8.0-2 S transient errors do, too
6.0.0-1 S WebSocket frames are binary
6.0.0-2 S packets may lie across frames
6.0.0-3 C it offers the subprotocol mqtt
6.0.0-4 S the server selects it
7.0.0-1 n/a: the gateway does not connect to other servers
7.0.0-2 S no extension is needed
7.1.1-1 S a transport of ordered bytes
7.1.2-1 C the same
`
