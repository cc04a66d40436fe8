package redisstore_test

import (
	"strings"
	"testing"
	"time"

	"github.com/kiboauth/caddy-kibo-auth/internal/redistest"
)

// TestSentinelFailover: the master dies under traffic. Until the replica has
// taken over there are errors, and never a wrong answer.
func TestSentinelFailover(t *testing.T) {
	pair := redistest.StartSentinelsWith(t, redistest.SentinelOptions{
		Password: faultPassword, WatcherPassword: faultPassword + "-sentinel",
	})
	a, b := openTwo(
		t, strings.Join(pair.Addrs(), " "), "password "+faultPassword,
		"sentinel "+redistest.MasterName+" {\npassword "+faultPassword+"-sentinel\n}",
	)
	g := newGateway(t, b)
	key := newKey()
	r := mustCreate(t, a, key)
	g.admitted(t, key)
	told := g.toldAll()
	tr := startTraffic(t, a, b)
	tr.awaitAnswers(200)

	killed := pair.KillMaster()
	tr.failed.Store(time.Now().UnixMilli())
	redistest.Await(t, patience, "gateway to be told of the lost connection", func() bool { return g.toldAll() > told })
	awaitWorking(t, "the kill", a, b)
	if pair.AwaitFailover(killed) == killed {
		t.Error("there was no failover")
	}
	tr.awaitAnswers(200)
	killed.Restart() // empty, and for some seconds it takes itself for the master
	tr.awaitAnswers(400)
	tr.halt()
	mustLoad(t, a, key, r)
	mustLoad(t, b, key, r)
	awaitPushes(t, a, g)
}
