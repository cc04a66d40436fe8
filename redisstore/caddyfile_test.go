package redisstore

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func duration(d time.Duration) caddy.Duration { return caddy.Duration(d) }

func TestCaddyfile(t *testing.T) {
	tests := []struct {
		name, text string
		want       Store
	}{
		{"one server", `redis redis://localhost:6379`, Store{URLs: []string{"redis://localhost:6379"}}},
		{"everything", `redis a:1 b:2 {
			username gateway
			password {env.SECRET}
			tls {
				ca ca.pem
				cert client.pem client.key
				server_name redis.internal
			}
			sentinel mymaster {
				username watcher
				password {file./run/secret}
			}
			cluster
			prefix shop:
			timeout 500ms
			cache 1m
			on_failure deny
			database 3
		}`, Store{
			URLs: []string{"a:1", "b:2"}, Username: "gateway", Password: "{env.SECRET}",
			TLS:      &TLS{CA: "ca.pem", Cert: "client.pem", Key: "client.key", ServerName: "redis.internal"},
			Sentinel: &Sentinel{Master: "mymaster", Username: "watcher", Password: "{file./run/secret}"},
			Cluster:  true, Prefix: "shop:", Timeout: duration(500 * time.Millisecond), Cache: duration(time.Minute),
			OnFailure: "deny", Database: 3,
		}},
		{"no cache", "redis a:1 {\n cache off\n}", Store{URLs: []string{"a:1"}, Cache: -1}},
		{"cache for no time", "redis a:1 {\n cache 0\n}", Store{URLs: []string{"a:1"}, Cache: -1}},
		{"cache for no time, with a unit", "redis a:1 {\n cache 0s\n}", Store{URLs: []string{"a:1"}, Cache: -1}},
		{"bare sentinel and tls", "redis a:1 {\n sentinel m\n tls\n}", Store{URLs: []string{"a:1"}, TLS: &TLS{}, Sentinel: &Sentinel{Master: "m"}}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			var got Store
			if err := got.UnmarshalCaddyfile(caddyfile.NewTestDispenser(tc.text)); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, tc.want) {
				t.Errorf("got  %+v\nwant %+v", got, tc.want)
			}
			text, err := json.Marshal(got)
			var again Store
			if err != nil || json.Unmarshal(text, &again) != nil || !reflect.DeepEqual(again, tc.want) {
				t.Errorf("through JSON it became %+v (%v)", again, err)
			}
		})
	}
}

func TestCaddyfileMistakes(t *testing.T) {
	tests := []struct{ text, want string }{
		{"redis", "takes the URL of a server"},
		{"redis a:1 {\n pasword x\n}", `unknown option "pasword"; the options here are: cache, cluster, `},
		{"redis a:1 {\n password x\n password y\n}", "password stands here twice, first on line 2"},
		{"redis a:1 {\n password\n}", "password takes 1 argument(s), but has 0"},
		{"redis a:1 {\n password hunter2 hunter3\n}", "password takes 1 argument(s), but has 2"},
		{"redis a:1 {\n password \"\"\n}", "password has an empty argument"},
		{"redis a:1 {\n cluster yes\n}", "cluster takes 0 argument(s), but has 1"},
		{"redis a:1 {\n cluster {\n x\n }\n}", `no block is expected here, but there is "x"`},
		{"redis a:1 {\n timeout 0\n}", `timeout: "0" is not a duration above zero`},
		{"redis a:1 {\n timeout soon\n}", `timeout: "soon" is not a duration above zero`},
		{"redis a:1 {\n cache -1s\n}", `cache: "-1s" is neither a duration, such as 30s, nor off`},
		{"redis a:1 {\n on_failure pray\n}", `on_failure: "pray" is neither serve_cached nor deny`},
		{"redis a:1 {\n database -1\n}", `database: "-1" is not the number of a database`},
		{"redis a:1 {\n sentinel\n}", "sentinel takes one argument, the name of the master"},
		{"redis a:1 {\n sentinel m {\n ca x\n }\n}", `unknown option "ca"; the options here are: password, username`},
		{"redis a:1 {\n tls on\n}", `tls takes no argument, but has "on"`},
		{"redis a:1 {\n tls {\n insecure\n }\n}", `unknown option "insecure"; the options here are: ca, cert, server_name`},
		{"redis a:1 {\n tls {\n cert x\n }\n}", "cert takes 2 argument(s), but has 1"},
	}
	for _, tc := range tests {
		var s Store
		err := s.UnmarshalCaddyfile(caddyfile.NewTestDispenser(tc.text))
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%q: %v, want %q", tc.text, err, tc.want)
		}
		if err != nil && (!strings.Contains(err.Error(), "Testfile:") || strings.Contains(err.Error(), "hunter")) {
			t.Errorf("%q: %v; want file and line, and no password", tc.text, err)
		}
	}
}
