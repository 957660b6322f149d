package conformance

// statements5 lists the normative statements of MQTT 5.0; see statements311.
const statements5 = `
1.5.4-1 S text of ill-formed UTF-8 closes the connection
1.5.4-2 S so does U+0000 in a text
1.5.4-3 S a byte order mark is kept as the character that it is
1.5.5-1 S variable byte integers have their shortest form
1.5.7-1 S both strings of a pair are UTF-8
2.1.3-1 S reserved flags have the values of the table
2.2.1-2 S PUBLISH of QoS 0 has no packet id
2.2.1-3 S a request has an id that is not 0
2.2.1-4 S the server's messages have unused ids that are not 0
2.2.1-5 S acknowledgements carry the id of their PUBLISH
2.2.1-6 S SUBACK and UNSUBACK carry the id of their request
2.2.2-1 S no properties are a length of 0
3.1.0-1 S the first packet is a CONNECT
3.1.0-2 S a second CONNECT ends the connection
3.1.2-1 S a wrong protocol name closes the connection
3.1.2-2 S an unknown version does, too
3.1.2-3 S the reserved connect flag must be 0
3.1.2-4 S clean start discards the session
3.1.2-5 S else a session that is there goes on
3.1.2-6 S or a new one begins
3.1.2-7 S a will is stored
3.1.2-8 S and published when the connection ends, unless discarded
3.1.2-9 S with the will flag its properties, topic and payload are there
3.1.2-10 S a will is gone once it was published or discarded
3.1.2-11 S without the flag its QoS is 0
3.1.2-12 S its QoS is 0, 1 or 2
3.1.2-13 S without the flag its retain flag is 0
3.1.2-14 S a will without the retain flag is not retained
3.1.2-15 S a will with it is
3.1.2-16 S no user name without its flag
3.1.2-17 S a user name with it
3.1.2-18 S no password without its flag
3.1.2-19 S a password with it
3.1.2-20 C it sends something within each keep alive
3.1.2-21 C it takes the keep alive of the server
3.1.2-22 S silence for one and a half keep alives ends the connection
3.1.2-23 S session state is stored while the expiry interval lasts
3.1.2-24 S no packet is larger than the client takes
3.1.2-25 S one that would be is dropped as if it had been delivered
3.1.2-26 S no topic alias above the client's maximum
3.1.2-27 S none at all where there is no maximum
3.1.2-28 S no response information that was not asked for
3.1.2-29 S no reason strings where the client wants none, but on CONNACK and DISCONNECT
3.1.2-30 C only AUTH and DISCONNECT before CONNACK, with an authentication method
3.1.3-1 S the fields of the payload have a fixed order
3.1.3-2 S the client id names the session
3.1.3-3 S it is there, and first
3.1.3-4 S it is UTF-8
3.1.3-5 S 1 to 23 letters and digits are allowed
3.1.3-6 S an empty one is replaced by one of the server
3.1.3-7 S which it tells
3.1.3-8 S an id that the server does not like is refused, and the connection closed
3.1.3-9 S no will where its session goes on before the delay is over
3.1.3-10 S the user properties of a will keep their order
3.1.3-11 S a will's topic is UTF-8
3.1.3-12 S a user name is UTF-8
3.1.4-1 S an ill-formed CONNECT closes the connection
3.1.4-2 S so does one that is not allowed
3.1.4-3 S a client that comes twice takes over; the old connection reads 0x8E
3.1.4-4 S clean start is dealt with
3.1.4-5 S a good CONNECT gets CONNACK 0
3.1.4-6 S what follows a refused CONNECT does not count
3.2.0-1 S CONNACK comes before everything else
3.2.0-2 S and once
3.2.2-1 S its reserved flags are 0
3.2.2-2 S no session is present after a clean start
3.2.2-3 S else it is present if it was there
3.2.2-4 C it closes where it knows of no session
3.2.2-5 C it drops its state where there is none
3.2.2-6 S a refusal says that no session is present
3.2.2-7 S a refusal closes the connection
3.2.2-8 S its code is one of the list
3.2.2-9 n/a: QoS 2 is supported
3.2.2-10 n/a: QoS 2 is supported
3.2.2-11 C no QoS above the server's maximum
3.2.2-12 n/a: QoS 2 is supported for wills
3.2.2-13 n/a: retained messages are supported
3.2.2-14 C no retained messages where there are none
3.2.2-15 S the client sends no packet larger than the server takes: it is told with 0x95
3.2.2-16 S an assigned id is no other session's
3.2.2-17 C no topic alias above the server's maximum
3.2.2-18 C none where there is no maximum
3.2.2-19 S no reason string that makes CONNACK too large for the client
3.2.2-20 S nor user properties
3.2.2-21 C it takes the keep alive of the server
3.2.2-22 S without one the client's counts
3.3.1-1 S a repeated PUBLISH has the DUP flag
3.3.1-2 S QoS 0 never has
3.3.1-3 S the publisher's flag is not passed on
3.3.1-4 S QoS 3 closes the connection
3.3.1-5 S a retained message replaces the one before
3.3.1-6 S an empty one is passed on and removes it
3.3.1-7 S and is not stored
3.3.1-8 S without the flag nothing is stored or removed
3.3.1-9 S retain handling 0 sends retained messages
3.3.1-10 S 1 only for a subscription that is new
3.3.1-11 S 2 none
3.3.1-12 S without retain as published the flag is 0
3.3.1-13 S with it the flag is the publisher's
3.3.2-1 S the topic comes first and is UTF-8
3.3.2-2 S it has no wildcard
3.3.2-3 S it matches the filter of who gets it
3.3.2-4 S the payload format indicator is passed on
3.3.2-5 S a message that has expired is not delivered
3.3.2-6 S what is left of its time is passed on
3.3.2-7 S topic aliases end with their connection
3.3.2-8 S the alias 0 is an error
3.3.2-9 C no alias above the server's maximum
3.3.2-10 C it takes all up to its own
3.3.2-11 S no alias above the client's maximum
3.3.2-12 S the server takes all up to its own
3.3.2-13 S a response topic is UTF-8
3.3.2-14 S and has no wildcard
3.3.2-15 S and is passed on
3.3.2-16 S so are correlation data
3.3.2-17 S and user properties
3.3.2-18 S in their order
3.3.2-19 S the content type is UTF-8
3.3.2-20 S and is passed on
3.3.4-1 S the answer is that of the QoS
3.3.4-2 S overlapping subscriptions give the highest QoS
3.3.4-3 S their identifiers are sent
3.3.4-4 S all of them in one message
3.3.4-5 S or each in its own
3.3.4-6 S a client sends none
3.3.4-7 S a client keeps to the receive maximum: above it is cut off with 0x93
3.3.4-8 C other packets do not wait for it
3.3.4-9 S the server keeps to the client's
3.3.4-10 S and its other packets do not wait
3.4.2-1 S PUBACK has a code of its list
3.4.2-2 S no reason string that makes it too large
3.4.2-3 S nor user properties
3.5.2-1 S PUBREC has a code of its list
3.5.2-2 S no reason string that makes it too large
3.5.2-3 S nor user properties
3.6.1-1 S PUBREL has its flags
3.6.2-1 S and a code of its list
3.6.2-2 S no reason string that makes it too large
3.6.2-3 S nor user properties
3.7.2-1 S PUBCOMP has a code of its list
3.7.2-2 S no reason string that makes it too large
3.7.2-3 S nor user properties
3.8.1-1 S SUBSCRIBE has its flags
3.8.3-1 S filters are UTF-8
3.8.3-2 S there is at least one
3.8.3-3 S without local messages a client does not get its own
3.8.3-4 S which shared subscriptions cannot ask for
3.8.3-5 S reserved bits are malformed
3.8.4-1 S SUBSCRIBE is answered
3.8.4-2 S with its packet id
3.8.4-3 S the same filter again replaces the subscription
3.8.4-4 S with retain handling 0 retained messages come again, and nothing is lost
3.8.4-5 S several filters count as several SUBSCRIBEs with one answer
3.8.4-6 S a code for each
3.8.4-7 S which is the QoS, or failure
3.8.4-8 S messages come with the lower of both QoS
3.9.2-1 S no reason string that makes SUBACK too large
3.9.2-2 S nor user properties
3.9.3-1 S codes have the order of the filters
3.9.3-2 S and are of the list
3.10.1-1 S UNSUBSCRIBE has its flags
3.10.3-1 S its filters are UTF-8
3.10.3-2 S there is at least one
3.10.4-1 S filters are compared character by character
3.10.4-2 S nothing new is delivered
3.10.4-3 S what was begun is completed
3.10.4-4 S UNSUBSCRIBE is answered
3.10.4-5 S with its packet id, also where nothing was deleted
3.10.4-6 S several filters count as several requests with one answer
3.11.2-1 S no reason string that makes UNSUBACK too large
3.11.2-2 S nor user properties
3.11.3-1 S codes have the order of the filters
3.11.3-2 S and are of the list
3.12.4-1 S PINGREQ is answered
3.14.0-1 S no DISCONNECT before CONNACK
3.14.1-1 S its flags are 0
3.14.2-1 S its code is of the list
3.14.2-2 S the server sends no session expiry with it
3.14.2-3 S no reason string that makes it too large
3.14.2-4 S nor user properties
3.14.4-1 S nothing follows it
3.14.4-2 S the connection is closed
3.14.4-3 S with code 0 it discards the will
3.15.1-1 S AUTH with flags closes the connection
3.15.2-1 n/a: the server sends no AUTH
3.15.2-2 n/a: the server sends no AUTH
3.15.2-3 n/a: the server sends no AUTH
4.1.0-1 S no session is dropped while its connection is open
4.1.0-2 S it is once its expiry interval is over
4.2.0-1 S a transport of ordered bytes
4.3.1-1 S QoS 0 is sent with DUP 0
4.3.2-1 S QoS 1 is sent with a free id
4.3.2-2 S with DUP 0
4.3.2-3 S and is unacknowledged until PUBACK
4.3.2-4 S it is answered with PUBACK
4.3.2-5 S after which the id means a new message
4.3.3-1 S QoS 2 is sent with a free id
4.3.3-2 S with DUP 0
4.3.3-3 S and is unacknowledged until PUBREC
4.3.3-4 S which PUBREL answers
4.3.3-5 S which is unacknowledged until PUBCOMP
4.3.3-6 S after PUBREL the PUBLISH is not sent again
4.3.3-7 S a message that was sent does not expire
4.3.3-8 S it is answered with PUBREC
4.3.3-9 S after a PUBREC of failure the id means a new message
4.3.3-10 S until PUBREL a repetition is answered and not delivered
4.3.3-11 S PUBREL is answered with PUBCOMP
4.3.3-12 S after which the id means a new message
4.3.3-13 S the exchange goes on though the message has expired
4.4.0-1 S after a reconnect what is not acknowledged is sent again, with its ids, and at no other time
4.4.0-2 S a refused message is not sent again
4.5.0-1 S a message is added to the sessions of all subscribers
4.5.0-2 C messages are acknowledged whatever becomes of them
4.6.0-1 C messages are sent again in their order
4.6.0-2 C PUBACKs have the order of the PUBLISHes
4.6.0-3 C so have PUBRECs
4.6.0-4 C PUBRELs have the order of the PUBRECs
4.6.0-5 S messages of one client to a topic reach each subscriber in order
4.6.0-6 S every topic is ordered
4.7.0-1 S topics have no wildcards
4.7.1-1 S # stands alone, and last
4.7.1-2 S + fills its level
4.7.2-1 S a leading wildcard does not match topics with $
4.7.3-1 S topics and filters have at least one character
4.7.3-2 S and no U+0000
4.7.3-3 S and at most 65,535 bytes
4.7.3-4 S nothing is normalized
4.8.2-1 S a shared subscription begins with $share/ and has a name
4.8.2-2 S without wildcards and slashes, before a filter
4.8.2-3 S its QoS is that of the member
4.8.2-4 S a QoS 2 message that was begun with a member stays its own
4.8.2-5 S and goes to no other when its session ends
4.8.2-6 S nor where the member refuses it
4.9.0-1 S the send quota begins at the receive maximum or below
4.9.0-2 S at 0 nothing of QoS 1 and 2 is sent
4.9.0-3 S all else goes on
4.12.0-1 S an authentication method that is unknown is refused
4.12.0-2 n/a: there is no enhanced authentication
4.12.0-3 C its AUTH says that authentication goes on
4.12.0-4 S a refusal closes the connection
4.12.0-5 n/a: there is no enhanced authentication
4.12.0-6 S no AUTH and no method without one in CONNECT
4.12.0-7 S nor from the client: it is cut off
4.12.1-1 C authenticating anew takes the same method
4.12.1-2 n/a: there is no enhanced authentication
4.13.1-1 S malformed packets and protocol errors close the connection
4.13.2-1 S so does every code of 0x80 and more in CONNACK and DISCONNECT
6.0.0-1 S WebSocket frames are binary
6.0.0-2 S packets may lie across frames
6.0.0-3 C it offers the subprotocol mqtt
6.0.0-4 S the server selects it
`
