package kiboauth

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/kiboauth/caddy-kibo-auth/internal/kibo"
	"github.com/kiboauth/caddy-kibo-auth/internal/redact"
)

// testLimits are limits with the defaults, as changed, on counters of their own.
func testLimits(t testing.TB, here *counts, common Counters, change ...func(*Limits)) *limits {
	t.Helper()
	var set Limits
	for _, c := range change {
		c(&set)
	}
	set.setDefaults()
	l, err := newLimits(set, testRealm, here, common)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// from is somebody who wants something of jane's account.
func from(client, device string) *visitor {
	return &visitor{key: []byte(testSecret), account: jane, client: client, device: device}
}

// guesses tries n times and tells how many were let through.
func (l *limits) guesses(t testing.TB, v *visitor, n int) (through int) {
	t.Helper()
	for range n {
		if _, err := l.guess(t.Context(), v, zap.NewNop()); err == nil {
			through++
		} else if !errors.Is(err, errOverLimit) {
			t.Fatal(err)
		}
	}
	return through
}

func (l *limits) mails(t testing.TB, v *visitor, n int, again bool) (through int) {
	t.Helper()
	for range n {
		if _, _, err := l.mail(t.Context(), v, again); err == nil {
			through++
		} else if !errors.Is(err, errOverLimit) {
			t.Fatal(err)
		}
	}
	return through
}

func TestLimitsPassWithTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := testLimits(t, newCounts(), nil)
		v := from("192.0.2.1", "")
		for i, step := range []struct {
			wait time.Duration
			want int
		}{{0, 5}, {3*time.Minute - time.Second, 0}, {time.Second, 1}, {6 * time.Minute, 2}, {time.Hour, 5}} {
			time.Sleep(step.wait)
			if got := l.guesses(t, v, 10); got != step.want {
				t.Errorf("step %d: %d guesses, want %d", i, got, step.want)
			}
		}
		_, err := l.guess(t.Context(), v, zap.NewNop())
		if a, wait := answerTo(err); a != limited || wait != 3*time.Minute {
			t.Errorf("answer %d, to wait %s; want 429 and 3m", a.status, wait)
		}
	})
}

// A counter that was given back while it lapsed leaves no credit.
func TestGivingBackLeavesNoCredit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := testLimits(t, newCounts(), nil)
		v := from("192.0.2.1", "")
		for _, later := range []time.Duration{0, time.Minute, time.Hour} {
			back, err := l.guess(t.Context(), v, zap.NewNop())
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(later)
			back.do(t.Context())
			if got := l.guesses(t, v, 10); got != 5 {
				t.Errorf("given back after %s: %d guesses, want 5", later, got)
			}
			time.Sleep(24 * time.Hour)
		}
	})
}

// Customers who sign in well slow nobody down.
func TestSuccessesDoNotFillTheTotal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := testLimits(t, newCounts(), nil, func(set *Limits) { set.Verify.Total = []string{"1/24h"} })
		start := time.Now()
		for range 10 {
			back, err := l.guess(t.Context(), from("192.0.2.1", ""), zap.NewNop())
			if err != nil {
				t.Fatal(err)
			}
			back.do(t.Context())
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("ten good sign-ins are slowed by %s", took)
		}
	})
}

func TestPauseBetweenCodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := testLimits(t, newCounts(), nil)
		v, other := from("192.0.2.1", ""), from("192.0.2.2", "")
		for i, step := range []struct {
			v    *visitor
			wait time.Duration
			want int
		}{{v, 0, 1}, {other, 0, 1}, {v, sendPause - time.Second, 0}, {v, time.Second, 1}, {v, sendPause, 1}, {v, sendPause, 0}} {
			time.Sleep(step.wait)
			if got := l.mails(t, step.v, 5, false); got != step.want {
				t.Errorf("step %d: %d mails, want %d", i, got, step.want)
			}
		}
		if got := l.mails(t, from("192.0.2.3", ""), 5, true); got != 3 {
			t.Errorf("%d mails of the second step, want 3: it has a pause of its own", got)
		}
	})
}

// A code that has opened a session opens no other, of that account and for a while.
func TestUsedCode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := testLimits(t, newCounts(), nil)
		v, elsewhere, other, code := from("192.0.2.1", ""), from("192.0.2.2", "device"), from("192.0.2.1", ""), redact.New("123456")
		other.account = john
		l.use(t.Context(), v, redact.New("654321"))
		if l.usedBefore(t.Context(), v, code) {
			t.Error("a code is used before it was")
		}
		l.use(t.Context(), v, code)
		time.Sleep(codeMemory - time.Second)
		if !l.usedBefore(t.Context(), v, code) || !l.usedBefore(t.Context(), elsewhere, code) {
			t.Error("a used code is forgotten")
		}
		if l.usedBefore(t.Context(), other, code) || l.usedBefore(t.Context(), v, redact.Text{}) {
			t.Error("a code counts as used for others, or none does")
		}
		time.Sleep(time.Second)
		if l.usedBefore(t.Context(), v, code) {
			t.Error("a used code is never forgotten")
		}
	})
}

