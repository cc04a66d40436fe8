package redisstore_test

import (
	"testing"
	"time"

	"github.com/kiboauth/caddy-kibo-auth/internal/redistest"
)

// TestClientKill: Redis forgets what the connection was to be told, so the
// gateway must forget what it knew.
func TestClientKill(t *testing.T) {
	server := redistest.Start(t, redistest.Options{})
	a, b := openTwo(t, server.URL())
	ga, gb := newGateway(t, a), newGateway(t, b)
	key := newKey()
	r := mustCreate(t, a, key)
	ga.admitted(t, key)
	gb.admitted(t, key)
	allA, allB := ga.toldAll(), gb.toldAll()

	server.CLI("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
	redistest.Await(t, patience, "both gateways to be told of the lost connections", func() bool {
		return ga.toldAll() > allA && gb.toldAll() > allB
	})
	if _, ok := gb.look(key); ok {
		t.Error("the gateway still uses what it knew before")
	}
	awaitWorking(t, "CLIENT KILL", a, b)
	mustLoad(t, b, key, r)
	awaitPushes(t, a, gb)
	awaitPushes(t, b, ga)
}

func TestFlushAll(t *testing.T) {
	server := redistest.Start(t, redistest.Options{})
	a, b := openTwo(t, server.URL())
	g := newGateway(t, b)
	key := newKey()
	mustCreate(t, a, key)
	g.admitted(t, key)
	before := g.toldAll()

	server.CLI("FLUSHALL")
	flushed := time.Now()
	redistest.Await(t, patience, "gateway to be told of FLUSHALL", func() bool { return g.toldAll() > before })
	g.awaitRefusal(t, key, flushed)
	mustBeGone(t, a, key)
	mustBeGone(t, b, key)
	for _, err := range a.List(soon(t), "") {
		t.Errorf("after FLUSHALL the list has a session, error %v", err)
	}
	awaitPushes(t, a, g) // a script that Redis has forgotten is no error either
}

// TestScriptFlush: Redis forgets the scripts, as after a restart or failover.
func TestScriptFlush(t *testing.T) {
	server := redistest.Start(t, redistest.Options{})
	a, b := openTwo(t, server.URL())
	key := newKey()
	r := mustCreate(t, a, key)
	server.CLI("SCRIPT", "FLUSH", "SYNC")
	n := next(r)
	if err := a.Replace(soon(t), key, 1, n); err != nil {
		t.Errorf("Replace after SCRIPT FLUSH: %v", err)
	}
	mustLoad(t, b, key, n)
}
