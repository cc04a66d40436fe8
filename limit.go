package kiboauth

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/kiboauth/caddy-kibo-auth/internal/kibo"
	"github.com/kiboauth/caddy-kibo-auth/internal/redact"
)

const (
	// sendPause is how long the next code for an account is not sent to the
	// same client.
	sendPause = 30 * time.Second
	// codeMemory is how long a code that has opened a session opens no other.
	// Kibo's codes live for three minutes.
	codeMemory = 10 * time.Minute
	// ceilingFrom is the duration from which an account's limit counts all
	// strangers together. Shorter ones count each client by itself, so that
	// nobody can lock a customer out for a while from somewhere else.
	ceilingFrom = time.Hour
	// slowBy is how long a try waits when there are too many in total, and
	// slowPlaces how many may wait at once: as many as the client for Kibo
	// calls at a time.
	slowBy     = time.Second
	slowPlaces = 256
)

// limits count what one handler lets through. nil: everything.
type limits struct {
	maker
	send, verify *budget
	pause        *counter // between two codes
	used         *counter // codes that have opened a session
	realm        string
}

// budget are the counters of one action.
type budget struct{ account, client, total []*counter }

// newLimits makes the limits of a configuration, on counters that outlive it;
// common are those of a store, nil if it has none.
func newLimits(set Limits, realm string, here *counts, common Counters) (*limits, error) {
	if set.Off {
		return nil, nil
	}
	l := &limits{maker: newMaker(set, here, common), realm: realm}
	var errs [4]error
	l.send, errs[0] = l.budget("send", set.Send)
	l.verify, errs[1] = l.budget("verify", set.Verify)
	l.pause, errs[2] = l.counter("send pause", rate{1, sendPause})
	l.used, errs[3] = l.counter("used code", rate{1, codeMemory})
	return l, errors.Join(errs[:]...)
}

// maker makes counters, of the limits and of what goes with them.
type maker struct {
	here   *counts
	common *commonCounts
	parts  int // into which the limits are divided while common does not answer
}

func newMaker(set Limits, here *counts, common Counters) maker {
	if common == nil {
		return maker{here: here, parts: cmp.Or(set.Nodes, 1)}
	}
	return maker{here, &commonCounts{Counters: common}, cmp.Or(set.Nodes, 2)}
}

func (m maker) budget(name string, set LimitRates) (*budget, error) {
	b := new(budget)
	for _, line := range []struct {
		name     string
		texts    []string
		counters *[]*counter
	}{{"account", set.Account, &b.account}, {"client", set.Client, &b.client}, {"total", set.Total, &b.total}} {
		rates, err := parseRates(line.texts)
		if err != nil {
			return nil, err
		}
		for _, r := range rates {
			c, err := m.counter(name+" "+line.name, r)
			if err != nil {
				return nil, err
			}
			*line.counters = append(*line.counters, c)
		}
	}
	return b, nil
}

// visitor is who wants something of an account: another client, or a device
// that has signed in to it before.
type visitor struct {
	key     []byte // of all names, so that they tell nothing
	account string // its address, normalised
	client  string // its network
	device  string // ""; or one that is proven to be the account's
}

// hash names the account in logs.
func (v *visitor) hash() string {
	return hex.EncodeToString(keyedHash(v.key, "account in logs", v.account)[:8])
}

// keyedHash is an HMAC-SHA-256 of strings that hold no NUL.
func keyedHash(key []byte, parts ...string) []byte {
	sum := hmac.New(sha256.New, key)
	io.WriteString(sum, strings.Join(parts, "\x00"))
	return sum.Sum(nil)
}

// network is what counts as one client: an IPv4 address, however it is
// written, or the 64 bits of an IPv6 address that a customer has to themselves
// (RFC 6177). What is no address is one client, too.
func network(ip string) string {
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return ""
	}
	if addr = addr.Unmap().WithZone(""); addr.Is4() {
		return addr.String()
	}
	prefix, _ := addr.Prefix(64) // 64 is no error for IPv6
	return prefix.String()
}

// Whose limit one is.
const (
	scopeAccount = "account"
	scopeClient  = "client"
	scopeTotal   = "total"
)

// spot is where something is counted.
type spot struct {
	*counter
	shelf   shelfOf
	scope   string // for logs
	subject []string
}

func (b *budget) clientSpots(v *visitor) (all []spot) {
	if v.device != "" {
		return nil // which strangers of the same network could fill
	}
	for _, c := range b.client {
		all = append(all, spot{c, clients, scopeClient, []string{v.client}})
	}
	return all
}

func (b *budget) totalSpots(v *visitor) (all []spot) {
	who := "strangers"
	if v.device != "" {
		who = "devices"
	}
	for _, c := range b.total {
		all = append(all, spot{c, totals, scopeTotal, []string{who}})
	}
	return all
}

func (b *budget) accountSpots(v *visitor) (all []spot) {
	for _, c := range b.account {
		all = append(all, accountSpot(c, v, c.rate.per < ceilingFrom))
	}
	return all
}

