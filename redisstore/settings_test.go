package redisstore

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

func TestParseURL(t *testing.T) {
	tests := []struct {
		text    string
		withTLS bool
		want    server
	}{
		{text: "localhost", want: server{address: "localhost:6379"}},
		{text: "localhost:7000", want: server{address: "localhost:7000"}},
		{text: "localhost:7000", withTLS: true, want: server{address: "localhost:7000", tls: true}},
		{text: "[::1]:7000", want: server{address: "[::1]:7000"}},
		{text: "redis://host", want: server{address: "host:6379"}},
		{text: "redis://host/", want: server{address: "host:6379"}},
		{text: "redis://host:1/2", want: server{address: "host:1", database: 2}},
		{text: "rediss://host", want: server{address: "host:6379", tls: true}},
		{text: "valkey://host", want: server{address: "host:6379"}},
		{text: "valkeys://host", want: server{address: "host:6379", tls: true}},
		{text: "redis://:p%40ss@host", want: server{address: "host:6379", password: "p@ss"}},
		{text: "redis://u:p@host", want: server{address: "host:6379", username: "u", password: "p"}},
	}
	for _, tc := range tests {
		if got, err := parseURL(tc.text, tc.withTLS); err != nil || got != tc.want {
			t.Errorf("parseURL(%q, %v) = %+v, %v; want %+v", tc.text, tc.withTLS, got, err, tc.want)
		}
	}
}

// TestNoVerificationSwitch: rueidis' own URLs could turn verification off.
func TestNoVerificationSwitch(t *testing.T) {
	if _, err := parseURL("rediss://host?skip_verify=true", false); err == nil {
		t.Error("a URL with skip_verify was accepted")
	}
}

// TestBadSettings: each mistake is named, with what mends it, before any
// connection, and no error shows a password.
func TestBadSettings(t *testing.T) {
	t.Setenv("EMPTY", "")
	t.Setenv("URL_WITH_PASSWORD", "redis://u:hunter2@ho st")
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, []byte("hunter2"), 0o600); err != nil {
		t.Fatal(err)
	}
	one := []string{"redis://localhost:1"}
	tests := []struct {
		name string
		set  Store
		want string
	}{
		{"no URL", Store{}, "there is no URL"},
		{"no such URL", Store{URLs: []string{"redis://u:hunter2@host:port"}}, "url 1: it is not a valid URL"},
		{"bare password", Store{URLs: []string{"u:hunter2@host"}}, "url 1: it is neither host:port nor a URL"},
		{"other scheme", Store{URLs: []string{"http://u:hunter2@host"}}, "url 1: its scheme is unknown"},
		{"no host", Store{URLs: []string{"redis://:hunter2@/1"}}, "url 1: write it as redis://host:6379"},
		{"query", Store{URLs: []string{"redis://u:hunter2@host?db=1"}}, "options have lines of their own"},
		{"database by name", Store{URLs: []string{"redis://u:hunter2@host/sessions"}}, "not the number of a database"},
		{"placeholder for a bad URL", Store{URLs: []string{"{env.URL_WITH_PASSWORD}"}}, "url 1: it is not a valid URL"},
		{"placeholder for nothing", Store{URLs: []string{"{env.EMPTY}"}}, "{env.EMPTY} is empty; set the variable"},
		{"no such file", Store{URLs: one, Password: "{file./does/not/exist}"}, "password: evaluated placeholder {file./does/not/exist} is empty"},
		{"brace in a password", Store{URLs: one, Password: "{hunter2}"}, `password: it has a placeholder that is unknown or empty; write {env.NAME}`},
		{"user alone", Store{URLs: one, Username: "u"}, "username has no password beside it"},
		{"two schemes", Store{URLs: []string{"redis://a", "rediss://b"}}, "some urls use TLS and some do not"},
		{"tls without TLS", Store{URLs: []string{"redis://a"}, TLS: new(TLS)}, "url 1 says redis://, which is without TLS"},
		{"no CA file", Store{URLs: []string{"a:1"}, TLS: &TLS{CA: "/does/not/exist"}}, "tls: ca: open /does/not/exist"},
		{"no CA in the file", Store{URLs: []string{"a:1"}, TLS: &TLS{CA: empty}}, "tls: ca: there is no certificate in the file"},
		{"no certificate in the file", Store{URLs: []string{"a:1"}, TLS: &TLS{Cert: empty, Key: empty}}, "tls: cert: "},
		{"two users", Store{URLs: []string{"redis://u:hunter2@a", "redis://v:hunter2@b"}}, "url 2 has another user or password"},
		{"user twice", Store{URLs: []string{"redis://u:hunter2@a"}, Password: "hunter2"}, "keep the lines"},
		{"whose user?", Store{URLs: []string{"redis://u:hunter2@a"}, Sentinel: &Sentinel{Master: "m"}}, "does it belong to the sentinels"},
		{"nameless master", Store{URLs: one, Sentinel: new(Sentinel)}, "sentinel has no name"},
		{"watcher's password", Store{URLs: one, Sentinel: &Sentinel{Master: "m", Password: "{env.EMPTY}"}}, "sentinel: password: evaluated placeholder {env.EMPTY} is empty"},
		{"sentinel and cluster", Store{URLs: one, Cluster: true, Sentinel: &Sentinel{Master: "m"}}, "exclude each other"},
		{"two databases", Store{URLs: []string{"redis://a/1"}, Database: 2}, "url 1 names another database"},
		{"database of a cluster", Store{URLs: one, Cluster: true, Database: 2}, "a cluster has only database 0"},
		{"database of many", Store{URLs: []string{"a", "b"}, Database: 2}, "a cluster has only database 0"},
		{"negative database", Store{URLs: one, Database: -1}, "database is negative"},
		{"negative timeout", Store{URLs: one, Timeout: -1}, "timeout is negative"},
		{"placeholder as prefix", Store{URLs: one, Prefix: "{env.SHOP}:"}, "prefix has a brace"},
		{"bad on_failure", Store{URLs: one, OnFailure: "pray"}, `on_failure is "pray"`},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
			defer cancel()
			err := tc.set.Provision(ctx)
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.HasPrefix(err.Error(), "store redis: ") {
				t.Errorf("Provision: %v, want %q", err, tc.want)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error shows a password: %v", err)
			}
			if err := tc.set.Cleanup(); err != nil {
				t.Errorf("Cleanup: %v", err)
			}
		})
	}
}

