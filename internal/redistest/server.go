package redistest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// admin is the user that the harness itself uses where the default user is
// off. Its password protects nothing.
const (
	admin         = "redistest"
	adminPassword = "redistest-only"
)

// Options of a server. The zero value: no password, no TLS, nothing on disk.
type Options struct {
	// TLS, if set, is spoken instead of plain text.
	TLS *TLS
	// Password is that of the default user.
	Password string
	// Users are ACL users as in redis.conf, without the word "user":
	// "gateway on >secret ~kibo:* +@read". With any, the default user is off.
	Users []string
	// Config are further lines of redis.conf, such as "maxmemory 3mb". They
	// come last and win.
	Config []string
}

// Server is a Redis server.
type Server struct {
	t    testing.TB
	opts Options
	dir  string
	port int
	tls  *certs // nil: plain text
	proc *process
}

// Start starts a server that stands alone.
func Start(t testing.TB, opts Options) *Server {
	t.Helper()
	s := &Server{t: t, opts: opts, dir: t.TempDir()}
	if opts.TLS != nil {
		s.tls = opts.TLS.issue(t)
	}
	s.launch("Ready to accept connections", s.config, "redis-server")
	return s
}

// launch starts redis-server on a free port with the configuration made for it.
func (s *Server) launch(ready string, config func() []string, command string, args ...string) {
	s.t.Helper()
	file := filepath.Join(s.dir, "redis.conf")
	s.proc = &process{
		t: s.t, log: filepath.Join(s.dir, "log"), ready: ready,
		args: append([]string{command, file}, args...),
	}
	s.t.Cleanup(s.proc.cleanUp)
	err := errPortTaken
	for range 10 {
		if !errors.Is(err, errPortTaken) {
			break
		}
		s.port = freePort(s.t)
		text := strings.Join(config(), "\n") + "\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			s.t.Fatal(err)
		}
		err = s.proc.start()
	}
	if err != nil {
		s.t.Fatalf("starting %s: %v", command, err)
	}
}

// config returns redis.conf.
func (s *Server) config() []string {
	lines := append(s.listens(),
		"bind "+host,
		"daemonize no",
		"dir "+strconv.Quote(s.dir),
		`save ""`,
		"appendonly no",
		"repl-diskless-sync-delay 0", // 5 s would be the longest part of a start
	)
	if s.opts.Password != "" {
		lines = append(lines, "requirepass "+s.opts.Password)
	}
	if len(s.opts.Users) > 0 {
		lines = append(lines, "user default off", "user "+admin+" on >"+adminPassword+" ~* &* +@all")
	}
	for _, u := range s.opts.Users {
		lines = append(lines, "user "+u)
	}
	return append(lines, s.opts.Config...)
}

// listens returns the lines about the port.
func (s *Server) listens() []string {
	if s.tls != nil {
		return s.tls.config(s.port)
	}
	return []string{fmt.Sprint("port ", s.port)}
}

// Addr returns host:port.
func (s *Server) Addr() string { return net.JoinHostPort(host, s.portText()) }

func (s *Server) portText() string { return strconv.Itoa(s.port) }

// URL returns the address with its scheme, rediss:// with TLS.
func (s *Server) URL() string {
	if s.tls != nil {
		return "rediss://" + s.Addr()
	}
	return "redis://" + s.Addr()
}

// CA returns the file with the certificate of the authority that signed the
// server's. Empty without TLS.
func (s *Server) CA() string { return s.tls.file("ca.pem") }

// ClientCert returns files with a certificate and key that the server accepts.
// Empty without TLS.
func (s *Server) ClientCert() (cert, key string) {
	return s.tls.file("client.pem"), s.tls.file("client.key")
}

// Kill ends the server at once, as kill -9 does. What is not on disk is lost.
func (s *Server) Kill() { s.proc.kill() }

// Restart kills the server and starts it again, on the same port and data.
func (s *Server) Restart() {
	s.t.Helper()
	s.Kill()
	if err := s.proc.start(); err != nil {
		s.t.Fatalf("starting the server at %s again: %v", s.Addr(), err)
	}
}

// CLI runs a command in redis-cli, with all rights, and returns what it
// prints. An error reply ends the test.
func (s *Server) CLI(args ...string) string {
	s.t.Helper()
	out, err := s.TryCLI(args...)
	if err != nil {
		s.t.Fatalf("redis-cli at %s: %v", s.Addr(), err)
	}
	return out
}

// TryCLI is CLI that returns the error, which begins with what the server said.
func (s *Server) TryCLI(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "redis-cli", append(s.cliFlags(), args...)...)
	if pw := s.cliPassword(); pw != "" {
		cmd.Env = append(os.Environ(), "REDISCLI_AUTH="+pw)
	}
	out, err := cmd.CombinedOutput()
	text := strings.TrimSpace(string(out))
	if err != nil {
		return text, fmt.Errorf("%s: %q: %w", text, args, err)
	}
	return text, nil
}

func (s *Server) cliFlags() []string {
	flags := []string{"-e", "-h", host, "-p", s.portText()}
	if len(s.opts.Users) > 0 {
		flags = append(flags, "--user", admin)
	}
	if s.tls != nil { // whether the certificate is good is for the tests to say
		cert, key := s.ClientCert()
		flags = append(flags, "--tls", "--insecure", "--cacert", s.CA(), "--cert", cert, "--key", key)
	}
	return flags
}

func (s *Server) cliPassword() string {
	if len(s.opts.Users) > 0 {
		return adminPassword
	}
	return s.opts.Password
}

// Info returns one field of INFO, empty if there is none or no answer.
func (s *Server) Info(field string) string {
	out, _ := s.TryCLI("INFO", "everything")
	return infoField(out, field)
}

// infoField finds "field:value" in lines of INFO or CLUSTER INFO.
func infoField(text, field string) string {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
