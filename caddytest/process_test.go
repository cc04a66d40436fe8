package caddytest

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	_ "github.com/kiboauth/caddy-kibo-auth/filestore"
	"github.com/kiboauth/caddy-kibo-auth/internal/freeport"
	"github.com/kiboauth/caddy-kibo-auth/internal/kibosim"
	_ "github.com/kiboauth/caddy-kibo-auth/redisstore"
)

// caddyProgram is Caddy as it is delivered, built once in a run. It runs
// without the race detector.
var caddyProgram = sync.OnceValues(func() (string, error) {
	program := filepath.Join(filepath.Dir(logFile), "caddy")
	if out, err := exec.Command("go", "build", "-o", program, "../cmd/caddy").CombinedOutput(); err != nil {
		return "", fmt.Errorf("building Caddy: %w\n%s", err, out)
	}
	return program, nil
})

// A fleet is a world whose gateways are processes of their own, in front of
// the same shop and the same Kibo.
type fleet struct {
	*world
	nodes []*node
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	w := &world{t: t, mail: newMail(), shop: newShop(t), dir: t.TempDir()}
	w.sim = kibosim.New(kibosim.Options{OnCode: w.mail.deliver, NewCode: newCode})
	w.kibo = newHost(t, noteTickets(w.sim))
	note("secret", kibosim.SharedSecret)
	return &fleet{world: w}
}

// A node is one gateway: a Caddy that can be ended and started anew, at the
// same address and with the same storage.
type node struct {
	fleet *fleet
	name  string
	addr  string
	dir   string   // Caddy's home
	lines string   // further lines of the kibo_auth block
	edits []string // of the Caddyfile: old and new in turn
	// client keeps connections to this node, as a load balancer does.
	client *http.Client

	process *os.Process
	done    chan struct{} // closed when the process has ended
}

// add starts one more gateway, with further lines in its kibo_auth block and
// with edits of its Caddyfile, old and new text in turn. It runs until the test ends; its log is then searched for secrets.
func (f *fleet) add(lines string, edits ...string) *node {
	f.t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 256}
	f.t.Cleanup(transport.CloseIdleConnections)
	n := &node{
		fleet: f, name: fmt.Sprint("node-", len(f.nodes)), addr: freeport.Addr(f.t), dir: f.t.TempDir(), lines: lines, edits: edits,
		client: &http.Client{
			Transport: transport, Timeout: 30 * time.Second,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	if f.nodes = append(f.nodes, n); len(f.nodes) == 1 {
		f.addr = n.addr
	}
	f.t.Cleanup(func() {
		n.end(syscall.SIGKILL)
		for _, leak := range searchLog(n.logFile()) {
			f.t.Errorf("secret in the log of %s: %s", n.name, leak)
		}
		if f.t.Failed() {
			f.t.Logf("end of the log of %s:\n%s", n.name, n.log()[max(0, len(n.log())-4000):])
		}
	})
	n.start()
	return n
}

// caddyfile leaves out the log of reverse_proxy, which shows at DEBUG what the
// operator has chosen to tell the shop.
func (n *node) caddyfile() string {
	return fmt.Sprintf(`{
	admin off
	persist_config off
	auto_https off
	skip_install_trust
	grace_period 10s
	storage file_system %[1]q
	log {
		format json
		level DEBUG
		exclude http.handlers.reverse_proxy
	}
	servers {
		protocols h1
	}
}
http://:%[2]s {
	bind 127.0.0.1
	header X-Node %[3]s
	kibo_auth %[4]s {
		client %[5]s %[6]s
		auth_host %[4]s
		limit off
		%[7]s
	}
	reverse_proxy %[8]s
}
`, filepath.Join(n.dir, "storage"), port(n.addr), n.name, n.fleet.kibo.url(), kibosim.ClientID, kibosim.SharedSecret, n.lines, n.fleet.shop.addr())
}

func (n *node) logFile() string { return filepath.Join(n.dir, "log") }

// log is all that the node's processes have printed so far.
func (n *node) log() string { return readFile(n.fleet.t, n.logFile()) }

// start runs the node until it serves.
func (n *node) start() {
	t := n.fleet.t
	t.Helper()
	log, err := os.OpenFile(n.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := command(t, n.dir, "run", strings.NewReplacer(n.edits...).Replace(n.caddyfile()))
	cmd.Stdout, cmd.Stderr = log, log
	if n.done, err = spawn(cmd); err != nil {
		t.Fatalf("starting %s: %v", n.name, err)
	}
	n.process = cmd.Process
	eventually(t, n.name+" serves", func() bool {
		if n.ended() {
			t.Fatalf("%s has ended:\n%s", n.name, n.log())
		}
		r, err := n.browser().try(http.MethodGet, "/login", nil)
		return err == nil && r.header.Get("X-Node") == n.name
	})
}

// command is one of Caddy's, for a Caddyfile, with a home of its own.
func command(t *testing.T, home, name, caddyfile string) *exec.Cmd {
	t.Helper()
	program, err := caddyProgram()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(home, "Caddyfile")
	if err := os.WriteFile(file, []byte(caddyfile), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, name, "--adapter", "caddyfile", "--config", file)
	cmd.Dir = home
	cmd.Env = append(os.Environ(), "HOME="+home, "XDG_DATA_HOME="+home, "XDG_CONFIG_HOME="+home)
	return cmd
}

// spawn starts a command that dies with this process, even if that is killed.
// The kernel ties the child to the thread that started it, so that thread
// waits for it.
func spawn(cmd *exec.Cmd) (done chan struct{}, err error) {
	dieWithParent(cmd)
	started, done := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer close(done)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // it was killed, mostly
		}
	}()
	return done, <-started
}

