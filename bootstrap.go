package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"muster/agent/wire"
	"muster/pki"
	"muster/registry/account"
	"muster/registry/policy"
)

// maxBootstrapBytes bounds the bootstrap file and each CA file that it names.
const maxBootstrapBytes = 64 << 20

// bootstrap is the file of --bootstrap: what an image or a test needs from the first second. Applying it twice changes nothing.
type bootstrap struct {
	account.Bootstrap        // adminToken and accessKeys
	AccountID         string `json:"accountId"` // wins over aws.account-id
	ClientCAs         []struct {
		File         string `json:"file"` // PEM; a relative path starts at the bootstrap file's folder
		AutoRegister bool   `json:"autoRegister"`
	} `json:"clientCAs"`
	Allow []struct {
		ThingName     string `json:"thingName"`
		SPKISHA256    string `json:"spkiSha256"`
		ThingTypeName string `json:"thingTypeName"`
	} `json:"allow"`
	DefaultPolicy json.RawMessage `json:"defaultPolicy"`

	folder string
}

// readBootstrap reads and checks the file; an empty name gives an empty bootstrap.
func readBootstrap(name string) (*bootstrap, error) {
	b := &bootstrap{folder: filepath.Dir(name)}
	if name == "" {
		return b, nil
	}
	text, err := readBounded(name)
	if err != nil {
		return nil, fmt.Errorf("bootstrap file: %w", err)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(b); err != nil {
		return nil, fmt.Errorf("bootstrap file %q: %w", name, err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("bootstrap file %q: text after the JSON object", name)
	}
	return b, nil
}

// allowed returns the keys of the file.
func (b *bootstrap) allowed() ([]pki.Allowed, error) {
	var all []pki.Allowed
	for i, entry := range b.Allow {
		key, err := wire.ParseKeyHash(entry.SPKISHA256)
		if err == nil {
			err = wire.CheckThingName(entry.ThingName)
		}
		if err != nil {
			return nil, fmt.Errorf("bootstrap file: allow[%d]: %w", i, err)
		}
		all = append(all, pki.Allowed{Key: key, ThingName: entry.ThingName, ThingTypeName: entry.ThingTypeName})
	}
	return all, nil
}

// devicePolicy is the document for devices to which no policy is attached: the file's, else the least-privilege one.
func (b *bootstrap) devicePolicy() (string, error) {
	if len(b.DefaultPolicy) == 0 {
		return policy.DefaultDocument, nil
	}
	if _, err := policy.Parse(b.DefaultPolicy); err != nil {
		return "", fmt.Errorf("bootstrap file: defaultPolicy: %w", err)
	}
	return string(b.DefaultPolicy), nil
}

// clientCAs hands each CA file's bytes to add.
func (b *bootstrap) clientCAs(add func(pem []byte, autoRegister bool) error) error {
	for _, ca := range b.ClientCAs {
		name := ca.File
		if !filepath.IsAbs(name) {
			name = filepath.Join(b.folder, name)
		}
		text, err := readBounded(name)
		if err == nil {
			err = add(text, ca.AutoRegister)
		}
		if err != nil {
			return fmt.Errorf("bootstrap file: clientCAs %q: %w", ca.File, err)
		}
	}
	return nil
}

func readBounded(name string) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxBootstrapBytes+1))
	if err == nil && len(text) > maxBootstrapBytes {
		err = fmt.Errorf("%q is larger than %d MiB", name, maxBootstrapBytes>>20)
	}
	return text, err
}
