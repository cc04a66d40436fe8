package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// floodRate is how many sign-ins a second are tried in vain, from so many
	// addresses, for so many customers that there are not.
	floodRate      = 200
	floodAddresses = 1000
	floodEmails    = 10_000
	// floodBlocks is how often all windows are taken, and floodWindow how long
	// each is. Each block gives one of each ratio.
	floodBlocks = 12
	floodWindow = 5 * time.Second
	// floodLead goes before each window and does not count: the last posts of
	// the window before, which are answered after the limits' floor of 600 ms,
	// are over by then.
	floodLead = time.Second
	// floodGoal is what customers who are signed in must keep of their throughput.
	floodGoal = 0.90
)

// order is where the flood goes in the windows of a block: forth and back, so
// that a drift in the machine's speed takes as much from each.
var order = []side{none, ours, plain, plain, ours, none}

// side is where a flood goes.
type side int

const (
	none  side = iota // there is no flood
	ours              // to kibo_auth, whose limits answer it
	plain             // to a Caddy on the gateway's core that answers it with respond 429
	sides
)

// flood posts to /login of one of the sides.
type flood struct {
	control *gateway
	urls    [sides]string
	to      atomic.Int64 // side
	clients []*http.Client
	posts   sync.WaitGroup
	sent    atomic.Int64
	said    [sides][600]atomic.Int64 // answers by status; 0: none came
}

func newFlood(gate, control *gateway) *flood {
	f := &flood{control: control, urls: [sides]string{ours: "http://" + gate.addr + "/login", plain: "http://" + control.addr + "/login"}}
	for i := range floodAddresses {
		own := &net.TCPAddr{IP: net.IPv4(127, 2, byte(i/250), byte(i%250+1))}
		f.clients = append(f.clients, &http.Client{
			Timeout:       30 * time.Second,
			Transport:     &http.Transport{DialContext: (&net.Dialer{LocalAddr: own}).DialContext},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		})
	}
	return f
}

// run posts at an even rate until ctx ends.
func (f *flood) run(ctx context.Context) {
	tick := time.NewTicker(time.Second / floodRate)
	defer tick.Stop()
	defer f.posts.Wait()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if to := side(f.to.Load()); to != none {
			f.posts.Go(func() { f.post(ctx, to, i) })
		}
	}
}

// post is one try: by turns for a code and with a password.
func (f *flood) post(ctx context.Context, to side, i int) {
	form := url.Values{"email": {fmt.Sprintf("made-up-%d@example.com", i*7919%floodEmails)}}
	if i%2 == 1 {
		form.Set("password", "guess")
	}
	f.sent.Add(1)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, f.urls[to], strings.NewReader(form.Encode()))
	if err != nil {
		f.said[to][0].Add(1)
		return
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", "text/html")
	answer, err := f.clients[i*104729%floodAddresses].Do(r)
	if err != nil {
		f.said[to][0].Add(1)
		return
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, answer.Body) // what is left unread only costs the connection
	f.said[to][answer.StatusCode%600].Add(1)
}

// answers lists what came back, by status.
func (f *flood) answers(to side) string {
	var all []string
	for status := range f.said[to] {
		if n := f.said[to][status].Load(); n > 0 {
			all = append(all, fmt.Sprintf("%d × %d", n, status))
		}
	}
	return strings.Join(all, ", ")
}

// block is the windows of one block, added up by side, and the two without a
// flood by themselves: how far they differ is the noise.
type block struct {
	by      [sides]sample
	calm    []sample
	posts   [sides]int64
	control time.Duration // CPU time of the control
}

// perPost is what one post of the flood costs each side in CPU time, in
// microseconds: the gateway has customers to answer besides.
func (b *block) perPost() (kiboAuth, control float64) {
	s := b.by[ours]
	extra := s.cpu.Seconds()*1e6 - float64(s.requests)*b.by[none].cost()
	return extra / float64(b.posts[ours]), b.control.Seconds() * 1e6 / float64(b.posts[plain])
}

// floodRun has customers ask as fast as they can while the flood comes and goes.
func floodRun(ctx context.Context, o options, p *peers, stdout io.Writer) error {
	blocks, window := make([]block, floodBlocks), floodWindow
	if o.short {
		blocks, window = blocks[:4], time.Second
	}
	o.customers = min(o.customers, 64)                                      // more would use up the limit of codes in total
	env := append(slices.Clone(settings[0].env), "BENCH_LIMIT=floor 600ms") // the default, and not off
	t, control, stop, err := startFlooded(ctx, o, env, p)
	defer stop()
	if err != nil {
		return err
	}
	f := newFlood(t.gateway, control)
	ctx, end := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { f.run(ctx) })
	defer running.Wait()
	defer end()
	if err := f.warmUp(t); err != nil {
		return err
	}
	for i := range blocks {
		if blocks[i], err = f.takeBlock(ctx, t, window); err != nil {
			return err
		}
	}
	reportFlood(stdout, f, blocks, window)
	return nil
}

