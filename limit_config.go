package kiboauth

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// Limits bound how often codes are sent and tried. Each is written
// <number>/<duration>: so many at once, and then one more each time that the
// number-th part of the duration has passed. All of several hold.
type Limits struct {
	// Off lifts all limits, for those who have such limits elsewhere: without
	// any, a stranger can have Kibo mail without end, and guess codes as often
	// as Kibo lets them. Default: false.
	Off bool `json:"off,omitempty"`
	// Send bounds the requests that make Kibo mail a code. Default: 3/15m and
	// 10/24h an account, 30/1h a client, 300/1m in total.
	Send LimitRates `json:"send,omitzero"`
	// Verify bounds the codes and passwords that Kibo refuses. Default: 5/15m
	// and 50/24h an account, 20/15m a client, 300/1m in total.
	Verify LimitRates `json:"verify,omitzero"`
	// Nodes is how many gateways share the limits: while the store that keeps
	// the common counters does not answer, each allows its part. Default: 2
	// with a store that counts for several gateways, else 1.
	Nodes int `json:"nodes,omitempty"`
	// Floor is the shortest time that a refused sign-in takes, so that time
	// does not tell an unknown address from a wrong code; at most 10s.
	// Negative: none. Default: 600ms.
	Floor caddy.Duration `json:"floor,omitempty"`
}

// LimitRates are the limits of one action.
type LimitRates struct {
	// Account is for one account: less than an hour for each client by itself,
	// an hour or more for all strangers together. A browser that has signed in
	// to the account before has all of it to itself.
	Account []string `json:"account,omitempty"`
	// Client is for one IP address, or for one IPv6 network of 64 bits.
	Client []string `json:"client,omitempty"`
	// Total is for all sign-ins of the Kibo site.
	Total []string `json:"total,omitempty"`
}

const (
	defaultFloor = caddy.Duration(600 * time.Millisecond)
	maxFloor     = caddy.Duration(10 * time.Second)
)

func (l *Limits) setDefaults() {
	if l.Floor == 0 {
		l.Floor = defaultFloor
	}
	if l.Off {
		return
	}
	orList(&l.Send.Account, "3/15m", "10/24h")
	orList(&l.Send.Client, "30/1h")
	orList(&l.Send.Total, "300/1m")
	orList(&l.Verify.Account, "5/15m", "50/24h")
	orList(&l.Verify.Client, "20/15m")
	orList(&l.Verify.Total, "300/1m")
}

// A rate is so many within a time.
type rate struct {
	count int
	per   time.Duration
}

// Bounds of a rate, within which its arithmetic is exact enough.
const (
	maxCount  = 1_000_000
	minPeriod = time.Second
	maxPeriod = 30 * 24 * time.Hour
)

func parseRate(text string) (r rate, err error) {
	count, per, ok := strings.Cut(text, "/")
	if !ok {
		return r, fmt.Errorf("%q is not a number and a duration", text)
	}
	if r.count, err = strconv.Atoi(count); err != nil || r.count <= 0 || r.count > maxCount {
		return r, fmt.Errorf("%q has no number from 1 to %d before the slash", text, maxCount)
	}
	if r.per, err = caddy.ParseDuration(per); err != nil || r.per < minPeriod || r.per > maxPeriod {
		return r, fmt.Errorf("%q has no duration from 1s to 30d behind the slash", text)
	}
	return r, nil
}

// parseRates reads the rates of one line, no two of which have the same duration.
func parseRates(texts []string) (rates []rate, err error) {
	for _, text := range texts {
		r, err := parseRate(text)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(rates, func(other rate) bool { return other.per == r.per }) {
			return nil, fmt.Errorf("%q is not the only one with that duration", text)
		}
		rates = append(rates, r)
	}
	return rates, nil
}

const writeRate = "write how often within which time: 3/15m"

func (h *Handler) checkLimits() *problem {
	l := &h.Limits
	for _, set := range []struct {
		line  string
		texts []string
	}{
		{"limit.send.account", l.Send.Account},
		{"limit.send.client", l.Send.Client},
		{"limit.send.total", l.Send.Total},
		{"limit.verify.account", l.Verify.Account},
		{"limit.verify.client", l.Verify.Client},
		{"limit.verify.total", l.Verify.Total},
	} {
		_, err := parseRates(set.texts)
		switch {
		case err != nil:
			return &problem{set.line, err.Error(), writeRate}
		case l.Off && len(set.texts) > 0:
			return &problem{set.line, "stands beside limit off, which lifts all limits", "keep one of the two lines"}
		}
	}
	switch {
	case l.Nodes < 0:
		return &problem{"limit.nodes", "is negative", "give the number of gateways that share the store"}
	case l.Floor > maxFloor:
		return &problem{"limit.floor", fmt.Sprintf("%s is longer than %s", time.Duration(l.Floor), time.Duration(maxFloor)), "600ms hides what Kibo's answers take"}
	}
	return nil
}

// parse reads one line. Each kind of line may stand once.
func (l *Limits) parse(d *caddyfile.Dispenser, at places) error {
	at.note("limit", d)
	what, err := word(d, "limit", "floor", "nodes", "off", "send", "verify")
	if err != nil {
		return err
	}
	switch what {
	case "send":
		return l.Send.parse(d, at, "limit send")
	case "verify":
		return l.Verify.parse(d, at, "limit verify")
	}
	if err := once(d, at, "limit "+what); err != nil {
		return err
	}
	switch what {
	case "floor":
		return l.parseFloor(d)
	case "nodes":
		return intArg(d, &l.Nodes)
	}
	return flag(d, &l.Off)
}

func (l *LimitRates) parse(d *caddyfile.Dispenser, at places, line string) error {
	rates := map[string]*[]string{"account": &l.Account, "client": &l.Client, "total": &l.Total}
	whose, err := word(d, line, slices.Sorted(maps.Keys(rates))...)
	if err != nil {
		return err
	}
	if err := once(d, at, line+" "+whose); err != nil {
		return err
	}
	return list(d, rates[whose])
}

// parseFloor keeps 0s apart from not given.
func (l *Limits) parseFloor(d *caddyfile.Dispenser) error {
	var text string
	if err := args(d, &text); err != nil {
		return err
	}
	t, err := caddy.ParseDuration(text)
	if err != nil || t < 0 {
		return d.Errf("floor: %q is not a duration, such as 600ms, or 0s for none", text)
	}
	if l.Floor = caddy.Duration(t); t == 0 {
		l.Floor = -1
	}
	return nil
}

// word reads one of the words that may follow.
func word(d *caddyfile.Dispenser, line string, known ...string) (string, error) {
	if !d.NextArg() {
		return "", d.Errf("%s lacks the word that says what is limited: %s", line, strings.Join(known, ", "))
	}
	if !slices.Contains(known, d.Val()) {
		return "", d.Errf("%s: unknown word %q%s; the words here are: %s", line, d.Val(), didYouMean(d.Val(), known), strings.Join(known, ", "))
	}
	return d.Val(), nil
}

// once refuses a line that has been there before, and notes where it stands.
func once(d *caddyfile.Dispenser, at places, line string) error {
	name := strings.ReplaceAll(line, " ", ".")
	if first, twice := at[name]; twice {
		return d.Errf("%s stands here twice, first at %s; keep one", line, first)
	}
	at.note(name, d)
	return nil
}
