package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	kiboauth "github.com/kiboauth/caddy-kibo-auth"
	"github.com/kiboauth/caddy-kibo-auth/internal/redistest"
)

const faultPassword = "correct-horse-battery"

// TestMemoryFullKeepsSessions: with noeviction, Redis takes no more and loses nothing.
func TestMemoryFullKeepsSessions(t *testing.T) {
	server := redistest.Start(t, redistest.Options{Config: []string{"maxmemory 4mb", "maxmemory-policy noeviction"}})
	a, b := openTwo(t, server.URL())
	created := map[kiboauth.Key]*kiboauth.Record{}
	var err error
	for range 20_000 {
		key, r := newKey(), newRecord("customer")
		if err = a.Create(soon(t), key, r); err != nil {
			break
		}
		created[key] = r
	}
	t.Logf("after %d sessions: %v", len(created), err)
	if err == nil || errors.Is(err, kiboauth.ErrNoSession) || errors.Is(err, kiboauth.ErrConflict) {
		t.Fatalf("Create in a full Redis: %v", err)
	}
	if !strings.Contains(err.Error(), "memory") {
		t.Errorf("the error does not say what is full: %v", err)
	}
	var last kiboauth.Key
	for key, r := range created {
		mustLoad(t, b, key, r)
		last = key
	}
	mustDelete(t, b, last)
	mustBeGone(t, a, last)

	server.CLI("CONFIG", "SET", "maxmemory", "64mb")
	mustCreate(t, a, newKey())
}

// gatewayUser is the ACL user that the package's documentation tells to make.
func gatewayUser(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	_, rule, ok := strings.Cut(string(text), "ACL SETUSER ")
	rule, _, end := strings.Cut(rule, "\n")
	if !ok || !end {
		t.Fatal("doc.go has no line ACL SETUSER")
	}
	return strings.ReplaceAll(rule, ">secret", ">"+faultPassword)
}

// TestUserWithoutRights: what the user may not do is an error that says so.
func TestUserWithoutRights(t *testing.T) {
	right := gatewayUser(t)
	tests := []struct {
		name string
		user string
		want string // in the error
	}{
		{"user is off", right + " off", "check username and password"},
		{"no scripts", right + " -eval -evalsha", "'evalsha' command"},
		{"reads only", right + " -hset -pexpireat -zadd", "lacks a right"},
		{"other keys", strings.Replace(right, "~kibo:*", "~shop:*", 1), "lacks a right"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server := redistest.Start(t, redistest.Options{Users: []string{tt.user}})
			s := openFault(t, server.URL(), "username gateway", "password "+faultPassword)
			err := s.Create(soon(t), newKey(), newRecord("customer"))
			unanswered(t, "Create", err)
			saysWhatToMend(t, err, tt.want)
		})
	}
}

func saysWhatToMend(t *testing.T, err error, want string) {
	t.Helper()
	text := fmt.Sprint(err)
	if strings.Contains(text, faultPassword) {
		t.Errorf("the error holds the password: %s", text)
	}
	if !strings.Contains(text, want) {
		t.Errorf("the error is %q, want %q in it", text, want)
	}
}

// TestReplicaTakesNoWrites: the address of a replica is a mistake to be named.
func TestReplicaTakesNoWrites(t *testing.T) {
	master := redistest.Start(t, redistest.Options{})
	_, port, _ := strings.Cut(master.Addr(), ":")
	replica := redistest.Start(t, redistest.Options{Config: []string{"replicaof 127.0.0.1 " + port}})
	redistest.Await(t, patience, "replica to follow", func() bool { return replica.Info("master_link_status") == "up" })
	s := openFault(t, replica.URL())
	err := s.Create(soon(t), newKey(), newRecord("customer"))
	unanswered(t, "Create", err)
	saysWhatToMend(t, err, "replica")
}

// TestBadCertificates: no connection is made to a server that proves nothing.
func TestBadCertificates(t *testing.T) {
	other := redistest.Start(t, redistest.Options{TLS: &redistest.TLS{}})
	tests := []struct {
		name string
		tls  redistest.TLS
		ca   string // empty: the server's own
		line string
		want string // in the error; empty: all is well
	}{
		{"good", redistest.TLS{}, "", "", ""},
		{"named", redistest.TLS{Name: "redis.example"}, "", "server_name redis.example", ""},
		{"of another name", redistest.TLS{Name: "redis.example"}, "", "", "certificate"},
		{"expired", redistest.TLS{Expired: true}, "", "", "expired"},
		{"of another authority", redistest.TLS{}, other.CA(), "", "authority"},
		{"without ours", redistest.TLS{ClientCerts: true}, "", "", "no connection"}, // an alert or a reset
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server := redistest.Start(t, redistest.Options{TLS: &tt.tls})
			ca := server.CA()
			if tt.ca != "" {
				ca = tt.ca
			}
			s := openFault(t, server.URL(), "tls {\nca "+ca+"\n"+tt.line+"\n}")
			_, err := s.Load(soon(t), newKey())
			if tt.want == "" {
				if !errors.Is(err, kiboauth.ErrNoSession) {
					t.Errorf("Load: %v, want ErrNoSession", err)
				}
				return
			}
			unanswered(t, "Load", err)
			saysWhatToMend(t, err, tt.want)
		})
	}
}

func TestClientCertificate(t *testing.T) {
	server := redistest.Start(t, redistest.Options{TLS: &redistest.TLS{ClientCerts: true}})
	cert, key := server.ClientCert()
	s := openFault(t, server.URL(), "tls {\nca "+server.CA()+"\ncert "+cert+" "+key+"\n}")
	if _, err := s.Load(context.Background(), newKey()); !errors.Is(err, kiboauth.ErrNoSession) {
		t.Errorf("Load: %v, want ErrNoSession", err)
	}
}
