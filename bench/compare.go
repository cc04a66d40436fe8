package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// sliceTime is how long one contender is asked before the other has its turn:
// short against the jumps in speed of a machine that others use too.
const sliceTime = 50 * time.Millisecond

// leadTime goes before each slice and does not count. Without it the contender,
// whose two slices follow each other, would come to warm caches once, and the
// base never.
const leadTime = 15 * time.Millisecond

// bench is the gateways of a suite under load and the ways of asking them.
type bench struct {
	suite
	others   float64 // share of a core that others may take
	gateways []*gateway
	targets  map[string]*target
	redis    *redis // nil: no contender has its sessions there
}

// newBench starts the gateways and signs everybody in. The caller must stop the
// bench, also when there is an error.
func newBench(ctx context.Context, o options, s setting, p *peers) (b *bench, err error) {
	b = &bench{suite: o.suite(), others: o.others, targets: map[string]*target{}}
	if o.stores {
		if b.redis, err = startRedis(ctx); err != nil {
			return b, err
		}
	}
	for _, c := range b.contenders {
		g, err := startGateway(ctx, o, c, append(c.env(b.redis), s.env...), p)
		b.gateways = append(b.gateways, g)
		if err != nil {
			return b, err
		}
		cookies, err := signInAll(ctx, g, p, o.customers)
		if err != nil {
			return b, err
		}
		b.targets[c.name] = &target{name: c.name, gateway: g, requests: requests(pageRequest, cookies), want: c.want}
	}
	if !o.stores {
		b.addStrangers(o.customers)
	}
	for _, t := range b.targets {
		if err := t.open(o.browsers); err != nil {
			return b, err
		}
	}
	return b, b.check(p)
}

// addStrangers adds those who ask with sessions that there are not.
func (b *bench) addStrangers(n int) {
	g, strangers := b.targets[kiboAuth].gateway, unknown(n)
	b.targets[unknownScript] = &target{name: unknownScript, gateway: g, requests: requests(asScript.Replace(pageRequest), strangers), want: http.StatusUnauthorized}
	b.targets[unknownPage] = &target{name: unknownPage, gateway: g, requests: requests(pageRequest, strangers), want: http.StatusSeeOther}
}

// unknown makes cookies that look like sessions and are none.
func unknown(n int) []string {
	cookies := make([]string, n)
	for i := range cookies {
		var id [32]byte
		rand.Read(id[:])
		cookies[i] = "kibo=" + base64.RawURLEncoding.EncodeToString(id[:])
	}
	return cookies
}

func (b *bench) stop() {
	for _, t := range b.targets {
		t.close()
	}
	for _, g := range b.gateways {
		g.stop()
	}
	if b.redis != nil {
		b.redis.stop()
	}
}

// check makes sure that every contender does what it is measured for: the shop
// must learn of each customer who it is, and must not see the cookie.
func (b *bench) check(p *peers) error {
	for _, c := range b.contenders {
		if c.snippet == "refuse" {
			continue // the shop hears of nobody
		}
		t := b.targets[c.name]
		for i, request := range t.requests {
			if err := t.browsers[0].ask(request, t.want); err != nil {
				return fmt.Errorf("asking %s: %w", c.name, err)
			}
			if err := c.told(*p.seen.Load(), i); err != nil {
				return err
			}
		}
	}
	return nil
}

// told checks what a contender told the shop of customer i.
func (c contender) told(header http.Header, i int) error {
	account := map[string]string{"fixed": strconv.Itoa(firstAccount), "kibo": strconv.Itoa(firstAccount + i)}[c.snippet]
	if got := header.Get("Kibo-Account-Id"); got != account {
		return fmt.Errorf("%s told the shop of account %q, want %q", c.name, got, account)
	}
	if got, want := header["Cookie"] != nil, account == ""; got != want {
		return fmt.Errorf("%s passed a cookie on: %v, want %v", c.name, got, want)
	}
	return nil
}

// round is the quads that one start of the gateways gave, by comparison.
type round [][]quad

