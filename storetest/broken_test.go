package storetest_test

import (
	kiboauth "github.com/kiboauth/caddy-kibo-auth"
)

var brokenStores = map[string]struct {
	of func(*sharedStore) kiboauth.Store
}{}