// TestOptions: what rueidis is told.
func TestOptions(t *testing.T) {
	t.Setenv("SECRET", "resolved")
	s := Store{
		URLs: []string{"rediss://a", "rediss://b:2"}, Username: "u", Password: "{env.SECRET}", Database: 3,
		Sentinel: &Sentinel{Master: "m", Password: "{env.SECRET}-too"},
	}
	s.setDefaults()
	opt, err := s.options()
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"a:6379", "b:2"}; !slices.Equal(opt.InitAddress, want) {
		t.Errorf("addresses %q, want %q", opt.InitAddress, want)
	}
	if opt.Username != "u" || opt.Password != "resolved" || opt.Sentinel.Username != "" || opt.Sentinel.Password != "resolved-too" {
		t.Error("user or password was not resolved")
	}
	if opt.TLSConfig == nil || opt.TLSConfig.InsecureSkipVerify || opt.Sentinel.TLSConfig == nil || opt.SelectDB != 3 || opt.Sentinel.MasterSet != "m" {
		t.Error("TLS, database or master is missing")
	}
}

// TestReloadKeepsTheClient: a reload that changes only what is applied here
// goes on with the same connections; other settings get their own.
func TestReloadKeepsTheClient(t *testing.T) {
	before := open(t, Store{URLs: []string{"redis://localhost:1"}})
	after := open(t, Store{URLs: []string{"redis://localhost:1"}, Cache: -1, OnFailure: deny})
	other := open(t, Store{URLs: []string{"redis://localhost:1"}, Prefix: "other:"})
	if before.client != after.client {
		t.Error("the client was not kept")
	}
	if before.client == other.client {
		t.Error("stores with different prefixes share a client")
	}
}