// accountSpot is where an account is counted: for its own devices apart, else
// for each client or for all strangers.
func accountSpot(c *counter, v *visitor, byClient bool) spot {
	switch {
	case v.device != "":
		return spot{c, devices, scopeAccount, []string{v.account, "device", v.device}}
	case byClient:
		return spot{c, accounts, scopeAccount, []string{v.account, "client", v.client}}
	}
	return spot{c, accounts, scopeAccount, []string{v.account}}
}

// undo takes back what was counted.
type undo []func(context.Context)

func (u undo) do(ctx context.Context) {
	for _, back := range u {
		back(ctx)
	}
}

// take counts at all spots, or at none. The clients come first, then the
// total, then the accounts: a flood of made-up addresses makes no more counters
// than the limits before let through, and pushes none out.
func (l *limits) take(ctx context.Context, v *visitor, spots []spot) (taken undo, err error) {
	for _, p := range spots {
		wait, back := p.take(ctx, p.shelf, l.key(v, p))
		if wait > 0 {
			taken.do(ctx)
			metricLimits.WithLabelValues(p.name).Inc()
			return nil, &overLimit{p.scope, wait}
		}
		taken = append(taken, back)
	}
	return taken, nil
}

// key names a spot in a way that tells nothing of it.
func (l *limits) key(v *visitor, p spot) string {
	sum := keyedHash(v.key, append([]string{"counter", l.realm, p.name}, p.subject...)...)
	return base64.RawURLEncoding.EncodeToString(sum[:18])
}

// mail asks whether a code may be mailed. again is for one that is asked for
// again, which has a pause of its own. If Kibo does not mail it, back takes that
// back, but for the pause; pause is for what was not even asked to. An overLimit
// says that it may not.
func (l *limits) mail(ctx context.Context, v *visitor, again bool) (back, pause undo, err error) {
	if l == nil {
		return nil, nil, nil
	}
	back, err = l.take(ctx, v, slices.Concat(l.send.clientSpots(v), l.send.totalSpots(v), l.send.accountSpots(v)))
	if err != nil || again {
		return back, nil, err
	}
	if pause, err = l.take(ctx, v, []spot{accountSpot(l.pause, v, true)}); err != nil {
		back.do(ctx)
	}
	return back, pause, err
}

// guess asks whether a code or a password may be tried, and waits while there
// are too many tries in total. It is counted at once, so that tries at the same
// time count too; back takes that back. An overLimit says that it may not.
func (l *limits) guess(ctx context.Context, v *visitor, log *zap.Logger) (back undo, err error) {
	if l == nil {
		return nil, nil
	}
	if back, err = l.take(ctx, v, l.verify.clientSpots(v)); err != nil {
		return nil, err
	}
	total, err := l.take(ctx, v, l.verify.totalSpots(v))
	if err == nil {
		back = append(back, total...)
	} else if err = l.here.slow.wait(ctx, log); err != nil {
		back.do(ctx)
		return nil, err
	}
	account, err := l.take(ctx, v, l.verify.accountSpots(v))
	if err != nil {
		back.do(ctx)
		return nil, err
	}
	return append(back, account...), nil
}

// usedBefore tells whether a code has opened a session of the account; Kibo's
// word is not all that there is against a replay. No code has not.
func (l *limits) usedBefore(ctx context.Context, v *visitor, code redact.Text) bool {
	return l != nil && !code.IsZero() && l.used.full(ctx, codes, l.key(v, l.codeSpot(v, code)))
}

// use notes that a code has opened a session.
func (l *limits) use(ctx context.Context, v *visitor, code redact.Text) {
	if l != nil && !code.IsZero() {
		_, _ = l.take(ctx, v, []spot{l.codeSpot(v, code)})
	}
}

func (l *limits) codeSpot(v *visitor, code redact.Text) spot {
	return spot{l.used, codes, scopeAccount, []string{v.account, code.Reveal()}}
}

// failedGuess tells whether an outcome is a failed guess. Whatever is the matter
// with Kibo, or with us, is none.
func failedGuess(err error) bool { return errors.Is(err, kibo.ErrRejected) }

// slowLane is where tries wait when there are too many.
type slowLane struct {
	waiting atomic.Int64
	warning onceAMinute
}

func (s *slowLane) wait(ctx context.Context, log *zap.Logger) error {
	if s.warning.due() {
		log.Warn("too many codes and passwords are refused; each try is slowed down", zap.Duration("by", slowBy))
	}
	defer s.waiting.Add(-1)
	if s.waiting.Add(1) > slowPlaces {
		return errCrowded
	}
	select {
	case <-time.After(slowBy):
		return nil
	case <-ctx.Done():
		return errCrowded
	}
}

// onceAMinute is for what strangers could have logged without end.
type onceAMinute struct{ last atomic.Int64 } // Unix seconds

// due tells whether the last time that it said so is a minute ago.
func (o *onceAMinute) due() bool {
	now := time.Now().Unix()
	last := o.last.Load()
	return now-last >= 60 && o.last.CompareAndSwap(last, now)
}
