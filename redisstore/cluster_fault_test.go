package redisstore_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	kiboauth "github.com/kiboauth/caddy-kibo-auth"
	"github.com/kiboauth/caddy-kibo-auth/internal/redistest"
	"github.com/kiboauth/caddy-kibo-auth/redisstore"
)

// TestCluster breaks one cluster after the other way: starting one takes longer
// than a test.
func TestCluster(t *testing.T) {
	c := redistest.StartCluster(t)
	a, b := openTwo(t, strings.Join(c.Addrs()[:3], " "), "cluster")
	t.Run("one address will do", func(t *testing.T) { testOneAddress(t, c) })
	t.Run("list", func(t *testing.T) { testClusterList(t, a, b) })
	t.Run("slot migration", func(t *testing.T) { testSlotMigration(t, c, a, b) })
	t.Run("master dies", func(t *testing.T) { testMasterDies(t, c, a, b) })
}

func testOneAddress(t *testing.T, c *redistest.Cluster) {
	s := openFault(t, c.Addrs()[5])
	for range 20 {
		key := newKey()
		mustLoad(t, s, key, mustCreate(t, s, key))
		mustDelete(t, s, key)
	}
}

// testClusterList: the sessions of one customer lie on all masters, and so do
// those of all.
func testClusterList(t *testing.T, a, b *redisstore.Store) {
	created := map[kiboauth.Key]bool{}
	for range 30 {
		key := newKey()
		if err := a.Create(soon(t), key, newRecord("lister")); err != nil {
			t.Fatal(err)
		}
		created[key] = true
	}
	for _, customer := range []string{"lister", ""} {
		found := map[kiboauth.Key]bool{}
		for listed, err := range b.List(soon(t), customer) {
			if err != nil {
				t.Fatalf("List(%q): %v", customer, err)
			}
			found[listed.Key] = created[listed.Key]
		}
		for key := range created {
			if !found[key] {
				t.Errorf("List(%q) lacks a session", customer)
			}
		}
	}
	for key := range created {
		mustDelete(t, b, key)
	}
}

// testSlotMigration moves the slot of a session that is read and written all
// the while. Redis loses nothing, so no answer may be wrong.
func testSlotMigration(t *testing.T, c *redistest.Cluster, a, b *redisstore.Store) {
	g := newGateway(t, b)
	key := newKey()
	r := mustCreate(t, a, key)
	stop, done := make(chan struct{}), make(chan *kiboauth.Record)
	go func() { done <- hammer(t, a, b, key, r, stop) }()

	halves := 0
	c.MigrateSlot(redisKey(key), func() {
		halves++
		fresh := keyInSlotOf(key)
		mustLoad(t, b, fresh, mustCreate(t, a, fresh)) // goes to the new owner at once
		g.admitted(t, fresh)
		mustDelete(t, a, fresh)
		g.awaitRefusal(t, fresh, time.Now())
	})
	if halves != 2 {
		t.Errorf("halfway was called %d times", halves)
	}
	close(stop)
	r = <-done
	mustLoad(t, a, key, r)
	mustLoad(t, b, key, r)
	g.admitted(t, key)
	mustDelete(t, a, key)
	g.awaitRefusal(t, key, time.Now())
	mustBeGone(t, a, key)
	mustBeGone(t, b, key)
	awaitPushes(t, a, g)
	redistest.Await(t, patience, "cluster to be well", c.Well)
}

// hammer replaces and reads one session until stop, and returns the last
// record. Errors that are no answers are let pass.
func hammer(t *testing.T, a, b *redisstore.Store, key kiboauth.Key, r *kiboauth.Record, stop chan struct{}) *kiboauth.Record {
	tr := &traffic{t: t, a: a, b: b, stop: stop}
	written, ok := time.Now(), true
	for ok && tr.goesOn() {
		n := next(r)
		if written, ok = tr.replace(key, r.Version, n, written); ok {
			r = n
			ok = tr.reads(a, key, r, written) && tr.reads(b, key, r, written)
		}
	}
	t.Logf("%d answers, %d errors", tr.answers.Load(), tr.errors.Load())
	return r
}

// keyInSlotOf finds another key whose record lies in the same slot.
func keyInSlotOf(key kiboauth.Key) kiboauth.Key {
	for {
		if found := newKey(); slot(redisKey(found)) == slot(redisKey(key)) {
			return found
		}
	}
}

// slot is CRC16 (XMODEM) of the hash tag modulo 16384, as in
// https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/.
func slot(key string) uint16 {
	_, tag, _ := strings.Cut(key, "{")
	tag, _, _ = strings.Cut(tag, "}")
	var crc uint16
	for _, c := range []byte(tag) {
		crc ^= uint16(c) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return crc % 16384
}

// testMasterDies: sessions of the other masters live on meanwhile; those of
// the dead one are not said to be gone.
func testMasterDies(t *testing.T, c *redistest.Cluster, a, b *redisstore.Store) {
	g := newGateway(t, b)
	sessions := map[kiboauth.Key]*kiboauth.Record{}
	for range 30 {
		key := newKey()
		sessions[key] = mustCreate(t, a, key)
		g.admitted(t, key)
	}
	told := g.toldAll()
	tr := startTraffic(t, a, b)
	tr.awaitAnswers(200)

	var victim kiboauth.Key
	for victim = range sessions {
		break
	}
	killed := c.KillMasterOf(redisKey(victim))
	tr.failed.Store(time.Now().UnixMilli())
	begin := time.Now()
	for key, r := range sessions { // errors there may be, wrong answers not
		if got, err := a.Load(soon(t), key); err == nil && !same(got, r) || errors.Is(err, kiboauth.ErrNoSession) {
			t.Errorf("Load while a master is down: %v", err)
		}
	}
	redistest.Await(t, patience, "gateway to be told of the lost connection", func() bool { return g.toldAll() > told })
	c.AwaitFailover(redisKey(victim), killed)
	for key := range sessions {
		for _, s := range []*redisstore.Store{a, b} {
			redistest.Await(t, patience, "every session to be back", func() bool {
				_, err := s.Load(soon(t), key)
				return err == nil
			})
		}
	}
	t.Logf("%s after the kill every session is back", time.Since(begin).Round(time.Millisecond))
	tr.awaitAnswers(200)
	tr.halt()
	for key, r := range sessions {
		mustLoad(t, a, key, r)
		mustLoad(t, b, key, r)
	}
	awaitPushes(t, a, g)
}
