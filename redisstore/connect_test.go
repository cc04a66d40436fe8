package redisstore

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	kiboauth "github.com/kiboauth/caddy-kibo-auth"
	"github.com/kiboauth/caddy-kibo-auth/internal/freeport"
	"github.com/kiboauth/caddy-kibo-auth/internal/redistest"
)

// documentedUsers are the ACL lines of the package's documentation.
func documentedUsers(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	var users []string
	for _, match := range regexp.MustCompile(`(?m)^//\tACL SETUSER (.+)$`).FindAllStringSubmatch(string(text), -1) {
		users = append(users, match[1])
	}
	if len(users) != 2 {
		t.Fatalf("%d ACL lines in the documentation, want 2", len(users))
	}
	return users
}

// TestDocumentedACLWithTLS: the documented rights are enough for everything,
// over TLS and with a client's certificate.
func TestDocumentedACLWithTLS(t *testing.T) {
	server := redistest.Start(t, redistest.Options{TLS: new(redistest.TLS), Users: documentedUsers(t)[:1]})
	cert, key := server.ClientCert()
	s := open(t, Store{
		URLs: []string{server.URL()}, Username: "gateway", Password: "secret",
		TLS: &TLS{CA: server.CA(), Cert: cert, Key: key},
	})
	everything(t, s)
	if fresh, _ := s.CacheFor(); fresh == 0 {
		t.Error("there is no tracking")
	}
	if denied := server.CLI("ACL", "LOG"); strings.TrimSpace(denied) != "" {
		t.Errorf("Redis refused something:\n%s", denied)
	}
}

// everything does all that a store does.
func everything(t *testing.T, s *Store) {
	t.Helper()
	key, r := create(t, s, "everything")
	if _, err := s.Load(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	if err := s.Touch(t.Context(), key, r.Seen+1); err != nil {
		t.Fatal(err)
	}
	if err := s.Replace(t.Context(), key, 1, next(r)); err != nil {
		t.Fatal(err)
	}
	if len(list(t, s, "everything")) != 1 || len(list(t, s, "")) != 1 {
		t.Error("the lists do not tell the session")
	}
	unlock, err := s.Lock(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
	guess(t, limiter(t, s, 2), "everything", false)
	guess(t, limiter(t, s, 2), "everything", false)
	if err := s.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	if len(list(t, s, "everything")) != 0 {
		t.Error("the list tells a session that was ended")
	}
}

// TestDocumentedACLInCluster: as above, with the commands that only a cluster needs.
func TestDocumentedACLInCluster(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t)
	user := strings.Fields(documentedUsers(t)[0])
	for _, node := range cluster.Nodes {
		node.CLI(append([]string{"ACL", "SETUSER"}, user...)...)
	}
	everything(t, open(t, Store{URLs: cluster.Addrs(), Username: "gateway", Password: "secret"}))
	for _, node := range cluster.Nodes {
		if denied := node.CLI("ACL", "LOG"); strings.TrimSpace(denied) != "" {
			t.Errorf("Redis refused something:\n%s", denied)
		}
	}
}

// TestDocumentedACLAtSentinels: as above, at both sorts of servers.
func TestDocumentedACLAtSentinels(t *testing.T) {
	t.Parallel()
	servers := redistest.StartSentinels(t)
	users := documentedUsers(t)
	for _, node := range servers.Nodes {
		node.CLI(append([]string{"ACL", "SETUSER"}, strings.Fields(users[0])...)...)
	}
	for _, node := range servers.Watchers {
		node.CLI(append([]string{"ACL", "SETUSER"}, strings.Fields(users[1])...)...)
	}
	everything(t, open(t, Store{
		URLs: servers.Addrs(), Username: "gateway", Password: "secret",
		Sentinel: &Sentinel{Master: redistest.MasterName, Username: "gateway", Password: "secret"},
	}))
	for _, node := range append(servers.Nodes, servers.Watchers...) {
		if denied := node.CLI("ACL", "LOG"); strings.TrimSpace(denied) != "" {
			t.Errorf("%s refused something:\n%s", node.Addr(), denied)
		}
	}
}

// TestRefusals: the error says what to mend, is never "no session", and shows
// no password.
func TestRefusals(t *testing.T) {
	plain := redistest.Start(t, redistest.Options{Password: "hunter2-right"})
	users := redistest.Start(t, redistest.Options{Users: []string{
		"gateway on >hunter2-right ~kibo:* -@all +info +client",
		"elsewhere on >hunter2-right ~other:* +@all",
	}})
	secure := redistest.Start(t, redistest.Options{TLS: new(redistest.TLS)})
	cluster := redistest.StartCluster(t)
	sentinels := redistest.StartSentinels(t)
	tests := []struct {
		name string
		set  Store
		want string
	}{
		{"no password", Store{URLs: []string{plain.URL()}}, "add the line password"},
		{"wrong password", Store{URLs: []string{plain.URL()}, Password: "hunter2-wrong"}, "check username and password"},
		{"wrong password in the URL", Store{URLs: []string{strings.Replace(plain.URL(), "//", "//u:hunter2-wrong@", 1)}}, "check username and password"},
		{"no rights", Store{URLs: []string{users.URL()}, Username: "gateway", Password: "hunter2-right"}, "lacks a right"},
		{"no right to the keys", Store{URLs: []string{users.URL()}, Username: "elsewhere", Password: "hunter2-right"}, "lacks a right"},
		{"unknown authority", Store{URLs: []string{secure.URL()}}, "certificate signed by unknown authority"},
		{"another name", Store{URLs: []string{secure.URL()}, TLS: &TLS{CA: secure.CA(), ServerName: "other.example"}}, "not valid for any names"},
		{"TLS to a plain server", Store{URLs: []string{"rediss://" + plain.Addr()}}, "no answer in time"},
		{"plain to a TLS server", Store{URLs: []string{"redis://" + secure.Addr()}}, "no connection"},
		{"nobody there", Store{URLs: []string{"redis://" + freeport.Addr(t)}}, "connection refused"},
		{"no such database", Store{URLs: []string{plain.URL()}, Password: "hunter2-right", Database: 99}, "no database of that number"},
		{"two servers that are no cluster", Store{URLs: []string{plain.Addr(), plain.Addr()}, Password: "hunter2-right"}, "the servers are no cluster"},
		{"a server that is no cluster", Store{URLs: []string{plain.Addr()}, Password: "hunter2-right", Cluster: true}, "the server is no cluster"},
		{"a cluster's database", Store{URLs: []string{cluster.Addrs()[0] + "/1"}}, ""},
		{"another master's name", Store{URLs: sentinels.Addrs(), Sentinel: &Sentinel{Master: "nobody"}}, "know no master of that name"},
		{"sentinels that are none", Store{URLs: []string{plain.Addr()}, Password: "hunter2-right", Sentinel: &Sentinel{Master: "m", Password: "hunter2-right"}}, "give those of sentinels"},
	}
	for _, tc := range tests {
		if tc.want == "" {
			tc.set.URLs[0], tc.want = "redis://"+tc.set.URLs[0], "only database 0"
		}
		t.Run(tc.name, func(t *testing.T) {
			s := open(t, tc.set)
			for name, err := range refusals(t, s) {
				if err == nil || errors.Is(err, kiboauth.ErrNoSession) || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("%s: %v, want %q", name, err, tc.want)
				}
				if err != nil && strings.Contains(err.Error(), "hunter2") {
					t.Errorf("%s shows a password: %v", name, err)
				}
			}
		})
	}
}

