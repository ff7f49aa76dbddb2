package main

import (
	"bufio"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"holdfast": func() { os.Exit(osMain()) }})
}

// TestScripts plays the user stories in testdata with the real git and ssh.
//
// Besides testscript's own commands they have:
//
//	launch NAME ARGS...  run holdfast in the background until it listens or says that it is ready; for each listener, two or
//	                     $LISTENERS of a host, set
//	                     $NAME_SERVICE to its address, such as $host_ssh, and $NAME_PORT_SERVICE to its port
//	end NAME             ask it to end, and require that it succeeds
//	crash NAME           end it the hard way
//	subst FROM TO        copy a file, with ${NAME} replaced by the variable
//	tlscert              make tls.crt, tls.key for 127.0.0.1, signed by itself
//	verb NAME ARGS...    run an admin verb over SSH on what was launched as NAME
//	sshkey NAME          make an SSH key pair NAME, NAME.pub
//	as NAME              let git and ssh use the key NAME from now on
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               setupScript,
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"launch": cmdLaunch, "subst": cmdSubst, "tlscert": cmdTLSCert, "verb": cmdVerb, "end": cmdEnd, "crash": cmdCrash, "sshkey": cmdSSHKey, "as": cmdAs,
		},
	})
}

// running is the processes of one script.
type running struct {
	mu   sync.Mutex
	byID map[string]*exec.Cmd
}

type runningKey struct{}

func setupScript(env *testscript.Env) error {
	procs := &running{byID: map[string]*exec.Cmd{}}
	env.Values[runningKey{}] = procs
	env.Defer(func() {
		for _, cmd := range procs.byID {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	// A script's own home keeps the machine's git and ssh configuration out. ssh takes the home of the password file, so
	// that everything it needs is on its command line.
	env.Setenv("HOME", env.WorkDir)
	env.Setenv("GIT_CONFIG_NOSYSTEM", "1")
	env.Setenv("GIT_TERMINAL_PROMPT", "0")
	env.Setenv("SSH_OPTS", "-F /dev/null -o IdentitiesOnly=yes -o BatchMode=yes -o LogLevel=ERROR -o StrictHostKeyChecking=accept-new "+
		"-o HostKeyAlias=holdfast -o UserKnownHostsFile="+filepath.Join(env.WorkDir, "known_hosts"))
	for _, role := range []string{"AUTHOR", "COMMITTER"} {
		env.Setenv("GIT_"+role+"_NAME", "Script")
		env.Setenv("GIT_"+role+"_EMAIL", "script@example.org")
	}
	return nil
}

func procsOf(ts *testscript.TestScript) *running { return ts.Value(runningKey{}).(*running) }

func cmdLaunch(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: launch NAME ARGS...")
	}
	procs, name := procsOf(ts), args[0]
	bin, err := exec.LookPath("holdfast")
	ts.Check(err)
	cmd := exec.Command(bin, args[1:]...)
	cmd.Dir, cmd.Env = ts.MkAbs("."), append(os.Environ(), scriptEnv(ts)...)
	log, err := os.Create(ts.MkAbs(name + ".log"))
	ts.Check(err)
	defer log.Close()
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	procs.mu.Lock()
	procs.byID[name] = cmd
	procs.mu.Unlock()

	// A serving host's last listener is http where it has one, so one line is not enough to go on.
	want := 1
	if args[1] == "serve" || args[1] == "quickstart" {
		want = 2
	}
	if n, err := strconv.Atoi(ts.Getenv("LISTENERS")); args[1] == "serve" && err == nil {
		want = n
	}
	seen := 0
	lines := bufio.NewScanner(out)
	for seen < want && lines.Scan() {
		service, addr, ok := strings.Cut(lines.Text(), " listening on ")
		if !ok {
			continue
		}
		seen++
		ts.Setenv(name+"_"+service, addr)
		_, port, _ := strings.Cut(addr, ":")
		ts.Setenv(name+"_port_"+service, port)
	}
	if seen < want {
		_ = cmd.Wait()
		ts.Fatalf("%s did not come up:\n%s", name, ts.ReadFile(name+".log"))
	}
	rest, err := os.Create(ts.MkAbs(name + ".out"))
	ts.Check(err)
	// quickstart says more once it is ready: its advice ends with an indented line on restore.
	for args[1] == "quickstart" && lines.Scan() {
		fmt.Fprintln(rest, lines.Text())
		if strings.Contains(lines.Text(), "restore --kit") {
			break
		}
	}
	go func() {
		defer rest.Close()
		for lines.Scan() {
			fmt.Fprintln(rest, lines.Text())
		}
	}()
}

// scriptEnv returns what a script may have set that its processes need.
func scriptEnv(ts *testscript.TestScript) []string {
	var env []string
	for _, name := range []string{"HOME", "HOLDFAST_DATA"} {
		env = append(env, name+"="+ts.Getenv(name))
	}
	for _, line := range strings.Fields(ts.Getenv("SECRETS")) {
		env = append(env, line+"="+ts.Getenv(line))
	}
	return env
}

func end(ts *testscript.TestScript, args []string, sig syscall.Signal) error {
	if len(args) != 1 {
		ts.Fatalf("usage: end|crash NAME")
	}
	procs := procsOf(ts)
	procs.mu.Lock()
	cmd := procs.byID[args[0]]
	delete(procs.byID, args[0])
	procs.mu.Unlock()
	if cmd == nil {
		ts.Fatalf("nothing is running as %s", args[0])
	}
	ts.Check(cmd.Process.Signal(sig))
	return cmd.Wait()
}

func cmdEnd(ts *testscript.TestScript, neg bool, args []string) {
	if err := end(ts, args, syscall.SIGTERM); err != nil {
		ts.Fatalf("%s: %v\n%s", args[0], err, ts.ReadFile(args[0]+".log"))
	}
}

func cmdCrash(ts *testscript.TestScript, neg bool, args []string) { _ = end(ts, args, syscall.SIGKILL) }

func cmdSSHKey(ts *testscript.TestScript, neg bool, args []string) {
	for _, name := range args {
		ts.Check(newSSHKey(ts.MkAbs(name), name))
	}
}

func cmdAs(ts *testscript.TestScript, neg bool, args []string) {
	ts.Setenv("GIT_SSH_COMMAND", "ssh -i "+ts.MkAbs(args[0])+" "+ts.Getenv("SSH_OPTS"))
}

func cmdSubst(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: subst FROM TO")
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(os.Expand(ts.ReadFile(args[0]), ts.Getenv)), 0o600))
}

func cmdVerb(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: verb NAME ARGS...")
	}
	command := strings.Fields(ts.Getenv("GIT_SSH_COMMAND"))
	command = append(command, "-p", ts.Getenv(args[0]+"_port_ssh"), "git@127.0.0.1")
	err := ts.Exec(command[0], append(command[1:], args[1:]...)...)
	if (err != nil) != neg {
		ts.Fatalf("verb %s: %v", strings.Join(args[1:], " "), err)
	}
}

func cmdTLSCert(ts *testscript.TestScript, neg bool, args []string) {
	public, private, err := ed25519.GenerateKey(nil)
	ts.Check(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(nil, template, template, public, private)
	ts.Check(err)
	key, err := x509.MarshalPKCS8PrivateKey(private)
	ts.Check(err)
	for name, block := range map[string]*pem.Block{"tls.crt": {Type: "CERTIFICATE", Bytes: der}, "tls.key": {Type: "PRIVATE KEY", Bytes: key}} {
		ts.Check(os.WriteFile(ts.MkAbs(name), pem.EncodeToMemory(block), 0o600))
	}
}
