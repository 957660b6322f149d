package admin_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// awsDriver runs the AWS CLI's own code for one command after the other, because its start and the reading of AWS's model take most
// of its time: a line of standard input is the arguments as JSON, a line of standard output is [exit code, output, errors].
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

// awsProcess is the one AWS CLI of all tests, with the right key. TestMain ends it.
type awsProcess struct {
	in   io.WriteCloser
	out  *bufio.Scanner
	wait func() error
	one  sync.Mutex // a command at a time
}

// theAWSProcess starts the AWS CLI of the Debian package awscli for the first test that asks; nil where it is not installed.
var theAWSProcess = sync.OnceValues(func() (*awsProcess, error) {
	if exec.Command("/usr/bin/python3", "-c", "import awscli").Run() != nil {
		return nil, nil
	}
	home, err := os.MkdirTemp("", "aws")
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("/usr/bin/python3", "-c", awsDriver)
	cmd.Env = awsEnvironment(home, keySecret)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p := &awsProcess{in: in, out: bufio.NewScanner(out), wait: func() error { return errors.Join(cmd.Wait(), os.RemoveAll(home)) }}
	p.out.Buffer(nil, 1<<20)
	return p, cmd.Start()
})

func awsEnvironment(home, secret string) []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "LC_ALL=C.UTF-8", "AWS_EC2_METADATA_DISABLED=true", "AWS_DEFAULT_REGION=eu-central-1",
		"AWS_ACCESS_KEY_ID=" + keyID, "AWS_SECRET_ACCESS_KEY=" + secret, "AWS_MAX_ATTEMPTS=1",
	}
}

// TestMain ends the AWS CLI after the tests that used it.
func TestMain(m *testing.M) {
	code := m.Run()
	if awsUsed.Load() {
		p, _ := theAWSProcess()
		p.in.Close()
		if err := p.wait(); err != nil {
			fmt.Fprintln(os.Stderr, "the AWS CLI:", err)
			code = 1
		}
	}
	os.Exit(code)
}

var awsUsed atomic.Bool

// awsCLI runs commands of the AWS CLI against a gateway.
type awsCLI struct {
	t       testing.TB
	args    []string // of every command
	process *awsProcess
}

// openAWS returns the AWS CLI for a gateway.
func (g *gateway) openAWS() *awsCLI {
	g.t.Helper()
	p, err := theAWSProcess()
	if err != nil {
		g.t.Fatal(err)
	}
	if p == nil {
		g.t.Skip("the AWS CLI is not installed (Debian: awscli)")
	}
	awsUsed.Store(true)
	return &awsCLI{t: g.t, args: g.awsArguments(), process: p}
}

func (g *gateway) awsArguments() []string {
	return []string{"--endpoint-url", g.url, "--ca-bundle", filepath.Join(g.dir, "ca.pem"), "--output", "json", "iot"}
}

func (a *awsCLI) run(args ...string) (code int, out, errs string) {
	a.t.Helper()
	p := a.process
	p.one.Lock()
	defer p.one.Unlock()
	if err := json.NewEncoder(p.in).Encode(append(slices.Clone(a.args), args...)); err != nil {
		a.t.Fatal(err)
	}
	if !p.out.Scan() {
		a.t.Fatalf("the AWS CLI ended: %v", p.out.Err())
	}
	if err := json.Unmarshal(p.out.Bytes(), &[]any{&code, &out, &errs}); err != nil {
		a.t.Fatalf("%v in %s", err, p.out.Text())
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
