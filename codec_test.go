package kiboauth

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func fullSession() *Session {
	s := testSession(testRealm, testCustomer())
	s.limit, s.good, s.due, s.refreshEnds, s.retryAt, s.retries, s.remembered = 1, 2, 3, 4, 5, 6, true
	return s
}

func TestCodecKeepsEverythingButTheVerdict(t *testing.T) {
	s := fullSession()
	s.stamp = 7
	got, err := decodeSession(testRealm, s.encode())
	if err != nil {
		t.Fatal(err)
	}
	want := *s
	want.stamp = 0
	if *got != want {
		t.Errorf("decoded %#v\nwant %#v", *got, want)
	}
}

// A newer gateway may add fields; an older one that shares the store skips them.
func TestCodecSkipsWhatItDoesNotKnow(t *testing.T) {
	b := append(fullSession().encode(), 31, 0, 8, 0, 0, 0, 0, 0, 0, 0, 9, 200, 0, 2, 'h', 'i')
	got, err := decodeSession(testRealm, b)
	if err != nil || *got != *fullSession() {
		t.Errorf("decoded %v, %v", got, err)
	}
}

// A session of an older gateway lacks fields; they are none.
func TestCodecTakesWhatIsMissingForNone(t *testing.T) {
	got, err := decodeSession(testRealm, []byte{codecVersion, fieldTags[fieldAccountID], 0, 1, '7'})
	if err != nil || got.AccountID() != "7" || got.limit != 0 || got.header(fieldBearer) != "" {
		t.Errorf("decoded %v, %v", got, err)
	}
}

func TestCodecRefusesWhatIsNoSession(t *testing.T) {
	good := fullSession().encode()
	newer := bytes.Clone(good)
	newer[0]++
	tests := map[string][]byte{
		"nothing": nil, "a newer version": newer, "no customer": {codecVersion}, "cut": good[:len(good)-1], "cut tag": good[:2],
		"number of another size": {codecVersion, tagGood, 0, 1, 1}, "too large": append(bytes.Clone(good), strings.Repeat("x", maxEncoded)...),
	}
	for name, b := range tests {
		if s, err := decodeSession(testRealm, b); !errors.Is(err, errCodec) {
			t.Errorf("%s: %v, %v, want errCodec", name, s, err)
		}
	}
}

func TestEveryFieldHasATagOfItsOwn(t *testing.T) {
	seen := map[byte]int{}
	for f, tag := range fieldTags {
		if other, taken := seen[tag]; tag < 32 || taken {
			t.Errorf("field %d has tag %d, as has field %d", f, tag, other)
		}
		seen[tag] = f
	}
}

// FuzzDecodeSession: what is read is written so that it is read again, has not
// grown, and is not changed by what a newer gateway adds.
func FuzzDecodeSession(f *testing.F) {
	f.Add(fullSession().encode())
	f.Add([]byte{codecVersion})
	f.Add([]byte{codecVersion, fieldTags[fieldAccountID], 0, 1, '7'})
	f.Add([]byte{codecVersion, fieldTags[fieldAccountID], 0, 1, '7', fieldTags[fieldAccountID], 0, 1, '8', tagRetries, 0, 8, 255, 255, 255, 255, 255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := decodeSession(testRealm, b)
		if err != nil {
			if s != nil || !errors.Is(err, errCodec) {
				t.Errorf("%q: decoded %v, %v", b, s, err)
			}
			return
		}
		if s.AccountID() == "" || len(s.text) > realmLen+len(b) || s.retries > maxRetries || s.stamp != 0 || s.stale {
			t.Errorf("%q: decoded %#v", b, *s)
		}
		again, err := decodeSession(testRealm, s.encode())
		if err != nil || *again != *s {
			t.Errorf("%q: decoded %#v, and again %#v, %v", b, s, again, err)
		}
		newer := append(bytes.Clone(b), 31, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8, 255, 0, 1, 'x')
		if got, err := decodeSession(testRealm, newer); len(newer) <= maxEncoded && (err != nil || *got != *s) {
			t.Errorf("%q: with what is newer decoded %#v, %v", b, got, err)
		}
	})
}
