package redistest

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
)

// MasterName is what the sentinels call the master they watch.
const MasterName = "kibo"

// Sentinels are a master, its replica and three sentinels. They call a master
// down after a second of silence.
type Sentinels struct {
	// Nodes are the master and the replica at first, in this order.
	Nodes []*Server
	// Watchers are the sentinels.
	Watchers []*Server

	t testing.TB
}

// SentinelOptions are those of a pair under Sentinel.
type SentinelOptions struct {
	// TLS, if set, is spoken by all, with each other too.
	TLS *TLS
	// Password is that of master and replica. Default: none.
	Password string
	// WatcherPassword is that of the sentinels. Default: none.
	WatcherPassword string
}

// StartSentinels starts them and waits until all know each other.
func StartSentinels(t testing.TB) *Sentinels {
	t.Helper()
	return StartSentinelsWith(t, SentinelOptions{})
}

// StartSentinelsWith starts them with passwords or TLS.
func StartSentinelsWith(t testing.TB, opts SentinelOptions) *Sentinels {
	t.Helper()
	node := Options{TLS: opts.TLS, Password: opts.Password}
	if opts.Password != "" {
		node.Config = []string{"masterauth " + opts.Password} // either may have to follow the other
	}
	master := Start(t, node)
	node.Config = append(node.Config, fmt.Sprintf("replicaof %s %d", host, master.port))
	s := &Sentinels{t: t, Nodes: []*Server{master, Start(t, node)}}
	s.awaitReplication()
	for range 3 {
		s.Watchers = append(s.Watchers, startSentinel(t, master, opts))
	}
	Await(t, startWithin, "sentinels to find each other", s.complete)
	return s
}

// startSentinel starts one. The replica must be there already: a sentinel asks
// the master for its replicas at once, and then every ten seconds only.
func startSentinel(t testing.TB, master *Server, opts SentinelOptions) *Server {
	t.Helper()
	s := &Server{t: t, opts: Options{Password: opts.WatcherPassword}, dir: t.TempDir()}
	if opts.TLS != nil {
		s.tls = opts.TLS.issue(t)
	}
	config := func() []string {
		lines := append(s.listens(),
			"bind "+host,
			"dir "+strconv.Quote(s.dir),
			fmt.Sprintf("sentinel monitor %s %s %d 2", MasterName, host, master.port),
			"sentinel down-after-milliseconds "+MasterName+" 1000",
			"sentinel failover-timeout "+MasterName+" 3000",
		)
		if opts.Password != "" {
			lines = append(lines, "sentinel auth-pass "+MasterName+" "+opts.Password)
		}
		if opts.WatcherPassword != "" {
			lines = append(lines, "requirepass "+opts.WatcherPassword, "sentinel sentinel-pass "+opts.WatcherPassword)
		}
		return lines
	}
	s.launch("Sentinel ID is", config, "redis-server", "--sentinel")
	return s
}

// complete says whether every sentinel knows the replica and the two others.
func (s *Sentinels) complete() bool {
	for _, w := range s.Watchers {
		out, _ := w.TryCLI("INFO", "sentinel")
		if !strings.Contains(out, "status=ok") || !strings.Contains(out, "slaves=1,sentinels=3") {
			return false
		}
	}
	return true
}

// Addrs returns the addresses of the sentinels.
func (s *Sentinels) Addrs() []string {
	addrs := make([]string, 0, len(s.Watchers))
	for _, w := range s.Watchers {
		addrs = append(addrs, w.Addr())
	}
	return addrs
}

// Master returns the master that the sentinels agree on and that agrees with
// them; nil if there is none at present.
func (s *Sentinels) Master() *Server {
	var master *Server
	for _, w := range s.Watchers {
		out, err := w.TryCLI("SENTINEL", "get-master-addr-by-name", MasterName)
		if err != nil {
			return nil
		}
		named := find(s.Nodes, strings.Join(strings.Fields(out), ":"))
		if named == nil || master != nil && named != master {
			return nil
		}
		master = named
	}
	if master.Info("role") != "master" {
		return nil
	}
	return master
}

// KillMaster kills the master and returns it. The sentinels need about two
// seconds to put the replica in its place; AwaitFailover waits for that.
func (s *Sentinels) KillMaster() *Server {
	s.t.Helper()
	s.awaitReplication()
	master := s.Master()
	if master == nil {
		s.t.Fatal("there is no master to kill")
	}
	master.Kill()
	return master
}

// AwaitFailover waits until another server than old is the master and returns it.
func (s *Sentinels) AwaitFailover(old *Server) *Server {
	s.t.Helper()
	var master *Server
	Await(s.t, 30*time.Second, "failover by the sentinels", func() bool {
		master = s.Master()
		return master != nil && master != old
	})
	return master
}

// awaitReplication waits until one of the nodes follows another.
func (s *Sentinels) awaitReplication() {
	s.t.Helper()
	Await(s.t, startWithin, "replica to follow the master", func() bool {
		for _, n := range s.Nodes {
			if n.Info("master_link_status") == "up" {
				return true
			}
		}
		return false
	})
}

// find returns the server at an address, nil if it is none of them.
func find(servers []*Server, addr string) *Server {
	for _, s := range servers {
		if s.Addr() == addr {
			return s
		}
	}
	return nil
}
