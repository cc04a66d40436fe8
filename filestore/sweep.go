package filestore

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	kiboauth "github.com/kiboauth/caddy-kibo-auth"
)

const (
	// sweepEvery is how often ended sessions are looked for, and whether the
	// file is still the one of its name.
	sweepEvery = 5 * time.Second
	// sweepSoon is when to go on if one step did not do. So 5,000 sessions can
	// end in a second, and others still write in between.
	sweepSoon = 100 * time.Millisecond
	// sweepStep is how many sessions one step looks at.
	sweepStep = 500
)

// sweep takes out ended sessions for as long as the file is open.
func (h *handle) sweep() {
	timer := time.NewTimer(sweepEvery)
	defer timer.Stop()
	failing := false
	for {
		select {
		case <-h.quit:
			return
		case <-timer.C:
		}
		if h.replaced() {
			h.file.drop(h, nil)
			return
		}
		more, err := h.sweepOnce()
		if err != nil && !failing { // once, and not every five seconds
			caddy.Log().Named("http.kibo_auth.stores.file").Warn("sweeping ended sessions", zap.Error(h.file.wrap(err)))
		}
		failing = err != nil
		if more {
			timer.Reset(sweepSoon)
		} else {
			timer.Reset(sweepEvery)
		}
	}
}

func (h *handle) sweepOnce() (more bool, err error) {
	err = h.update(&job{ctx: context.Background(), change: func(t *tables) error {
		more = t.sweep(now()) == sweepStep
		return nil
	}})
	if errors.Is(err, errClosed) {
		return false, nil
	}
	return more, err
}

// replaced says whether the name of the file leads elsewhere by now: what is
// written to a file without a name is lost.
func (h *handle) replaced() bool {
	info, err := os.Stat(h.file.path)
	return os.IsNotExist(err) || err == nil && !os.SameFile(info, h.info)
}

// sweep looks at sessions that are due and says at how many. Those that have
// been used since they were filed are filed anew, the others end.
func (t *tables) sweep(now int64) int {
	due := t.due(now)
	for i := range due {
		at, key := int64(binary.BigEndian.Uint64(due[i][:8])), kiboauth.Key(due[i][8:])
		t.keep(t.expiry.Delete(due[i][:]))
		t.moved = true
		s, err := t.load(&key)
		switch {
		case errors.Is(err, kiboauth.ErrNoSession), err == nil && s.Expires() <= now:
			t.remove(key)
		case err != nil: // of a format that nobody reads: nobody finds it, either
		case s.filed == at: // not one that another entry leads to
			s.filed = s.Expires()
			t.keep(t.expiry.Put(expiryKey(s.filed, &key), nil))
			t.keep(t.sessions.Put(key[:], encode(&key, s))) // nobody else can tell the difference
		}
	}
	return len(due)
}

// due returns the first entries of the table of expiries whose time has come.
func (t *tables) due(now int64) [][8 + len(kiboauth.Key{})]byte {
	var due [][8 + len(kiboauth.Key{})]byte
	entries := t.expiry.Cursor()
	for name, _ := entries.First(); name != nil && len(due) < sweepStep; name, _ = entries.Next() {
		if int64(binary.BigEndian.Uint64(name)) > now {
			break
		}
		due = append(due, [8 + len(kiboauth.Key{})]byte(name))
	}
	return due
}
