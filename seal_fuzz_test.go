package kiboauth

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// FuzzSeal: what was sealed comes back as it was; with one bit changed, cut,
// for another purpose, session or label, or invented, nothing opens.
func FuzzSeal(f *testing.F) {
	f.Add("__Host-kibo-login realm", []byte("jane@example.com"), uint16(0), []byte(nil))
	f.Add("", []byte{}, uint16(12), []byte("AAAA"))
	f.Add("p", bytes.Repeat([]byte{0}, 300), uint16(65535), bytes.Repeat([]byte{'A'}, 60))
	k := testKeyring(f, testSecret, otherSecret)
	id, other := newSessionID(testRealm), newSessionID(testRealm)
	f.Fuzz(func(t *testing.T, purpose string, text []byte, at uint16, invented []byte) {
		opens := func(purpose, sealed string) bool {
			got, err := k.open(t.Context(), purpose, sealed)
			if err != nil && !errors.Is(err, errSealBroken) {
				t.Fatalf("open(%q, %q): %v", purpose, sealed, err)
			}
			return err == nil && bytes.Equal(got, text)
		}
		sealed, err := k.seal(t.Context(), purpose, text)
		if err != nil || !opens(purpose, sealed) {
			t.Fatalf("seal(%q) does not open: %v", text, err)
		}
		raw := must(base64.RawURLEncoding.DecodeString(sealed))
		if opens(purpose+"x", sealed) || opens(purpose, string(invented)) || opens(purpose, base64.RawURLEncoding.EncodeToString(changed(raw, at))) {
			t.Errorf("%q opens for another purpose, invented or changed", text)
		}
		kept := must(k.sealSession(t.Context(), id, text, []byte(purpose)))
		for name, tt := range map[string]struct {
			id            SessionID
			sealed, label []byte
		}{
			"of another session": {other, kept, []byte(purpose)},
			"under another key":  {id, changed(kept, at), []byte(purpose)},
			"relabelled":         {id, kept, []byte(purpose + "x")},
			"cut":                {id, kept[:int(at)%len(kept)], []byte(purpose)},
			"invented":           {id, append(kept[:4:4], invented...), []byte(purpose)},
		} {
			if _, _, err := k.openSession(t.Context(), tt.id, tt.sealed, tt.label); !errors.Is(err, errSealBroken) {
				t.Errorf("a sealed session %s opens: %v", name, err)
			}
		}
		if got, old, err := k.openSession(t.Context(), id, kept, []byte(purpose)); err != nil || old || !bytes.Equal(got, text) {
			t.Errorf("the session %q opens as %q, %v", text, got, err)
		}
	})
}

// changed returns b with one bit changed.
func changed(b []byte, at uint16) []byte {
	b = bytes.Clone(b)
	b[int(at/8)%len(b)] ^= 1 << (at % 8)
	return b
}

// FuzzPendingCookie: nobody can make up a sign-in under way, its cookie is in
// no error, and what the gateway keeps in it comes back whole, until it is old.
func FuzzPendingCookie(f *testing.F) {
	f.Add("", jane, "/cart?x=1#y", "code", int64(0))
	f.Add(strings.Repeat("A", 200), "", "", "", int64(601))
	f.Add("eyJlIjoiamFuZUBleGFtcGxlLmNvbSJ9", "a\"b\\@c", "\x00/\u2028", "password", int64(599))
	f.Add("*.*", jane, "//evil.example", "\r\n", int64(-1))
	h := &Handler{realm: testRealm, keyring: testKeyring(f, testSecret), cookies: testNames}
	f.Fuzz(func(t *testing.T, cookie, email, to, first string, age int64) {
		if _, err := h.resume(t.Context(), cookie); !errors.Is(err, errNotHere) || len(cookie) > 20 && strings.Contains(err.Error(), cookie) {
			t.Fatalf("resume(%q) = %v, want errNotHere", cookie, err)
		}
		age %= 1 << 30
		p := pending{Nonce: "n", Email: email, ReturnTo: to, First: first, Began: time.Now().Unix() - age}
		sealed := must(h.keyring.seal(t.Context(), h.purpose(), must(json.Marshal(p))))
		got, err := h.resume(t.Context(), sealed)
		switch old := pendingLife.Seconds(); {
		case float64(age) > old+1 && !errors.Is(err, errNotHere):
			t.Errorf("a sign-in %d s old is taken up: %v", age, err)
		case float64(age) < old-1 && err != nil:
			t.Errorf("a sign-in %d s old is not taken up: %v", age, err)
		case err == nil && allUTF8(email, to, first) && *got != p:
			t.Errorf("kept %+v, got back %+v", p, got)
		}
	})
}

// allUTF8 tells whether JSON can carry texts unchanged.
func allUTF8(texts ...string) bool {
	return !slices.ContainsFunc(texts, func(s string) bool { return !utf8.ValidString(s) })
}

// FuzzOwnCookies: a session's cookie has one spelling, is not to be seen in what
// is printed, and finds another key in each realm. A device counts as an
// account's only with the proof that the gateway made for just that.
func FuzzOwnCookies(f *testing.F) {
	g := newGateway(f, func(h *Handler) { h.Limits = Limits{Floor: -1} })
	device := strings.Repeat("A", deviceLen)
	proof := deviceProof(g.keyring.keys[0].limit, g.realm, device, jane)
	for _, value := range []string{"", device, device + ".", device + "." + proof, device + "." + proof + "=", device + "..", "." + proof, strings.Repeat("é", 22), device[1:] + "B", device[1:] + "\n"} {
		f.Add(value, jane)
		f.Add(value, john)
	}
	f.Fuzz(func(t *testing.T, value, email string) {
		if id, ok := parseSessionID(testRealm, value); ok {
			if raw, err := base64.RawURLEncoding.DecodeString(value); err != nil || len(raw) != 32 {
				t.Errorf("%q is taken for a session ID", value)
			}
			if elsewhere, _ := parseSessionID("another#site", value); elsewhere.key == id.key {
				t.Errorf("%q has the same key in two realms", value)
			}
			if shown := fmt.Sprintf("%v %+v %#v %s %q", id, id, id, id, id); strings.Contains(shown, value) {
				t.Errorf("a session ID is printed: %s", shown)
			}
		}
		r := post(t, "/login", nil)
		a := &attempt{h: g.Handler, w: discardWriter{}, r: asPrepared(r)}
		a.meetDevice(value)
		who, err := a.visitor(t.Context(), email)
		if err != nil {
			t.Fatal(err)
		}
		brought, given, _ := strings.Cut(value, ".")
		want := len(brought) == deviceLen && given == deviceProof(g.keyring.keys[0].limit, g.realm, brought, email)
		if got := who.device != ""; got != want || got && who.device != brought {
			t.Errorf("the device %q counts as %q's: %v, want %v", value, email, got, want)
		}
	})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
