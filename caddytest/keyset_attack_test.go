package caddytest

import (
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/kiboauth/caddy-kibo-auth/internal/kibosim"
)

// nextYear signs with the key that comes after Kibo's present one.
func nextYear(claims string) string {
	return rs256(keyOfNextYear(), `{"alg":"RS256","kid":"next"}`, claims)
}

// TestKeyRotationAtKibo: a new key works at the first sign-in that shows it,
// sessions of the old one live for as long as it is published, and no longer.
func TestKeyRotationAtKibo(t *testing.T) {
	w, f := startForged(t, "jwks FORGER/keys")
	old := w.browser()
	old.signIn(w, jane)
	f.publish(jwks(jwk("kibo", keyOfKibo()), jwk("next", keyOfNextYear())))
	f.sign(nextYear)
	b := w.browser()
	b.signIn(w, "john@example.com")
	if old.signedInAs("/") != janeID || b.signedInAs("/") != "1002" {
		t.Error("the rotation ended a session")
	}
	if n := f.fetched.Load(); n != 2 {
		t.Errorf("%d fetches, want 2", n)
	}
	w.reload()
	w.settle()
	if old.signedInAs("/") != janeID || f.fetched.Load() != 2 {
		t.Errorf("a reload ended a session, or fetched again: %d fetches", f.fetched.Load())
	}
}

// TestWithdrawnKeyEndsItsSessions: the keys that came with the new one do not
// have the old one any more, so that nothing it signed is believed.
func TestWithdrawnKeyEndsItsSessions(t *testing.T) {
	w, f := startForged(t, "jwks FORGER/keys")
	old := w.browser()
	old.signIn(w, jane)
	f.publish(jwks(jwk("next", keyOfNextYear())))
	f.sign(nextYear)
	w.browser().signIn(w, "john@example.com")
	w.shop.got()
	if r := old.open("/account"); r.status != http.StatusSeeOther || w.shop.got() != nil {
		t.Errorf("a session of the withdrawn key: %d, want the login form", r.status)
	}
	f.sign(nil) // whoever has the old key tries again
	b := w.browser()
	if r := b.giveCode(jane, b.askCode(w, jane)); r.status != http.StatusServiceUnavailable || b.cookies[sessionCookie] != "" {
		t.Errorf("a new token of the withdrawn key: %d, want 503", r.status)
	}
}

// TestColdStartOfFirstLogins: 40 customers sign in before there are any keys.
// All wait for the one fetch, and all get in.
func TestColdStartOfFirstLogins(t *testing.T) {
	const people = 40
	w, f := startForged(t, "jwks FORGER/keys")
	release := make(chan struct{})
	f.answerKeys(func(w http.ResponseWriter, _ *http.Request) {
		<-release
		_, _ = io.WriteString(w, jwks(jwk("kibo", keyOfKibo())))
	})
	browsers, codes := make([]*browser, people), make([]string, people)
	for i := range people {
		email := fmt.Sprintf("cold%d@shop.test", i)
		w.sim.AddCustomer(kibosim.Customer{AccountID: 8000 + i, Email: email})
		browsers[i] = w.browser()
		codes[i] = browsers[i].askCode(w, email)
	}
	var all sync.WaitGroup
	for i, b := range browsers {
		all.Go(func() {
			if r := b.giveCode(fmt.Sprintf("cold%d@shop.test", i), codes[i]); r.status != fine {
				t.Errorf("customer %d: %d, want a session", i, r.status)
			}
		})
	}
	eventually(t, "all are waiting", func() bool { return w.sim.Calls("otp/auth") == people })
	close(release)
	all.Wait()
	if n := f.fetched.Load(); n != 1 {
		t.Errorf("%d fetches for %d sign-ins, want 1", n, people)
	}
}

