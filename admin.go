package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
)

const adminHelp = `muster admin: administers a running gateway of this machine.

  muster admin allow KEYS.csv                   allow the keys of a CSV file (thingName,spkiSha256,thingTypeName); - reads standard input
  muster admin allow --thing lamp-1 --key HASH  allow one key
  muster admin login-link [--user NAME]         print an address that signs in once, within 15 minutes
  muster admin revoke THING                     revoke the certificates of a thing and end its session

`

// adminCommand talks to the gateway of a data folder through its local socket.
func adminCommand(ctx context.Context, args []string, out, _ io.Writer) error {
	verbs := map[string]func(context.Context, []string, io.Writer) error{
		"allow": adminAllow, "login-link": adminLoginLink, "revoke": adminRevoke,
	}
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		fmt.Fprint(out, adminHelp)
		return flag.ErrHelp
	}
	verb, ok := verbs[args[0]]
	if !ok {
		return fmt.Errorf("unknown command %q; `muster admin --help` lists them", args[0])
	}
	return verb(ctx, args[1:], out)
}

// adminFlags parses args for a verb; options may stand before or after its one operand.
func adminFlags(verb string, args []string, out io.Writer, add func(*flag.FlagSet)) (client *localClient, operand string, err error) {
	flags := flag.NewFlagSet("admin "+verb, flag.ContinueOnError)
	flags.SetOutput(out)
	dataDir := flags.String("data-dir", "./data", "`folder` of a gateway that runs on this machine")
	add(flags)
	flags.Usage = func() {
		fmt.Fprint(out, adminHelp)
		flags.PrintDefaults()
	}
	for {
		if err := flags.Parse(args); err != nil {
			return nil, "", err
		}
		if flags.NArg() == 0 {
			return newLocalClient(*dataDir), operand, nil
		}
		if operand != "" {
			return nil, "", fmt.Errorf("unexpected argument %q", flags.Arg(0))
		}
		operand, args = flags.Arg(0), flags.Args()[1:]
	}
}

func adminAllow(ctx context.Context, args []string, out io.Writer) error {
	var thing, key, typeName string
	client, file, err := adminFlags("allow", args, out, func(flags *flag.FlagSet) {
		flags.StringVar(&thing, "thing", "", "`name` of the thing")
		flags.StringVar(&key, "key", "", "SHA-256 `hash` of its public key, 64 hex digits")
		flags.StringVar(&typeName, "type", "", "thing type, made if it is not there")
	})
	if err != nil {
		return err
	}
	if (file == "") == (key == "") {
		return errors.New("name a CSV file (- for standard input), or --thing and --key")
	}
	var answer []byte
	if file == "" {
		body, err := json.Marshal([]map[string]string{{"thingName": thing, "spkiSha256": key, "thingTypeName": typeName}})
		if err != nil {
			return err
		}
		answer, err = client.call(ctx, "POST", "/api/allow", "application/json", strings.NewReader(string(body)))
		if err != nil {
			return err
		}
	} else {
		rows := io.Reader(os.Stdin)
		if file != "-" {
			opened, err := os.Open(file)
			if err != nil {
				return err
			}
			defer opened.Close()
			rows = opened
		}
		if answer, err = client.call(ctx, "POST", "/api/allow", "text/csv", rows); err != nil {
			return err
		}
	}
	var result struct {
		Added  int `json:"added"`
		Errors []struct {
			Line    int    `json:"line"`
			Message string `json:"message"`
		} `json:"errors"`
	}
	if err := json.Unmarshal(answer, &result); err != nil {
		return fmt.Errorf("answer of the gateway: %w", err)
	}
	for _, row := range result.Errors {
		fmt.Fprintf(out, "line %d: %s\n", row.Line, row.Message)
	}
	fmt.Fprintf(out, "%d allowed\n", result.Added)
	if len(result.Errors) > 0 {
		return fmt.Errorf("%d rows were refused", len(result.Errors))
	}
	return nil
}

func adminLoginLink(ctx context.Context, args []string, out io.Writer) error {
	var user string
	client, operand, err := adminFlags("login-link", args, out, func(flags *flag.FlagSet) {
		flags.StringVar(&user, "user", "admin", "`name` of the user; one who does not exist is made, with the role admin and no password")
	})
	if err != nil {
		return err
	}
	if operand != "" {
		return fmt.Errorf("unexpected argument %q", operand)
	}
	body, err := json.Marshal(map[string]string{"user": user})
	if err != nil {
		return err
	}
	answer, err := client.call(ctx, "POST", "/api/login-links", "application/json", strings.NewReader(string(body)))
	if err != nil {
		return err
	}
	var link struct {
		URL string `json:"url"`
	}
	if err := json.Unmarshal(answer, &link); err != nil {
		return fmt.Errorf("answer of the gateway: %w", err)
	}
	_, err = fmt.Fprintln(out, link.URL)
	return err
}

func adminRevoke(ctx context.Context, args []string, out io.Writer) error {
	client, thing, err := adminFlags("revoke", args, out, func(*flag.FlagSet) {})
	if err != nil {
		return err
	}
	if thing == "" {
		return errors.New("name a thing")
	}
	if _, err := client.call(ctx, "POST", "/api/things/"+url.PathEscape(thing)+"/revoke", "", nil); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "the certificates of %s are revoked, its session is ended and its keys are blocked\n", thing)
	return err
}
