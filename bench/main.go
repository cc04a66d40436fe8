// Command bench holds Caddy with kibo_auth against the same Caddy without it,
// side by side on one machine: throughput and CPU time per request. README.md
// in this folder says how it measures and what came out.
//
//	bench/run.sh [-short] [-stores] [-flood] [-profile folder]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	switch err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are the command line.
type options struct {
	caddy     string // the program to measure
	core      int    // where gateways run
	short     bool
	stores    bool          // compare stores, and not with bare
	flood     bool          // compare with itself, flooded with sign-ins
	limit     time.Duration // for all measuring
	others    float64       // share of a core that others may take
	profile   string        // folder for CPU profiles; "" takes none
	customers int
	browsers  int
}

func parse(args []string, stderr io.Writer) (o options, err error) {
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.StringVar(&o.caddy, "caddy", "", "Caddy `program` with kibo_auth, as cmd/caddy builds it")
	fs.IntVar(&o.core, "core", 0, "`number` of the core for the gateways; load and shop must run on another")
	fs.BoolVar(&o.short, "short", false, "two minutes instead of eight: only the first setting, and wider intervals")
	fs.BoolVar(&o.stores, "stores", false, "compare the stores memory, file and Redis; needs redis-server")
	fs.BoolVar(&o.flood, "flood", false, "see what customers who are signed in have left during a flood of sign-ins")
	fs.DurationVar(&o.limit, "limit", 5*time.Minute, "`time` to measure at most, waiting for quiet moments included")
	fs.Float64Var(&o.others, "others", defaultOthers, "`share` of a core that everything else may take; more, where it is never quiet, makes wider intervals")
	fs.StringVar(&o.profile, "profile", "", "also write CPU profiles of the gateways to this `folder`")
	fs.IntVar(&o.customers, "customers", 1000, "`number` of customers that sign in")
	fs.IntVar(&o.browsers, "browsers", 64, "`number` of connections, each with one request under way")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if o.short {
		o.limit = min(o.limit, 90*time.Second)
	}
	switch {
	case o.caddy == "":
		return o, errors.New("-caddy is missing; bench/run.sh builds one and passes it")
	case o.customers < 1 || o.customers > maxCustomers:
		return o, fmt.Errorf("-customers is not between 1 and %d", maxCustomers)
	case o.browsers < 1 || o.browsers > 1000:
		return o, errors.New("-browsers is not between 1 and 1000")
	}
	return o, nil
}

// A setting of the garbage collector, the same for every gateway. All hold the
// same sessions, so none gets more room to leave garbage lying than another.
type setting struct {
	name  string
	env   []string
	quads int     // for each comparison in a round; a quad takes a fifth of a second
	share float64 // of the time to measure
}

// rounds is how often the gateways are started.
const rounds = 10

var settings = []setting{
	{"Equal headroom (GOGC=off GOMEMLIMIT=400MiB)", []string{"GOGC=off", "GOMEMLIMIT=400MiB"}, 25, 0.7},
	{"Go's default collector", nil, 10, 0.3},
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	p, err := startPeers()
	if err != nil {
		return err
	}
	defer p.stop()
	if o.flood {
		return floodRun(ctx, o, p, stdout)
	}
	todo := slices.Clone(settings)
	if o.short {
		todo = todo[:1]
		todo[0].share = 1
	}
	for _, s := range todo {
		start := time.Now()
		if err := measure(ctx, o, s, p, stdout); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		fmt.Fprintf(stderr, "%s: took %s\n", s.name, time.Since(start).Round(time.Second))
	}
	return nil
}

// measure compares in rounds, each with gateways started anew.
func measure(ctx context.Context, o options, s setting, p *peers, stdout io.Writer) error {
	comparisons := o.suite().comparisons
	results := make([]result, len(comparisons))
	taken := make([][][]quad, len(comparisons))
	for i := range rounds {
		one, err := measureRound(ctx, o, s, p, i == rounds-1)
		if err != nil {
			return err
		}
		for c, quads := range one {
			taken[c] = append(taken[c], quads)
		}
	}
	for i, c := range comparisons {
		results[i] = c.evaluate(taken[i])
	}
	report(stdout, s, results)
	return nil
}

// measureRound starts the gateways, signs everybody in, and compares. After the
// last round it takes profiles, if they are asked for.
func measureRound(ctx context.Context, o options, s setting, p *peers, last bool) (round, error) {
	b, err := newBench(ctx, o, s, p)
	defer b.stop()
	if err != nil {
		return nil, err
	}
	taken, err := b.compare(ctx, s.quads, time.Duration(s.share*float64(o.limit)/rounds))
	if err == nil && last && o.profile != "" {
		err = b.profile(ctx, o.profile, s)
	}
	return taken, err
}
