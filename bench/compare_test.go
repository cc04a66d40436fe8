package main

import (
	"strings"
	"testing"
	"time"
)

// twoSides is a quad in which the base answered 1000 requests with 100 ms of
// CPU time, and the contender so many with so much.
func twoSides(requests int, cpu time.Duration) quad {
	const wall = 500 * time.Millisecond
	return quad{base: sample{requests: 1000, wall: wall, cpu: 100 * time.Millisecond}, contender: sample{requests: requests, wall: wall, cpu: cpu}}
}

func repeated(q quad, n int) []quad {
	var quads []quad
	for range n {
		quads = append(quads, q)
	}
	return quads
}

// rounded is as many rounds as an interval needs, of n quads each.
func rounded(q quad, n int) [][]quad {
	var all [][]quad
	for range minRounds {
		all = append(all, repeated(q, n))
	}
	return all
}

func TestEvaluate(t *testing.T) {
	r := comparison{contender: kiboAuth, base: bare}.evaluate(rounded(twoSides(900, 99*time.Millisecond), 8))
	if got, want := r.throughput.String(), "0.900 (0.900–0.900)"; got != want {
		t.Errorf("throughput = %s, want %s", got, want)
	}
	if got, want := r.cpu.String(), "1.100 (1.100–1.100)"; got != want {
		t.Errorf("CPU per request = %s, want %s", got, want)
	}
	if r.baseRate != 2000 || r.baseCost != 100 || r.rounds != minRounds || r.quads != 8*minRounds {
		t.Errorf("base: %.0f requests/s of %.0f µs in %d rounds of %d quads in all, want 2000, 100, %d, %d", r.baseRate, r.baseCost, r.rounds, r.quads, minRounds, 8*minRounds)
	}
}

// TestRoundsCountOnce: a round with many quads counts as much as one with few.
func TestRoundsCountOnce(t *testing.T) {
	all := rounded(twoSides(900, 99*time.Millisecond), minQuads)
	all = append(all, repeated(twoSides(500, 99*time.Millisecond), 1000), repeated(twoSides(100, time.Millisecond), minQuads-1))
	r := comparison{}.evaluate(all)
	if r.rounds != minRounds+1 || r.throughput.median != 0.9 {
		t.Errorf("%d rounds, median %v, want %d and 0.9", r.rounds, r.throughput.median, minRounds+1)
	}
}

func TestVerdict(t *testing.T) {
	atLeast := comparison{minThroughput: 0.94}
	atMost := comparison{maxCPU: 0.35}
	tests := []struct {
		name string
		r    result
		want string
	}{
		{"reached", result{comparison: atLeast, throughput: figure{0.95, 0.93, 0.97}}, "holds"},
		{"median short of it", result{comparison: atLeast, throughput: figure{0.939, 0.93, 0.97}}, "unclear"},
		{"reached, but uncertain", result{comparison: atLeast, throughput: figure{0.95, 0.92, 0.98}}, "unclear"},
		{"short of it for sure", result{comparison: atLeast, throughput: figure{0.92, 0.91, 0.93}}, "missed"},
		{"cheap enough", result{comparison: atMost, cpu: figure{0.30, 0.29, 0.36}}, "holds"},
		{"too dear", result{comparison: atMost, cpu: figure{0.37, 0.36, 0.38}}, "missed"},
		{"too dear, but uncertain", result{comparison: atMost, cpu: figure{0.36, 0.34, 0.38}}, "unclear"},
		{"cheap, but uncertain", result{comparison: atMost, cpu: figure{0.34, 0.30, 0.37}}, "unclear"},
		{"no goal", result{}, "–"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			if got := tc.r.verdict(); !strings.HasSuffix(got, tc.want) {
				t.Errorf("verdict = %q, want …%q", got, tc.want)
			}
		})
	}
}

func TestQuiet(t *testing.T) {
	tests := []struct {
		name       string
		throughput figure
		rounds     int
		want       bool
	}{
		{"the same twice", figure{1.001, 0.99, 1.01}, 20, true},
		{"wide", figure{1, 0.96, 1.01}, 20, false},
		{"one process faster than the other", figure{1.02, 1.01, 1.025}, 20, false},
		{"too little", figure{1, 1, 1}, minRounds - 1, false},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			if got := (result{throughput: tc.throughput, rounds: tc.rounds}).quiet(); got != tc.want {
				t.Errorf("quiet = %v, want %v", got, tc.want)
			}
		})
	}
}

// TestBusyNeighbour: work of others on the machine must not count as ours.
func TestBusyNeighbour(t *testing.T) {
	q := twoSides(900, 99*time.Millisecond)
	q.base.others, q.contender.others = 40*time.Millisecond, 60*time.Millisecond
	if got := q.others(); got < 0.0999 || got > 0.1001 {
		t.Errorf("others = %v of a core, want 0.1", got)
	}
}

// TestReportWithoutFigures: a machine that was never quiet gives no figures.
func TestReportWithoutFigures(t *testing.T) {
	var results []result
	for _, c := range againstBare.comparisons {
		results = append(results, c.evaluate(rounded(twoSides(1000, 100*time.Millisecond), minQuads-1)))
	}
	var b strings.Builder
	report(&b, settings[0], results)
	if got := strings.Count(b.String(), "not measured"); got != len(againstBare.comparisons) {
		t.Errorf("%d rows are not measured, want %d:\n%s", got, len(againstBare.comparisons), b.String())
	}
	if !strings.Contains(b.String(), "not quiet enough") || strings.Contains(b.String(), "holds") {
		t.Errorf("report of nothing claims something:\n%s", b.String())
	}
}

func TestReport(t *testing.T) {
	var results []result
	for _, c := range againstBare.comparisons {
		results = append(results, c.evaluate(rounded(twoSides(1000, 100*time.Millisecond), minQuads)))
	}
	var b strings.Builder
	report(&b, settings[0], results)
	for _, want := range []string{
		"Base (bare): 2000 requests/s, 100.0 µs CPU each.",
		"| kibo_auth ÷ bare | 1.000 (1.000–1.000) | 1.000 (1.000–1.000) | 20 % | 5, 25 | throughput ≥ 0.94: holds |",
		"CPU ≤ 0.35: missed",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("report lacks %q:\n%s", want, b.String())
		}
	}
	if strings.Contains(b.String(), "not quiet enough") {
		t.Errorf("quiet machine called noisy:\n%s", b.String())
	}
}