// What Kibo did not send counts nowhere but in the pause.
func TestMailGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := testLimits(t, newCounts(), nil)
		for i := range 50 {
			back, _, err := l.mail(t.Context(), from("192.0.2.1", ""), false)
			if err != nil {
				t.Fatalf("mail %d: %v", i, err)
			}
			back.do(t.Context())
			if got := l.mails(t, from("192.0.2.1", ""), 1, false); got != 0 {
				t.Fatal("there is no pause")
			}
			time.Sleep(sendPause)
		}
	})
}

// In total nobody is locked out: each try waits, so many at a time, and that is
// logged once a minute.
func TestTooManyGuessesInTotal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zapcore.DebugLevel)
		log := zap.New(core)
		l := testLimits(t, newCounts(), nil, func(set *Limits) { set.Verify.Total = []string{"1/24h"} })
		guess := func(i int) error {
			v := from(fmt.Sprint("192.0.2.", i), "")
			v.account = fmt.Sprint(i, "@example.com")
			_, err := l.guess(t.Context(), v, log)
			return err
		}
		if err := guess(0); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		var crowded, slowed atomic.Int64
		for i := range slowPlaces + 10 {
			go func() {
				err := guess(i + 1)
				if took := time.Since(start); errors.Is(err, errCrowded) && took == 0 {
					crowded.Add(1)
				} else if err == nil && took == slowBy {
					slowed.Add(1)
				}
			}()
		}
		time.Sleep(slowBy)
		synctest.Wait()
		if crowded.Load() != 10 || slowed.Load() != slowPlaces || logs.Len() != 1 {
			t.Errorf("%d refused, %d slowed, %d lines in the log; want 10, %d, 1", crowded.Load(), slowed.Load(), logs.Len(), slowPlaces)
		}
		time.Sleep(time.Minute)
		if err := guess(1000); err != nil || logs.Len() != 2 {
			t.Errorf("a minute later: %v, and %d lines in the log, want 2", err, logs.Len())
		}
		known := from("192.0.2.1", "device")
		start = time.Now()
		if _, err := l.guess(t.Context(), known, log); err != nil || time.Since(start) != 0 {
			t.Errorf("strangers slow a known device by %s (%v)", time.Since(start), err)
		}
	})
}

func TestTooManyCodesInTotal(t *testing.T) {
	l := testLimits(t, newCounts(), nil, func(set *Limits) { set.Send.Total = []string{"2/1h"} })
	for i := range 3 {
		v := from(fmt.Sprint("192.0.2.", i), "")
		v.account = fmt.Sprint(i)
		_, _, err := l.mail(t.Context(), v, false)
		if over, ok := errors.AsType[*overLimit](err); (err != nil) != (i == 2) || ok && over.scope != scopeTotal {
			t.Errorf("mail %d: %v", i, err)
		}
	}
	if _, _, err := l.mail(t.Context(), from("192.0.2.1", "device"), false); err != nil {
		t.Errorf("strangers keep a known device from its code: %v", err)
	}
}

// A reload that changes a number keeps what was counted.
func TestLimitsResetByAnotherNumber(t *testing.T) {
	here := newCounts()
	v := from("192.0.2.1", "")
	testLimits(t, here, nil).guesses(t, v, 5)
	for _, text := range []string{"5/15m", "4/15m", "3/15m"} {
		l := testLimits(t, here, nil, func(set *Limits) { set.Verify.Account = []string{text} })
		if got := l.guesses(t, v, 10); got != 0 {
			t.Errorf("%s: %d more guesses, want 0", text, got)
		}
	}
}

func TestNetwork(t *testing.T) {
	for ip, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1", "2001:db8:1:2::1": "2001:db8:1:2::/64", "2001:DB8:1:2:ffff::": "2001:db8:1:2::/64",
		"fe80::1%eth0": "fe80::/64", "::1": "::/64", "": "", "unix": "", "192.0.2.1:80": "",
	} {
		if got := network(ip); got != want {
			t.Errorf("network(%q) = %q, want %q", ip, got, want)
		}
	}
}

