package kiboauth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"sort"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"golang.org/x/sync/singleflight"

	"github.com/kiboauth/caddy-kibo-auth/internal/kibo"
	"github.com/kiboauth/caddy-kibo-auth/internal/redact"
	"github.com/kiboauth/caddy-kibo-auth/internal/verify"
)

// pool holds what outlives a reload of the configuration: clients with their
// app tokens, keysets, the memory store, flights under way. Old and new
// handlers share them while both live.
var pool = caddy.NewUsagePool()

// shared is what handlers of one realm have in common.
type shared struct {
	redact.Hidden

	refreshes singleflight.Group // by session key
	verdicts  singleflight.Group // by session key: who waits for one must not get a failed refresh
	exchanges singleflight.Group // by pending sign-in and code, or by keyed hash
	resends   cooldown           // by user
	secret    [32]byte           // keys those hashes
	counts    *counts
	watch     *watch
}

func newShared() *shared {
	s := &shared{counts: newCounts(), watch: newWatch()}
	rand.Read(s.secret[:])
	return s
}

// Destruct implements caddy.Destructor.
func (s *shared) Destruct() error {
	close(s.watch.stop)
	return nil
}

// pooledClient and pooledVerifier let the pool close what it holds.
type (
	pooledClient   struct{ *kibo.Client }
	pooledVerifier struct{ *verify.Verifier }
)

func (c pooledClient) Destruct() error   { c.Close(); return nil }
func (v pooledVerifier) Destruct() error { v.Close(); return nil }

// Names of pooled things, by type so that they cannot meet.
type (
	clientKey   string
	verifierKey string
	sharedKey   string
)

// fromPool joins or makes a pooled thing and notes to give it back.
func fromPool(h *Handler, key any, construct caddy.Constructor) (any, error) {
	value, _, err := pool.LoadOrNew(key, construct)
	if err == nil {
		h.pooled = append(h.pooled, key)
	}
	return value, err
}

// digest is one name for many settings, secrets among them.
func digest(settings ...any) string {
	sum := sha256.New()
	for _, s := range settings {
		text, _ := json.Marshal(s) // strings, numbers, lists and maps of strings
		sum.Write(append(text, 0))
	}
	return string(sum.Sum(nil))
}

// realmOf names a Kibo site. Sessions of different realms never meet, and the
// name does not change with the application's secret.
func realmOf(api string, headers map[string]string) string {
	var scope []string
	for name, value := range headers {
		scope = append(scope, strings.ToLower(name)+"="+value)
	}
	sort.Strings(scope)
	sum := sha256.Sum256([]byte(digest(api, scope)))
	return base64.RawURLEncoding.EncodeToString(sum[:])[:realmLen]
}
