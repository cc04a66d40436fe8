package redistest

import (
	"strings"
	"testing"
	"time"
)

// Cluster is three masters with a replica each. A node that is silent for two
// seconds is called down.
type Cluster struct {
	// Nodes are all six, in no order.
	Nodes []*Server

	t testing.TB
}

// StartCluster starts a cluster and waits until all slots are served and all
// replicas follow.
func StartCluster(t testing.TB) *Cluster {
	t.Helper()
	return StartClusterWith(t, nil)
}

// StartClusterWith starts one that speaks TLS, among its nodes too, unless tls
// is nil.
func StartClusterWith(t testing.TB, tls *TLS) *Cluster {
	t.Helper()
	c := &Cluster{t: t}
	create := []string{"--cluster", "create"}
	for range 6 {
		node := Start(t, Options{TLS: tls, Config: []string{
			"cluster-enabled yes",
			"cluster-node-timeout 2000",
			"cluster-replica-validity-factor 0", // a slow machine must not forbid a failover
		}})
		c.Nodes = append(c.Nodes, node)
		create = append(create, node.Addr())
	}
	c.Nodes[0].CLI(append(create, "--cluster-replicas", "1", "--cluster-yes")...)
	Await(t, startWithin, "the whole cluster to be well", func() bool { return len(c.Masters()) == 3 && c.Well() })
	for _, m := range c.Masters() {
		m.CLI("FLUSHALL") // which goes to the replica though there is nothing
	}
	Await(t, startWithin, "replicas to receive what is written", c.caughtUp)
	return c
}

// caughtUp says whether every replica has all that its master has. One that has
// just synchronised is sent nothing until it has said so, up to a second later,
// and a master that dies before takes every write along.
func (c *Cluster) caughtUp() bool {
	for _, m := range c.Masters() {
		if offset := m.Info("master_repl_offset"); offset == "0" || !strings.Contains(m.Info("slave0"), ",offset="+offset+",") {
			return false
		}
	}
	return true
}

// Well says whether every node that runs finds all slots served, and all
// replicas that run follow their masters.
func (c *Cluster) Well() bool {
	for _, n := range c.Nodes {
		if n.proc.ended() {
			continue
		}
		out, err := n.TryCLI("CLUSTER", "INFO")
		if err != nil || infoField(out, "cluster_state") != "ok" {
			return false
		}
		if n.Info("role") == "slave" && n.Info("master_link_status") != "up" {
			return false
		}
	}
	return true
}

// Addrs returns the addresses of all nodes.
func (c *Cluster) Addrs() []string {
	addrs := make([]string, 0, len(c.Nodes))
	for _, n := range c.Nodes {
		addrs = append(addrs, n.Addr())
	}
	return addrs
}

// Masters returns the masters that run.
func (c *Cluster) Masters() []*Server {
	var masters []*Server
	for _, n := range c.Nodes {
		if !n.proc.ended() && n.Info("role") == "master" {
			masters = append(masters, n)
		}
	}
	return masters
}

// MasterOf returns the node that serves the key's slot; nil if there is none
// at present.
func (c *Cluster) MasterOf(key string) *Server {
	c.t.Helper()
	for _, m := range c.Masters() {
		// Any other node answers MOVED, and CLUSTERDOWN if it thinks so.
		if _, err := m.TryCLI("EXISTS", key); err == nil {
			return m
		}
	}
	return nil
}

// KillMasterOf kills the master that serves the key and returns it. Its
// replica needs about four seconds to take over; AwaitFailover waits for that.
func (c *Cluster) KillMasterOf(key string) *Server {
	c.t.Helper()
	m := c.MasterOf(key)
	if m == nil {
		c.t.Fatal("no master serves the key")
	}
	m.Kill()
	return m
}

// AwaitFailover waits until another node than old serves the key and the
// cluster is well, and returns that node.
func (c *Cluster) AwaitFailover(key string, old *Server) *Server {
	c.t.Helper()
	var m *Server
	Await(c.t, 30*time.Second, "failover in the cluster", func() bool {
		m = c.MasterOf(key)
		return m != nil && m != old && c.Well()
	})
	return m
}

// MigrateSlot moves the key's slot to another master as an operator does:
// https://redis.io/docs/latest/commands/cluster-setslot/. If halfway is set,
// it is called twice: when the slot is open on both sides and its keys are
// still where they were, and when they have moved and nobody was told yet.
func (c *Cluster) MigrateSlot(key string, halfway func()) {
	c.t.Helper()
	from, to := c.MasterOf(key), c.other(key)
	slot := from.CLI("CLUSTER", "KEYSLOT", key)
	fromID, toID := from.CLI("CLUSTER", "MYID"), to.CLI("CLUSTER", "MYID")

	to.CLI("CLUSTER", "SETSLOT", slot, "IMPORTING", fromID)
	from.CLI("CLUSTER", "SETSLOT", slot, "MIGRATING", toID)
	call(halfway)
	c.moveKeys(slot, from, to)
	call(halfway)
	// The new owner first: else nobody would own the slot for a moment.
	for _, m := range append([]*Server{to, from}, c.Masters()...) {
		m.CLI("CLUSTER", "SETSLOT", slot, "NODE", toID)
	}
}

// other returns a master that does not serve the key.
func (c *Cluster) other(key string) *Server {
	c.t.Helper()
	owner := c.MasterOf(key)
	for _, m := range c.Masters() {
		if m != owner && owner != nil {
			return m
		}
	}
	c.t.Fatal("no two masters to move a slot between")
	return nil
}

// moveKeys moves what a slot holds.
func (c *Cluster) moveKeys(slot string, from, to *Server) {
	c.t.Helper()
	for {
		keys := strings.Fields(from.CLI("CLUSTER", "GETKEYSINSLOT", slot, "100"))
		if len(keys) == 0 {
			return
		}
		target := []string{"MIGRATE", host, to.portText(), "", "0", "5000", "KEYS"}
		from.CLI(append(target, keys...)...)
	}
}

func call(f func()) {
	if f != nil {
		f()
	}
}
