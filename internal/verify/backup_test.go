package verify

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"testing"
	"time"
)

// shelf is a Backup in memory.
type shelf struct {
	mu   sync.Mutex
	text []byte
	down bool
}

func (s *shelf) Load(context.Context) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down || s.text == nil {
		return nil, errors.New("nothing here")
	}
	return s.text, nil
}

func (s *shelf) Store(_ context.Context, text []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return errors.New("disk full")
	}
	s.text = text
	return nil
}

func outage(w http.ResponseWriter, _ *http.Request) { http.Error(w, "down", http.StatusBadGateway) }

func TestRestartDuringKeysetOutage(t *testing.T) {
	e := newEndpoint(t, setOf(entry(&rsaKey().PublicKey, "r", nil)))
	s := new(shelf)
	token := good("RS256", rsaKey(), "r")
	first := newVerifier(t, Config{JWKSURL: e.URL, Backup: s})
	if _, err := first.Verify(t.Context(), token, now); err != nil {
		t.Fatalf("with the endpoint up: %v", err)
	}
	first.Close() // and with it the backup is complete
	e.handle(outage)
	restarted := newVerifier(t, Config{JWKSURL: e.URL, Backup: s})
	if _, err := restarted.Verify(t.Context(), token, now); err != nil {
		t.Errorf("after a restart during an outage: %v", err)
	}
	if first.Stamp() != restarted.Stamp() {
		t.Error("the same keys have another stamp after a restart")
	}
	if _, err := restarted.Verify(t.Context(), good("RS256", rsaKey2(), "unknown"), now); !errors.Is(err, ErrKeysUnavailable) {
		t.Errorf("unknown key during an outage: %v, want ErrKeysUnavailable", err)
	}
	refuse(t, restarted, good("RS256", rsaKey2(), "r"))
}

func TestBackupThatCannotBeUsed(t *testing.T) {
	set := json.RawMessage(setOf(entry(&rsaKey().PublicKey, "r", nil)))
	kept := func(at time.Time, set json.RawMessage) []byte { return must(json.Marshal(backedUp{at, set})) }
	tests := map[string]*shelf{
		"none":            {},
		"unreadable":      {text: kept(time.Now(), set), down: true},
		"garbage":         {text: []byte("{")},
		"older than kept": {text: kept(time.Now().Add(-keepFor-time.Minute), set)},
		"from the future": {text: kept(time.Now().Add(time.Hour), set)},
		"without keys":    {text: kept(time.Now(), json.RawMessage(`{"keys":[]}`))},
	}
	for name, s := range tests {
		t.Run(name, func(t *testing.T) {
			e := newEndpoint(t, "")
			e.handle(outage)
			v := newVerifier(t, Config{JWKSURL: e.URL, Backup: s})
			if _, err := v.Verify(t.Context(), good("RS256", rsaKey(), "r"), now); !errors.Is(err, ErrKeysUnavailable) {
				t.Errorf("Verify: %v, want ErrKeysUnavailable", err)
			}
		})
	}
}

func TestFullDiskKeepsNobodyOut(t *testing.T) {
	e := newEndpoint(t, setOf(entry(&rsaKey().PublicKey, "r", nil)))
	heard := make(chan error, 1)
	v := newVerifier(t, Config{JWKSURL: e.URL, Backup: &shelf{down: true}, OnError: func(err error) { heard <- err }})
	if _, err := v.Verify(t.Context(), good("RS256", rsaKey(), "r"), now); err != nil {
		t.Errorf("Verify: %v", err)
	}
	if err := <-heard; err == nil {
		t.Error("the operator hears nothing of it")
	}
}
