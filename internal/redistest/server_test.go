package redistest

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestServerAnswers(t *testing.T) {
	s := Start(t, Options{})
	if got := s.CLI("PING"); got != "PONG" {
		t.Errorf("PING = %q", got)
	}
	if got, want := s.URL(), "redis://"+s.Addr(); got != want {
		t.Errorf("URL = %q, want %q", got, want)
	}
}

func TestServersDoNotShareAPort(t *testing.T) {
	var addrs []string
	for range 4 {
		s := Start(t, Options{})
		if slices.Contains(addrs, s.Addr()) {
			t.Errorf("two servers at %s", s.Addr())
		}
		addrs = append(addrs, s.Addr())
	}
}

// TestTakenPortIsNoticed: that somebody answers there proves nothing.
func TestTakenPortIsNoticed(t *testing.T) {
	first, second := Start(t, Options{}), Start(t, Options{})
	second.Kill()
	text, err := os.ReadFile(second.proc.args[1])
	if err != nil {
		t.Fatal(err)
	}
	text = []byte(strings.ReplaceAll(string(text), "port "+second.portText(), "port "+first.portText()))
	if err := os.WriteFile(second.proc.args[1], text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := second.proc.start(); !errors.Is(err, errPortTaken) {
		t.Errorf("start on a taken port: %v, want errPortTaken", err)
	}
}

func TestBadConfigIsNoticed(t *testing.T) {
	s := Start(t, Options{})
	s.Kill()
	if err := os.WriteFile(s.proc.args[1], []byte("nonsense yes\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.proc.start(); err == nil {
		t.Error("a server with a bad configuration started")
	}
	if got := s.proc.logEnd(); !strings.Contains(got, "nonsense") {
		t.Errorf("end of log does not say why:\n%s", got)
	}
}

func TestRestart(t *testing.T) {
	tests := []struct {
		name   string
		config []string
		want   string
	}{
		{"in memory", nil, ""},
		{"on disk", []string{"appendonly yes", "appendfsync always"}, "v"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := Start(t, Options{Config: tt.config})
			addr := s.Addr()
			s.CLI("SET", "k", "v")
			s.Kill()
			if out, err := s.TryCLI("PING"); err == nil {
				t.Errorf("killed server answers %q", out)
			}
			s.Restart()
			if got := s.CLI("GET", "k"); got != tt.want || s.Addr() != addr {
				t.Errorf("after restart at %s: %q, want %q at %s", s.Addr(), got, tt.want, addr)
			}
		})
	}
}

func TestTLSRefusesPlainText(t *testing.T) {
	s := Start(t, Options{TLS: &TLS{}})
	if got := s.CLI("PING"); got != "PONG" {
		t.Fatalf("PING over TLS = %q", got)
	}
	plain := *s
	plain.tls = nil
	if out, err := plain.TryCLI("PING"); err == nil {
		t.Errorf("PING in plain text = %q", out)
	}
	if got, want := s.URL(), "rediss://"+s.Addr(); got != want {
		t.Errorf("URL = %q, want %q", got, want)
	}
}

func TestCertificates(t *testing.T) {
	tests := []struct {
		name   string
		opts   TLS
		server string // name that the client expects
		client bool   // whether it shows a certificate
		want   string // in the error; empty: all is well
	}{
		{"good", TLS{}, host, false, ""},
		{"another name", TLS{Name: "redis.example"}, host, false, "doesn't contain any IP SANs"},
		{"that name", TLS{Name: "redis.example"}, "redis.example", false, ""},
		{"expired", TLS{Expired: true}, host, false, "expired"},
		{"client certificate", TLS{ClientCerts: true}, host, true, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := Start(t, Options{TLS: &tt.opts})
			config := clientConfig(t, s, tt.server, tt.client)
			err := pingTLS(s.Addr(), config)
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("PING: %v", err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("PING: %v, want error with %q", err, tt.want)
			}
		})
	}
}

// TestClientWithoutCertificate: it learns so by an alert or by a reset,
// whichever comes first.
func TestClientWithoutCertificate(t *testing.T) {
	s := Start(t, Options{TLS: &TLS{ClientCerts: true}})
	if err := pingTLS(s.Addr(), clientConfig(t, s, host, false)); err == nil {
		t.Error("a client without certificate was answered")
	}
	Await(t, patience, "server to say why", func() bool {
		return strings.Contains(s.proc.logEnd(), "did not return a certificate")
	})
}

func clientConfig(t *testing.T, s *Server, name string, client bool) *tls.Config {
	t.Helper()
	ca, err := os.ReadFile(s.CA())
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: name}
	config.RootCAs.AppendCertsFromPEM(ca)
	if client {
		cert, err := tls.LoadX509KeyPair(s.ClientCert())
		if err != nil {
			t.Fatal(err)
		}
		config.Certificates = []tls.Certificate{cert}
	}
	return config
}

func pingTLS(addr string, config *tls.Config) error {
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", addr, config)
	if err != nil {
		return err
	}
	defer conn.Close()
	return ping(conn)
}

// ping sends PING on a connection.
func ping(conn net.Conn) error {
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return err
	}
	reply, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && reply != "+PONG\r\n" {
		err = errors.New(reply)
	}
	return err
}

func TestPasswordIsAsked(t *testing.T) {
	s := Start(t, Options{Password: "pw"})
	if got := s.CLI("PING"); got != "PONG" {
		t.Errorf("PING with password = %q", got)
	}
	none := *s
	none.opts.Password = ""
	if _, err := none.TryCLI("PING"); err == nil || !strings.Contains(err.Error(), "NOAUTH") {
		t.Errorf("PING without password: %v, want NOAUTH", err)
	}
}

func TestACLRefusesOtherKeys(t *testing.T) {
	s := Start(t, Options{Users: []string{"gateway on >pw ~kibo:* +set"}})
	as := func(args ...string) string {
		auth := []string{"--user", "gateway", "--pass", "pw", "--no-auth-warning"}
		out, _ := s.TryCLI(append(auth, args...)...)
		return out
	}
	if got := as("SET", "kibo:k", "v"); got != "OK" {
		t.Errorf("SET of its own key = %q", got)
	}
	for _, args := range [][]string{{"SET", "other", "v"}, {"GET", "kibo:k"}} {
		if got := as(args...); !strings.HasPrefix(got, "NOPERM") {
			t.Errorf("%q = %q, want NOPERM", args, got)
		}
	}
	if got := s.CLI("GET", "kibo:k"); got != "v" {
		t.Errorf("the harness' own GET = %q, want %q", got, "v")
	}
}

func TestConfigCountsLast(t *testing.T) {
	s := Start(t, Options{Config: []string{"maxmemory 3mb", "appendonly yes"}})
	if got := s.Info("maxmemory"); got != "3145728" {
		t.Errorf("maxmemory = %q", got)
	}
	if got := s.Info("aof_enabled"); got != "1" {
		t.Errorf("aof_enabled = %q", got)
	}
}
