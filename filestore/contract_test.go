package filestore

import (
	"testing"

	kiboauth "github.com/kiboauth/caddy-kibo-auth"
	"github.com/kiboauth/caddy-kibo-auth/storetest"
)

func TestContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) kiboauth.Store { return newStore(t) })
}
