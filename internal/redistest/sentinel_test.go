package redistest

import (
	"strings"
	"testing"
	"time"
)

func TestSentinelFailover(t *testing.T) {
	begin := time.Now()
	s := StartSentinels(t)
	t.Logf("up after %s", time.Since(begin))
	first := s.Master()
	if first != s.Nodes[0] {
		t.Fatalf("master is not the first node")
	}
	first.CLI("SET", "k", "v")

	begin = time.Now()
	if killed := s.KillMaster(); killed != first {
		t.Errorf("killed %s, want %s", killed.Addr(), first.Addr())
	}
	second := s.AwaitFailover(first)
	t.Logf("failover took %s", time.Since(begin))
	if got := second.CLI("GET", "k"); got != "v" {
		t.Errorf("GET at the new master = %q", got)
	}
}

func TestSentinelPasswords(t *testing.T) {
	s := StartSentinelsWith(t, SentinelOptions{Password: "pw", WatcherPassword: "sentinel-pw"})
	if s.Master() != s.Nodes[0] {
		t.Error("the sentinels know no master")
	}
	for _, w := range append(s.Watchers, s.Nodes...) {
		none := *w
		none.opts.Password = ""
		if _, err := none.TryCLI("PING"); err == nil || !strings.Contains(err.Error(), "NOAUTH") {
			t.Errorf("PING without password: %v, want NOAUTH", err)
		}
	}
}