func (n *node) ended() bool {
	select {
	case <-n.done:
		return true
	default:
		return false
	}
}

// end sends SIGTERM, as an operator does, or SIGKILL, as a crash, and waits
// until the process is gone.
func (n *node) end(how syscall.Signal) {
	t := n.fleet.t
	t.Helper()
	if n.done == nil { // it never started
		return
	}
	n.client.CloseIdleConnections() // Caddy would wait for those that were never used
	_ = n.process.Signal(how)       // it may have ended by itself
	select {
	case <-n.done:
	case <-time.After(20 * time.Second):
		_ = n.process.Kill()
		t.Errorf("%s did not end", n.name)
	}
	n.client.CloseIdleConnections()
}

// browser returns one without cookies.
func (n *node) browser() *browser {
	return &browser{t: n.fleet.t, base: "http://" + n.addr, client: n.client, cookies: map[string]string{}}
}

// at is the same browser in another window, at a certain node.
func (b *browser) at(n *node) *browser {
	c := b.clone()
	c.base, c.client = "http://"+n.addr, n.client
	return c
}

// newcomer makes a customer whose address nobody else has.
func (f *fleet) newcomer(i int) (email, id string) {
	email = fmt.Sprintf("newcomer%d@shop.test", i)
	note("e-mail", email)
	f.sim.AddCustomer(kibosim.Customer{AccountID: 7000 + i, Email: email})
	return email, strconv.Itoa(7000 + i)
}

// TestEveryStoreIsDelivered: who builds Caddy from here can use them all.
func TestEveryStoreIsDelivered(t *testing.T) {
	program, err := caddyProgram()
	if err != nil {
		t.Fatal(err)
	}
	modules, err := exec.CommandContext(t.Context(), program, "list-modules").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"file", "memory", "redis"} {
		if !strings.Contains(string(modules), "http.kibo_auth.stores."+name+"\n") {
			t.Errorf("the store %s is missing", name)
		}
	}
}

// TestValidateOpensNothing: "caddy validate" makes no file and no connection,
// though it provisions everything.
func TestValidateOpensNothing(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for name, lines := range map[string]string{
		"file":  "store file sessions/sessions.db",
		"redis": "secret " + oldSecret + "\n\tstore redis redis://" + ln.Addr().String(),
	} {
		t.Run(name, func(t *testing.T) {
			n := &node{fleet: newFleet(t), name: "node", addr: freeport.Addr(t), dir: t.TempDir(), lines: lines}
			if out, err := command(t, n.dir, "validate", n.caddyfile()).CombinedOutput(); err != nil || !strings.Contains(string(out), "Valid configuration") {
				t.Fatalf("validating: %v\n%s", err, out)
			}
			made, err := os.ReadDir(n.dir)
			if err != nil || len(made) != 1 { // the Caddyfile
				t.Errorf("validating made files: %v, %v", made, err)
			}
			if from := firstCaller(t, ln); from != "" {
				t.Errorf("validating opened a connection, from %s", from)
			}
		})
	}
}
