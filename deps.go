//go:build deps

package main

import (
	_ "github.com/VictoriaMetrics/VictoriaMetrics/lib/decimal"
	_ "github.com/VictoriaMetrics/VictoriaMetrics/lib/encoding"
	_ "github.com/VictoriaMetrics/metrics"
	_ "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	_ "github.com/bits-and-blooms/bitset"
	_ "github.com/eclipse/paho.golang/autopaho"
	_ "github.com/fasthttp/websocket"
	_ "github.com/klauspost/compress/huff0"
	_ "github.com/klauspost/compress/zstd"
	_ "github.com/mochi-mqtt/server/v2"
	_ "github.com/prometheus/prometheus/promql"
	_ "github.com/prometheus/prometheus/promql/promqltest"
	_ "github.com/prometheus/prometheus/storage"
	_ "github.com/smallstep/pkcs7"
	_ "github.com/valyala/fasthttp"
	_ "go.yaml.in/yaml/v3"
	_ "golang.org/x/crypto/argon2"
	_ "golang.org/x/sys/unix"
	_ "golang.org/x/time/rate"
	_ "modernc.org/sqlite"
)
