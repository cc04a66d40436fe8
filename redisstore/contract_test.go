package redisstore

import (
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	kiboauth "github.com/kiboauth/caddy-kibo-auth"
	"github.com/kiboauth/caddy-kibo-auth/internal/redistest"
	"github.com/kiboauth/caddy-kibo-auth/storetest"
)

// slowly is more than a call takes on a machine that is busy with other tests.
const slowly = caddy.Duration(10 * time.Second)

func TestContractAlone(t *testing.T) {
	server := redistest.Start(t, redistest.Options{})
	storetest.Run(t, func(t *testing.T) kiboauth.Store {
		return open(t, Store{URLs: []string{server.URL()}, Timeout: slowly})
	})
}

func TestContractInACluster(t *testing.T) {
	cluster := redistest.StartCluster(t)
	storetest.Run(t, func(t *testing.T) kiboauth.Store { return open(t, Store{URLs: cluster.Addrs(), Timeout: slowly}) })
}

func TestContractUnderSentinel(t *testing.T) {
	sentinels := redistest.StartSentinels(t)
	storetest.Run(t, func(t *testing.T) kiboauth.Store {
		return open(t, Store{URLs: sentinels.Addrs(), Sentinel: &Sentinel{Master: redistest.MasterName}, Timeout: slowly})
	})
}

func TestContractWhileUnavailable(t *testing.T) {
	storetest.RunUnavailable(t, func(t *testing.T) (s kiboauth.Store, cut, mend func()) {
		server := redistest.Start(t, redistest.Options{})
		relay := redistest.StartRelay(t)
		return open(t, Store{URLs: []string{relay.To(server.Addr())}}), relay.Cut, relay.Pass
	})
}
