package redistest

import (
	"strings"
	"testing"
	"time"
)

func TestCluster(t *testing.T) {
	begin := time.Now()
	c := StartCluster(t)
	t.Logf("up after %s", time.Since(begin))
	if got := len(c.Masters()); got != 3 {
		t.Errorf("%d masters, want 3", got)
	}
	if got := len(c.Addrs()); got != 6 {
		t.Errorf("%d nodes, want 6", got)
	}
	t.Run("migration", func(t *testing.T) { testMigration(t, c) })
	t.Run("failover", func(t *testing.T) { testClusterFailover(t, c) })
}

func testMigration(t *testing.T, c *Cluster) {
	const key = "{a}:k"
	from := c.MasterOf(key)
	from.CLI("SET", key, "v")
	var answers []string
	c.MigrateSlot(key, func() {
		out, _ := from.TryCLI("GET", key)
		answers = append(answers, strings.Fields(out)[0])
	})
	if got := strings.Join(answers, " "); got != "v ASK" {
		t.Errorf("halfway the old owner says %q, want %q", got, "v ASK")
	}
	to := c.MasterOf(key)
	if to == nil || to == from {
		t.Fatal("the slot has not moved")
	}
	if got := to.CLI("GET", key); got != "v" {
		t.Errorf("GET at the new owner = %q", got)
	}
	if _, err := from.TryCLI("GET", key); err == nil || !strings.Contains(err.Error(), "MOVED") {
		t.Errorf("GET at the old owner: %v, want MOVED", err)
	}
	Await(t, 10*time.Second, "cluster to be well", c.Well)
}

func testClusterFailover(t *testing.T, c *Cluster) {
	const key = "{b}:k"
	c.MasterOf(key).CLI("SET", key, "v")
	begin := time.Now()
	old := c.KillMasterOf(key)
	m := c.AwaitFailover(key, old)
	t.Logf("failover took %s", time.Since(begin))
	if got := m.CLI("GET", key); got != "v" {
		t.Errorf("GET at the new master = %q", got)
	}
	if got := len(c.Masters()); got != 3 {
		t.Errorf("%d masters after failover, want 3", got)
	}
}