// compare takes the comparisons in turns, a quad at a time, so that whatever
// slows the machine for a while slows all of them. It ends when each has its
// quads, or the time is over.
func (b *bench) compare(ctx context.Context, quads int, limit time.Duration) (round, error) {
	deadline := time.Now().Add(limit)
	if err := b.warmUp(min(warmUpTime, limit/30)); err != nil {
		return nil, err
	}
	taken := make(round, len(b.comparisons))
	for least := 0; least < quads && quietMoment(ctx, b.others, deadline); {
		for i, c := range b.comparisons {
			if len(taken[i]) > least || !time.Now().Before(deadline) {
				continue
			}
			q, err := takeQuad(b.targets[c.base], b.targets[c.contender])
			if err != nil {
				return nil, err
			}
			if q.others() > b.others {
				break
			}
			taken[i] = append(taken[i], q)
		}
		least = len(slices.MinFunc(taken, func(a, b []quad) int { return len(a) - len(b) }))
	}
	return taken, ctx.Err()
}

// warmUpTime is enough for a heap to grow to 400 MiB once. Memory is dear when
// it is touched for the first time.
const warmUpTime = 4 * time.Second

func (b *bench) warmUp(d time.Duration) error {
	for _, c := range b.contenders {
		if _, err := b.targets[c.name].slice(d); err != nil {
			return err
		}
	}
	return nil
}

const (
	// defaultOthers is how much of a core everything else may take during a
	// quad: more of it tells of the neighbours, and not of the gateways.
	defaultOthers = 0.05
	// lookTime is how long to look for neighbours.
	lookTime = 100 * time.Millisecond
)

// quietMoment waits until others leave the machine alone. It returns false if
// the time is over before that.
func quietMoment(ctx context.Context, others float64, deadline time.Time) bool {
	most := max(2*tick, time.Duration(others*float64(lookTime)))
	for ctx.Err() == nil && time.Now().Before(deadline) {
		before, err := machineTime()
		time.Sleep(lookTime)
		after, again := machineTime()
		if err != nil || again != nil || after-before <= most {
			return err == nil && again == nil
		}
	}
	return false
}

// quad is four slices, two of each side.
type quad struct{ base, contender sample }

// others is how much of a core everything else on the machine took.
func (q quad) others() float64 {
	both := q.base.add(q.contender)
	return both.others.Seconds() / both.wall.Seconds()
}

// takeQuad measures base, contender, contender, base: a steady drift in the
// speed of the machine then takes as much from the one as from the other.
func takeQuad(base, contender *target) (q quad, err error) {
	for _, side := range []struct {
		*target
		sum *sample
	}{{base, &q.base}, {contender, &q.contender}, {contender, &q.contender}, {base, &q.base}} {
		if _, err := side.load(leadTime); err != nil {
			return q, err
		}
		s, err := side.slice(sliceTime)
		if err != nil {
			return q, err
		}
		*side.sum = side.sum.add(s)
	}
	return q, nil
}

// result is what came out of a comparison.
type result struct {
	comparison
	throughput, cpu figure  // contender ÷ base
	baseRate        float64 // requests a second of the base
	baseCost        float64 // its CPU time per request, in microseconds
	busy            float64 // share of its core that the contender had
	rounds, quads   int
}

// evaluate takes the median of each round. Two processes of one program differ
// by a few per cent for as long as they live, by where things came to lie in
// memory; so it is rounds that the interval is drawn from, not quads.
func (c comparison) evaluate(rounds [][]quad) result {
	r := result{comparison: c}
	var throughput, cpu, rates, costs []float64
	var all sample
	for _, quads := range rounds {
		if len(quads) < minQuads {
			continue
		}
		var faster, dearer []float64
		for _, q := range quads {
			faster = append(faster, q.contender.rate()/q.base.rate())
			dearer = append(dearer, q.contender.cost()/q.base.cost())
			rates, costs = append(rates, q.base.rate()), append(costs, q.base.cost())
			all = all.add(q.contender)
		}
		throughput, cpu = append(throughput, median(faster)), append(cpu, median(dearer))
		r.rounds, r.quads = r.rounds+1, r.quads+len(quads)
	}
	if r.rounds < minRounds {
		return r
	}
	r.throughput, r.cpu = estimate(throughput), estimate(cpu)
	r.baseRate, r.baseCost = median(rates), median(costs)
	r.busy = all.cpu.Seconds() / all.wall.Seconds()
	return r
}
