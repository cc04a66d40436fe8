package redisstore

import (
	"testing"

	kiboauth "github.com/kiboauth/caddy-kibo-auth"
	"github.com/kiboauth/caddy-kibo-auth/internal/redistest"
	"github.com/kiboauth/caddy-kibo-auth/storetest"
)

func TestContractAlone(t *testing.T) {
	server := redistest.Start(t, redistest.Options{})
	storetest.Run(t, func(t *testing.T) kiboauth.Store { return open(t, Store{URLs: []string{server.URL()}}) })
}

func TestContractInACluster(t *testing.T) {
	cluster := redistest.StartCluster(t)
	storetest.Run(t, func(t *testing.T) kiboauth.Store { return open(t, Store{URLs: cluster.Addrs()}) })
}

func TestContractUnderSentinel(t *testing.T) {
	sentinels := redistest.StartSentinels(t)
	storetest.Run(t, func(t *testing.T) kiboauth.Store {
		return open(t, Store{URLs: sentinels.Addrs(), Sentinel: &Sentinel{Master: redistest.MasterName}})
	})
}

func TestContractWhileUnavailable(t *testing.T) {
	storetest.RunUnavailable(t, func(t *testing.T) (s kiboauth.Store, cut, mend func()) {
		server := redistest.Start(t, redistest.Options{})
		relay := redistest.StartRelay(t)
		return open(t, Store{URLs: []string{relay.To(server.Addr())}}), relay.Cut, relay.Pass
	})
}