// keysetOutages are what may stand in the place of a keyset.
var keysetOutages = map[string]http.HandlerFunc{
	"500":   func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "Server Error", 500) },
	"404":   http.NotFound,
	"hang":  func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	"reset": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	"drip": func(w http.ResponseWriter, r *http.Request) {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for range 1000 {
			_, _ = io.WriteString(w, " ")
			_ = http.NewResponseController(w).Flush()
			select {
			case <-tick.C:
			case <-r.Context().Done():
				return
			}
		}
	},
	"garbage":     saying("\x00<<<<nope"),
	"HTML":        saying("<!doctype html><title>Server Error</title>"),
	"empty":       saying(""),
	"null":        saying("null"),
	"no keys":     saying(`{"keys":[]}`),
	"cut":         saying(`{"keys":[{"kty":"RSA","kid":"next"`),
	"nested deep": saying(`{"keys":` + strings.Repeat("[", 200_000)),
	"compressed": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(gzipBomb())
	},
	"redirect":       func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/trap", http.StatusFound) },
	"other protocol": onTheWire("220 mail.example.com ESMTP\r\n"),
	"1xx flood":      onTheWire(strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", 1e4)),
	"huge head":      onTheWire("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 1<<20) + "\r\n\r\n"),
	"200 MB": func(w http.ResponseWriter, _ *http.Request) {
		chunk := make([]byte, 1<<20)
		for range 200 {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	},
	"symmetric key only": saying(`{"keys":[{"kty":"oct","kid":"next","k":"bmV4dA"}]}`),
	"weak key only":      func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, jwks(jwk("next", weakKey()))) },
}

var weakKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		panic(err)
	}
	return key
})

func saying(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
}

// TestKeysetOutage: whatever comes instead of keys, the last good set serves:
// sessions and sign-ins of a known key go on, and an unknown key is an open
// question. Nothing of the outage shows, and it is over when it is over.
func TestKeysetOutage(t *testing.T) {
	// Several at a time under one gateway would share its two fetches in 15
	// seconds; so that each outage has a gateway of its own.
	for name, outage := range keysetOutages {
		t.Run(name, func(t *testing.T) {
			w, f := startForged(t, "jwks FORGER/keys")
			live := w.browser()
			live.signIn(w, jane)
			f.answerKeys(outage)
			f.sign(nextYear)
			b := w.browser()
			code := b.askCode(w, "john@example.com")
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			r := b.giveCode("john@example.com", code)
			runtime.ReadMemStats(&after)
			checkUnavailable(t, r, http.StatusServiceUnavailable)
			// A GET that was cut before its answer began may be repeated.
			if n := f.fetched.Load(); b.cookies[sessionCookie] != "" || n < 2 || n > 3 {
				t.Errorf("session %t after %d fetches, want none after 2", b.cookies[sessionCookie] != "", n)
			}
			if n := (after.TotalAlloc - before.TotalAlloc) >> 20; n > 64 && name != "200 MB" { // there the server allocates too
				t.Errorf("%d MiB were allocated", n)
			}
			if live.signedInAs("/account") != janeID || w.browser().open("/public/x").status != http.StatusOK {
				t.Error("a session or the public suffers")
			}
			f.sign(nil)
			w.browser().signIn(w, "zoe@example.com") // by the key that is known
			if f.trapped.Load() != 0 {
				t.Error("a redirect was followed")
			}
		})
	}
}

// TestPoisonedKeysetThroughCaddy: bad entries beside a good one verify nothing,
// and keep nobody out who has the good one.
func TestPoisonedKeysetThroughCaddy(t *testing.T) {
	stranger := keyOfStranger()
	for name, tt := range map[string]struct {
		entry string
		forge func(claims string) string
	}{
		"RSA of 1024 bits":     {jwk("bad", weakKey()), func(c string) string { return rs256(weakKey(), `{"alg":"RS256","kid":"bad"}`, c) }},
		"use enc":              {strings.Replace(jwk("bad", stranger), `"sig"`, `"enc"`, 1), badKey},
		"no verify in key_ops": {jwk("bad", stranger, `"key_ops":["encrypt"]`), badKey},
		"alg HS256":            {jwk("bad", stranger, `"alg":"HS256"`), badKey},
		"a published private":  {jwk("bad", stranger, `"d":"AQAB"`), badKey},
		"symmetric": {`{"kty":"oct","kid":"bad","alg":"HS256","k":"` + segment("a secret that is in everybody's hands") + `"}`, func(c string) string {
			return hs256("a secret that is in everybody's hands", `{"alg":"HS256","kid":"bad"}`, c)
		}},
		"symmetric, said to be RS256": {`{"kty":"oct","kid":"bad","alg":"RS256","k":"AAAA"}`, badKey},
		"kid twice":                   {jwk("bad", stranger) + "," + jwk("bad", keyOfNextYear()), badKey},
		"kid in another case":         {jwk("BAD", stranger), badKey},
		"exponent 1":                  {strings.Replace(jwk("bad", stranger), `"AQAB"`, `"AQ"`, 1), badKey},
		"names in another case":       {strings.Replace(jwk("bad", stranger), `"kty"`, `"KTY"`, 1), badKey},
		"junk":                        {`null,7,"key",[],{"kty":"RSA"},{"kty":"EC","crv":"P-256","x":"AA","y":"AA","kid":"bad"}`, badKey},
	} {
		t.Run(name, func(t *testing.T) {
			w, f := startForged(t, "jwks FORGER/keys")
			f.publish(jwks(tt.entry, jwk("kibo", keyOfKibo())))
			f.sign(tt.forge)
			b := w.browser()
			if r := b.giveCode(jane, b.askCode(w, jane)); r.status != http.StatusServiceUnavailable || b.cookies[sessionCookie] != "" {
				t.Errorf("by the bad key: %d, want 503", r.status)
			}
			f.sign(nil)
			w.browser().signIn(w, jane)
		})
	}
}