func TestCrowd(t *testing.T) {
	for _, tt := range []struct {
		name, client, peer string
		forwarded          bool
		want               int
	}{
		{"a proxy that is not trusted", "10.0.0.1", "10.0.0.1", true, 1},
		{"on this machine", "127.0.0.1", "127.0.0.1", true, 1},
		{"IPv6", "fd00::1", "fd00::1", true, 1},
		{"a trusted one", "192.0.2.1", "10.0.0.1", true, 0},
		{"no proxy", "10.0.0.1", "10.0.0.1", false, 0},
		{"a public address", "192.0.2.1", "192.0.2.1", true, 0},
		{"none", "", "", true, 0},
	} {
		var c crowd
		told := 0
		for i := range 3 * crowdFrom {
			if c.sees(tt.client, tt.peer, tt.forwarded) {
				if told++; i+1 != crowdFrom {
					t.Errorf("%s: told after %d posts, want %d", tt.name, i+1, crowdFrom)
				}
			}
		}
		if told != tt.want {
			t.Errorf("%s: told %d times, want %d", tt.name, told, tt.want)
		}
	}
	var c crowd
	for i := range 3 * crowdFrom {
		if ip := fmt.Sprint("10.0.0.", i%2); c.sees(ip, ip, true) {
			t.Error("two addresses are taken for one")
		}
	}
}

// The one that was not used for the longest time makes room.
func TestShelf(t *testing.T) {
	s, ctx := newShelf(3), t.Context()
	for _, key := range []string{"a", "b", "c"} {
		if set, _ := s.SetIfNotExistsWithTTL(ctx, key, 1, 0); !set {
			t.Errorf("%s is not set", key)
		}
	}
	if set, _ := s.SetIfNotExistsWithTTL(ctx, "a", 2, 0); set {
		t.Error("a is set twice")
	}
	if swapped, _ := s.CompareAndSwapWithTTL(ctx, "b", 2, 3, 0); swapped {
		t.Error("b was swapped though it is another")
	}
	if swapped, _ := s.CompareAndSwapWithTTL(ctx, "a", 1, 3, 0); !swapped {
		t.Error("a was not swapped")
	}
	s.SetIfNotExistsWithTTL(ctx, "d", 4, 0)
	if swapped, _ := s.CompareAndSwapWithTTL(ctx, "c", 1, 3, 0); swapped {
		t.Error("what was pushed out was swapped")
	}
	var got []int64
	for _, key := range []string{"a", "b", "c", "d"} {
		v, _, _ := s.GetWithTime(ctx, key)
		got = append(got, v)
	}
	if want := []int64{3, 1, -1, 4}; !slices.Equal(got, want) || s.order.Len() != 3 {
		t.Errorf("values %v, %d of them, want %v", got, s.order.Len(), want)
	}
}

func TestFailedGuess(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{kibo.ErrRejected, true},
		{fmt.Errorf("asking: %w", kibo.ErrRejected), true},
		{kibo.ErrUnavailable, false},
		{kibo.ErrLimited, false},
		{&secondFactor{userID: "1"}, false},
		{errStore, false},
		{errBadTicket, false},
	} {
		if got := failedGuess(tt.err); got != tt.want {
			t.Errorf("failedGuess(%v) = %v, want %v", tt.err, got, tt.want)
		}
	}
}

func TestParseRate(t *testing.T) {
	for text, want := range map[string]rate{
		"3/15m": {3, 15 * time.Minute}, "10/24h": {10, 24 * time.Hour}, "1/1s": {1, time.Second}, "1000000/30d": {1_000_000, 720 * time.Hour},
	} {
		if got, err := parseRate(text); err != nil || got != want {
			t.Errorf("parseRate(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "3", "/15m", "3/", "0/15m", "-1/15m", "3/0s", "3/-1m", "3/15", "3/10ms", "3/31d", "1000001/1m", "3/1m/1m", "three/1m", " 3/1m", "9223372036854775808/1m"} {
		if got, err := parseRate(text); err == nil {
			t.Errorf("parseRate(%q) = %v, want an error", text, got)
		}
	}
}

// What cannot be a limit is told at start, also in JSON.
func TestBadLimits(t *testing.T) {
	for _, tt := range []struct {
		set  Limits
		want string
	}{
		{Limits{Send: LimitRates{Account: []string{"0/15m"}}}, "limit send account: "},
		{Limits{Verify: LimitRates{Total: []string{"1/1m", "2/1m"}}}, "limit verify total: "},
		{Limits{Off: true, Verify: LimitRates{Client: []string{"1/1m"}}}, "limit verify client: stands beside limit off"},
		{Limits{Nodes: -1}, "limit nodes: is negative"},
		{Limits{Floor: caddy.Duration(time.Minute)}, "limit floor: 1m0s is longer than 10s"},
	} {
		h := Handler{Limits: tt.set}
		if p := h.checkLimits(); p == nil || !strings.HasPrefix(p.Error(), tt.want) {
			t.Errorf("%+v: %v, want %q", tt.set, p, tt.want)
		}
	}
}
