package kiboauth

import (
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"
)

const otherSecret = "another secret, just as long as the first"

func testKeyring(t testing.TB, secrets ...string) *keyring {
	t.Helper()
	k, err := newKeyring(caddy.Context{}, secrets)
	if err != nil {
		t.Fatalf("newKeyring: %v", err)
	}
	return k
}

func TestSealAndOpen(t *testing.T) {
	k := testKeyring(t, testSecret)
	seen := map[string]bool{}
	for _, text := range []string{"", "x", "jane@example.com", strings.Repeat("é\x00", 500)} {
		for range 2 {
			sealed, err := k.seal(t.Context(), "p", []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			if seen[sealed] || len(text) > 4 && strings.Contains(sealed, text) || strings.ContainsAny(sealed, "+/= ;,\"") {
				t.Errorf("seal(%.20q) = %q: came before, shows the text, or fits no cookie", text, sealed)
			}
			seen[sealed] = true
			if got, err := k.open(t.Context(), "p", sealed); err != nil || string(got) != text {
				t.Errorf("open(seal(%.20q)) = %.20q, %v", text, got, err)
			}
		}
	}
}

func TestKeyRotation(t *testing.T) {
	old, both, fresh := testKeyring(t, testSecret), testKeyring(t, otherSecret, testSecret), testKeyring(t, otherSecret)
	sealed, err := old.seal(t.Context(), "p", []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := both.open(t.Context(), "p", sealed); err != nil || string(got) != "x" {
		t.Errorf("the second key does not open: %q, %v", got, err)
	}
	if _, err := fresh.open(t.Context(), "p", sealed); !errors.Is(err, errSealBroken) {
		t.Errorf("a key no longer listed opens: %v", err)
	}
	if sealed, err = both.seal(t.Context(), "p", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := fresh.open(t.Context(), "p", sealed); err != nil {
		t.Errorf("it is not the first key that seals: %v", err)
	}
}

func TestForgedSeal(t *testing.T) {
	k := testKeyring(t, testSecret)
	sealed, err := k.seal(t.Context(), "cookie realm", []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	raw, _ := base64.RawURLEncoding.DecodeString(sealed)
	forged := map[string]string{"empty": "", "no base64": "*", "padding": sealed + "=", "cut": sealed[:len(sealed)-4], "extended": sealed + "AAAA", "zeros": strings.Repeat("A", len(sealed))}
	for _, i := range []int{0, 12, len(raw) - 1} { // nonce, text, tag
		bad := slices.Clone(raw)
		bad[i] ^= 1
		forged["one bit at "+string(rune('a'+i%26))] = base64.RawURLEncoding.EncodeToString(bad)
	}
	for name, text := range forged {
		if _, err := k.open(t.Context(), "cookie realm", text); !errors.Is(err, errSealBroken) {
			t.Errorf("%s: %v, want errSealBroken", name, err)
		}
	}
	for _, purpose := range []string{"", "cookie", "cookie other", "cookie realm "} {
		if _, err := k.open(t.Context(), purpose, sealed); !errors.Is(err, errSealBroken) {
			t.Errorf("opens for %q: %v, want errSealBroken", purpose, err)
		}
	}
}

func TestBadSecrets(t *testing.T) {
	for name, secret := range map[string]string{
		"empty": "", "short": "short-but-not-to-be-shown", "one too few": strings.Repeat("s", minSecret-1), "unset variable": "{env.KIBO_TEST_UNSET}", "unknown placeholder": "{no.such.thing}",
	} {
		_, err := newKeyring(caddy.Context{}, []string{testSecret, secret})
		mistake, ok := errors.AsType[*problem](err)
		if !ok || mistake.line != "secret" || mistake.mend == "" {
			t.Errorf("%s: %v, want a problem of the secret line", name, err)
			continue
		}
		if secret != "" && secret[0] != '{' && strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the secret is shown: %v", name, err)
		}
	}
	t.Setenv("KIBO_TEST_SECRET", testSecret)
	sealed, err := testKeyring(t, "{env.KIBO_TEST_SECRET}").seal(t.Context(), "p", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := testKeyring(t, testSecret).open(t.Context(), "p", sealed); err != nil {
		t.Errorf("placeholder is not the text that it stands for: %v", err)
	}
}

// brokenStorage is Caddy's storage with faults.
type brokenStorage struct {
	certmagic.Storage
	mu                sync.Mutex
	lock, load, store error
	stores            int
}

func (s *brokenStorage) fault(which *error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return *which
}

func (s *brokenStorage) Lock(ctx context.Context, name string) error {
	if err := s.fault(&s.lock); err != nil {
		return err
	}
	return s.Storage.Lock(ctx, name)
}

func (s *brokenStorage) Load(ctx context.Context, key string) ([]byte, error) {
	if err := s.fault(&s.load); err != nil {
		return nil, err
	}
	return s.Storage.Load(ctx, key)
}

func (s *brokenStorage) Store(ctx context.Context, key string, value []byte) error {
	s.mu.Lock()
	s.stores++
	s.mu.Unlock()
	if err := s.fault(&s.store); err != nil {
		return err
	}
	return s.Storage.Store(ctx, key, value)
}

func testStorage(t *testing.T) *brokenStorage {
	return &brokenStorage{Storage: &certmagic.FileStorage{Path: t.TempDir()}}
}

// Two gateways that share a storage and start at once have one secret.
func TestOwnSecretIsMadeOnce(t *testing.T) {
	storage := testStorage(t)
	rings := []*keyring{{storage: storage}, {storage: storage}}
	sealed := make([]string, 8)
	var wg sync.WaitGroup
	for i := range sealed {
		wg.Go(func() {
			var err error
			if sealed[i], err = rings[i%2].seal(t.Context(), "p", []byte("x")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if storage.stores != 1 {
		t.Errorf("a secret was made %d times, want once", storage.stores)
	}
	later := &keyring{storage: storage}
	for _, text := range sealed {
		for i, k := range append(rings, later) {
			if _, err := k.open(t.Context(), "p", text); err != nil {
				t.Errorf("keyring %d: %v", i, err)
			}
		}
	}
}

// Storage that fails is trouble that mends itself: 503, and no new secret.
func TestStorageFails(t *testing.T) {
	down := errors.New("disk is gone")
	for name, which := range map[string]func(*brokenStorage) *error{
		"lock":  func(s *brokenStorage) *error { return &s.lock },
		"load":  func(s *brokenStorage) *error { return &s.load },
		"store": func(s *brokenStorage) *error { return &s.store },
	} {
		t.Run(name, func(t *testing.T) {
			storage := testStorage(t)
			k := &keyring{storage: storage}
			*which(storage) = down
			for range 2 {
				if _, err := k.seal(t.Context(), "p", nil); !errors.Is(err, errStore) || !errors.Is(err, down) {
					t.Errorf("seal: %v, want errStore and the cause", err)
				}
				if _, err := k.open(t.Context(), "p", "AAAA"); !errors.Is(err, errStore) || errors.Is(err, errSealBroken) {
					t.Errorf("open: %v, want errStore", err)
				}
			}
			*which(storage) = nil
			if _, err := k.seal(t.Context(), "p", nil); err != nil {
				t.Errorf("seal after recovery: %v", err)
			}
		})
	}
}

func TestDamagedSecret(t *testing.T) {
	storage := testStorage(t)
	if err := storage.Storage.Store(t.Context(), storedSecret, []byte("short")); err != nil {
		t.Fatal(err)
	}
	k := &keyring{storage: storage}
	if _, err := k.seal(t.Context(), "p", nil); !errors.Is(err, errStore) || strings.Contains(err.Error(), "short") {
		t.Errorf("seal: %v, want errStore, and the secret not shown", err)
	}
	if storage.stores != 0 {
		t.Error("a damaged secret was written over")
	}
	if err := storage.Delete(t.Context(), storedSecret); err != nil {
		t.Fatal(err)
	}
	if _, err := k.seal(t.Context(), "p", nil); err != nil {
		t.Errorf("seal after the damaged secret was deleted: %v", err)
	}
}