func badKey(claims string) string {
	return rs256(keyOfStranger(), `{"alg":"RS256","kid":"bad"}`, claims)
}

// TestKeysetDownAtStart: Caddy starts, the public is served, a sign-in waits
// for its turn, and all comes right by itself.
func TestKeysetDownAtStart(t *testing.T) {
	w, f := startForged(t, "jwks FORGER/keys")
	f.answerKeys(keysetOutages["500"])
	b := w.browser()
	checkUnavailable(t, b.giveCode(jane, b.askCode(w, jane)), http.StatusServiceUnavailable)
	if w.browser().open("/public/x").status != http.StatusOK || w.browser().open("/login").status != http.StatusOK {
		t.Error("the public or the login form suffers")
	}
	f.publish(jwks(jwk("kibo", keyOfKibo())))
	eventually(t, "signing in works", func() bool {
		b := w.browser()
		return b.giveCode(jane, b.askCode(w, jane)).status == fine
	})
}

// TestKeysetOutlivesARestart: the last good set is on disk, so that a start
// during an outage can go on with it, and only with it.
func TestKeysetOutlivesARestart(t *testing.T) {
	w, f := startForged(t, "jwks FORGER/keys")
	w.browser().signIn(w, jane)
	keptOnDisk := func() bool { return strings.Contains(treeOf(t, w.dir), "kibo_auth/keys/") }
	eventually(t, "the keys are on disk", keptOnDisk)
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	f.answerKeys(keysetOutages["500"])
	w.reload() // everything is built anew
	before := f.fetched.Load()
	w.browser().signIn(w, jane)
	if n := f.fetched.Load() - before; n < 1 {
		t.Error("the keys were not asked for: the restart has proved nothing")
	}
	f.sign(nextYear)
	b := w.browser()
	checkUnavailable(t, b.giveCode(jane, b.askCode(w, jane)), http.StatusServiceUnavailable)
}

// TestUntrustedCertificateOfKibo: a server that cannot prove to be Kibo
// receives nothing, neither secret, code nor question.
func TestUntrustedCertificateOfKibo(t *testing.T) {
	var calls atomic.Int64
	fake := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		_, _ = io.WriteString(w, jwks(jwk("kibo", keyOfKibo())))
	}))
	fake.Config.ErrorLog = discard
	fake.StartTLS()
	t.Cleanup(fake.Close)
	t.Run("Kibo", func(t *testing.T) {
		w := start(t, setup{gateway: quick})
		begun := w.browser()
		code := begun.askCode(w, jane)
		w.reloads++
		w.load(w.adapted(strings.ReplaceAll(w.caddyfile(), w.kibo.url(), fake.URL)))
		w.settle()
		b := w.browser()
		checkUnavailable(t, b.postJSON("/login", `{"email":"jane@example.com"}`), http.StatusServiceUnavailable)
		if r := begun.giveCode(jane, code); r.status < 400 || begun.cookies[sessionCookie] != "" {
			t.Errorf("giving a code: %d, want a refusal", r.status)
		}
	})
	t.Run("keyset", func(t *testing.T) {
		w, f := startForged(t, "jwks "+fake.URL+"/keys")
		b := w.browser()
		checkUnavailable(t, b.giveCode(jane, b.askCode(w, jane)), http.StatusServiceUnavailable)
		if b.cookies[sessionCookie] != "" || f.fetched.Load() != 0 {
			t.Error("somebody is in, or the keys came from elsewhere")
		}
	})
	if n := calls.Load(); n != 0 {
		t.Errorf("%d calls over a connection that nobody vouches for", n)
	}
}
