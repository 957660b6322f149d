package admin_test

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// awsDriver runs the AWS CLI's own code for one command after the other, because its start takes most of its time: a line
// of standard input is the arguments as JSON, a line of standard output is [exit code, output, errors].
const awsDriver = `
import contextlib, io, json, sys
from awscli.clidriver import create_clidriver
driver = create_clidriver()
for line in sys.stdin:
    out = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)
    err = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = driver.main(json.loads(line))
        except SystemExit as e:
            code = e.code
    print(json.dumps([code, out.buffer.getvalue().decode(), err.buffer.getvalue().decode()]), flush=True)
`

// awsCLI is a running AWS CLI with the right key.
type awsCLI struct {
	t    testing.TB
	args []string // of every command
	in   *json.Encoder
	out  *bufio.Scanner
}

// openAWS starts the AWS CLI of the Debian package awscli.
func (g *gateway) openAWS() *awsCLI {
	g.t.Helper()
	if exec.Command("/usr/bin/python3", "-c", "import awscli").Run() != nil {
		g.t.Skip("the AWS CLI is not installed (Debian: awscli)")
	}
	cmd := exec.Command("/usr/bin/python3", "-c", awsDriver)
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + g.t.TempDir(), "LC_ALL=C.UTF-8", "AWS_EC2_METADATA_DISABLED=true",
		"AWS_DEFAULT_REGION=eu-central-1", "AWS_ACCESS_KEY_ID=" + keyID, "AWS_SECRET_ACCESS_KEY=" + keySecret, "AWS_MAX_ATTEMPTS=1",
	}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		g.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		g.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			g.t.Errorf("the AWS CLI: %v", err)
		}
	})
	a := &awsCLI{t: g.t, in: json.NewEncoder(in), out: bufio.NewScanner(out)}
	a.out.Buffer(nil, 1<<20)
	a.args = []string{"--endpoint-url", g.url, "--ca-bundle", filepath.Join(g.dir, "ca.pem"), "--output", "json", "iot"}
	return a
}

func (a *awsCLI) run(args ...string) (code int, out, errs string) {
	a.t.Helper()
	if err := a.in.Encode(append(append([]string{}, a.args...), args...)); err != nil {
		a.t.Fatal(err)
	}
	if !a.out.Scan() {
		a.t.Fatalf("the AWS CLI ended: %v", a.out.Err())
	}
	if err := json.Unmarshal(a.out.Bytes(), &[]any{&code, &out, &errs}); err != nil {
		a.t.Fatalf("%v in %s", err, a.out.Text())
	}
	return code, out, errs
}

// ok runs a command of `aws iot`, reads its answer into v, if that is not nil, and returns it without white space.
func (a *awsCLI) ok(v any, args ...string) string {
	a.t.Helper()
	code, out, errs := a.run(args...)
	if code != 0 {
		a.t.Fatalf("aws iot %s: %d %s", strings.Join(args, " "), code, errs)
	}
	if v != nil {
		if err := json.Unmarshal([]byte(out), v); err != nil {
			a.t.Fatalf("aws iot %s: %v in %s", strings.Join(args, " "), err, out)
		}
	}
	return strings.Join(strings.Fields(out), "")
}

// fails runs a command that must fail with that error and those words in its message.
func (a *awsCLI) fails(errorType, words string, args ...string) {
	a.t.Helper()
	code, out, errs := a.run(args...)
	if code == 0 || !strings.Contains(errs, "("+errorType+")") || !strings.Contains(errs, words) {
		a.t.Fatalf("aws iot %s: %d %s%s\nwant %s: %s", strings.Join(args, " "), code, out, errs, errorType, words)
	}
}