// startFlooded starts the gateway, with its customers signed in, and the control
// beside it. stop must be called, also when there is an error.
func startFlooded(ctx context.Context, o options, env []string, p *peers) (t *target, control *gateway, stop func(), err error) {
	gate, err := startGateway(ctx, o, contender{kiboAuth, "kibo", "memory", http.StatusOK}, append(env, "BENCH_STORE=memory"), p)
	stop = gate.stop
	if err != nil {
		return nil, nil, stop, err
	}
	control, err = startGateway(ctx, o, contender{"respond 429", "limited", "memory", http.StatusTooManyRequests}, append(env, "BENCH_STORE=memory"), p)
	stop = func() { gate.stop(); control.stop() }
	if err != nil {
		return nil, nil, stop, err
	}
	cookies, err := signInAll(ctx, gate, p, o.customers)
	if err != nil {
		return nil, nil, stop, err
	}
	t = &target{name: kiboAuth, gateway: gate, requests: requests(pageRequest, cookies), want: http.StatusOK}
	stop = func() { t.close(); gate.stop(); control.stop() }
	return t, control, stop, t.open(o.browsers)
}

// warmUp floods both sides until the budgets of the limits are used up: from
// then on most of the flood is refused without a question to Kibo.
func (f *flood) warmUp(t *target) error {
	for _, to := range []side{plain, ours} {
		f.to.Store(int64(to))
		if _, err := t.load(warmUpTime); err != nil {
			return err
		}
	}
	return nil
}

// takeBlock measures customers' requests in each window.
func (f *flood) takeBlock(ctx context.Context, t *target, window time.Duration) (b block, err error) {
	for _, to := range order {
		if ctx.Err() != nil {
			return b, ctx.Err()
		}
		f.to.Store(int64(to))
		if _, err := t.load(floodLead); err != nil {
			return b, err
		}
		if err := f.takeWindow(t, to, window, &b); err != nil {
			return b, err
		}
	}
	return b, nil
}

// takeWindow adds one window to its block.
func (f *flood) takeWindow(t *target, to side, window time.Duration, b *block) error {
	sent := f.sent.Load()
	before, err := processTime(f.control.cmd.Process.Pid)
	if err != nil {
		return err
	}
	s, err := t.slice(window)
	if err != nil {
		return err
	}
	after, err := processTime(f.control.cmd.Process.Pid)
	b.by[to] = b.by[to].add(s)
	b.posts[to] += f.sent.Load() - sent
	switch to {
	case none:
		b.calm = append(b.calm, s)
	case plain:
		b.control += after - before
	}
	return err
}

// reportFlood writes tables in Markdown.
func reportFlood(w io.Writer, f *flood, blocks []block, window time.Duration) {
	var calm, flooded, control, between, ourCost, itsCost []float64
	var all block
	for _, b := range blocks {
		calm = append(calm, b.calm[1].rate()/b.calm[0].rate())
		flooded = append(flooded, b.by[ours].rate()/b.by[none].rate())
		control = append(control, b.by[plain].rate()/b.by[none].rate())
		between = append(between, b.by[ours].rate()/b.by[plain].rate())
		mine, its := b.perPost()
		ourCost, itsCost = append(ourCost, mine), append(itsCost, its)
		for s := range sides {
			all.by[s] = all.by[s].add(b.by[s])
			all.posts[s] += b.posts[s]
		}
	}
	whole := estimate(flooded)
	fmt.Fprintf(w, "\n### Signed in during a flood\n\n%d blocks of %d windows of %s; without a flood %.0f requests/s.\n\n", len(blocks), len(order), window, all.by[none].rate())
	fmt.Fprintln(w, "| throughput of customers who are signed in | median (95 % interval) | goal |")
	fmt.Fprintln(w, "|---|---|---|")
	fmt.Fprintf(w, "| no flood ÷ no flood, later ÷ earlier in a block | %s | 1 |\n", estimate(calm))
	fmt.Fprintf(w, "| **flood of kibo_auth ÷ no flood** | %s | ≥ %.2f: %s |\n", whole, floodGoal, whole.reaches(floodGoal))
	fmt.Fprintf(w, "| flood of a plain respond 429 on the same core ÷ no flood | %s | – |\n", estimate(control))
	fmt.Fprintf(w, "| flood of kibo_auth ÷ flood of respond 429 | %s | – |\n\n", estimate(between))
	fmt.Fprintln(w, "| | posts/s | CPU of a post, µs | share of a core: gateway | load, shop, Kibo, flood | everything else |")
	fmt.Fprintln(w, "|---|---|---|---|---|---|")
	costs := [sides]string{none: "–", ours: estimate(ourCost).whole(), plain: estimate(itsCost).whole()}
	for s, name := range [sides]string{none: "no flood", ours: "flood of kibo_auth", plain: "flood of respond 429, which counts as everything else"} {
		used := all.by[s]
		wall := used.wall.Seconds()
		fmt.Fprintf(w, "| %s | %.0f | %s | %.0f %% | %.0f %% | %.0f %% |\n", name, float64(all.posts[s])/wall, costs[s],
			100*used.cpu.Seconds()/wall, 100*used.self.Seconds()/wall, 100*used.others.Seconds()/wall)
	}
	fmt.Fprintf(w, "\nAnswers: kibo_auth %s; respond 429 %s.\n", f.answers(ours), f.answers(plain))
}
