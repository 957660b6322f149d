module pahoclients

go 1.26

require (
	github.com/eclipse/paho.golang v0.23.0
	github.com/eclipse/paho.mqtt.golang v1.5.1
	github.com/gorilla/websocket v1.5.3
	golang.org/x/net v0.44.0
	golang.org/x/sync v0.17.0
)