// refusals returns the errors of a load and a write.
func refusals(t *testing.T, s *Store) map[string]error {
	t.Helper()
	_, err := s.Load(t.Context(), newKey())
	return map[string]error{"Load": err, "Create": s.Create(t.Context(), newKey(), newRecord("refused"))}
}

// TestNewPasswordIsPickedUp: placeholders are resolved anew when Redis refuses
// what they held, without a reload.
func TestNewPasswordIsPickedUp(t *testing.T) {
	server := redistest.Start(t, redistest.Options{Users: []string{"gateway on >first ~* &* +@all"}})
	file := filepath.Join(t.TempDir(), "password")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("first")
	s := open(t, Store{URLs: []string{server.URL()}, Username: "gateway", Password: "{file." + file + "}"})
	key, _ := create(t, s, "password")
	server.CLI("ACL", "SETUSER", "gateway", "resetpass", ">second")
	server.CLI("CLIENT", "KILL", "USER", "gateway")
	redistest.Await(t, 5*time.Second, "be refused", func() bool {
		_, err := s.Load(t.Context(), key)
		return err != nil && strings.Contains(err.Error(), "check username and password")
	})
	write("second")
	redistest.Await(t, 5*time.Second, "connect with the new password", func() bool {
		_, err := s.Load(t.Context(), key)
		return err == nil
	})
}

// TestServerThatComesLate: the first calls fail, later ones need no reload.
func TestServerThatComesLate(t *testing.T) {
	server := redistest.Start(t, redistest.Options{})
	server.Kill()
	s := open(t, Store{URLs: []string{server.URL()}})
	if _, err := s.Load(t.Context(), newKey()); err == nil || errors.Is(err, kiboauth.ErrNoSession) {
		t.Fatalf("Load without a server: %v", err)
	}
	server.Restart()
	redistest.Await(t, 5*time.Second, "connect", func() bool {
		_, err := s.Load(t.Context(), newKey())
		return errors.Is(err, kiboauth.ErrNoSession)
	})
}

// TestUnreachableServerIsLeftAlone: while it rests, calls fail without a new
// attempt.
func TestUnreachableServerIsLeftAlone(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	attempts := make(chan struct{}, 1000)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			attempts <- struct{}{}
			conn.Close()
		}
	}()
	s := open(t, Store{URLs: []string{l.Addr().String()}})
	_, first := s.Load(t.Context(), newKey())
	before := len(attempts)
	for range 100 {
		if _, err := s.Load(t.Context(), newKey()); err == nil || err.Error() != first.Error() {
			t.Fatalf("Load: %v, want the error of the first: %v", err, first)
		}
	}
	if made := len(attempts) - before; made > 20 {
		t.Errorf("100 calls made %d connections", made)
	}
}

// TestClosedStore answers, and not with "no session".
func TestClosedStore(t *testing.T) {
	s, _ := start(t)
	key, _ := create(t, s, "closed")
	if err := s.client.Destruct(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load(t.Context(), key); err == nil || errors.Is(err, kiboauth.ErrNoSession) {
		t.Errorf("Load: %v", err)
	}
}

// TestCanceledCall: who leaves gets its own error, and disturbs nobody.
func TestCanceledCall(t *testing.T) {
	s, _ := start(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Load(ctx, newKey()); !errors.Is(err, context.Canceled) {
		t.Errorf("Load: %v, want the call's end", err)
	}
	create(t, s, "others")
}
