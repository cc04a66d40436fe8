package main

import (
	"fmt"
	"io"
	"math"
)

const (
	// minQuads is how many a round needs for its median to mean anything, and
	// minRounds how many of those an interval needs.
	minQuads  = 5
	minRounds = 5
	// noiseLimit is how far bare ÷ bare may be off before a run says nothing.
	noiseLimit = 0.03
	// slack is how far the worse end of an interval may miss a goal.
	slack = 0.015
)

// verdict says whether a goal holds: the median reaches it, and the worse end
// of the interval misses it by no more than slack. It is missed if the whole
// interval misses it; what lies between is unclear.
func (r result) verdict() string {
	switch {
	case r.minThroughput > 0:
		return fmt.Sprintf("throughput ≥ %.2f: %s", r.minThroughput, r.throughput.reaches(r.minThroughput))
	case r.maxCPU > 0:
		f := figure{-r.cpu.median, -r.cpu.high, -r.cpu.low}
		return fmt.Sprintf("CPU ≤ %.2f: %s", r.maxCPU, f.reaches(-r.maxCPU))
	}
	return "–"
}

// reaches compares a figure of which more is better with what it must be.
func (f figure) reaches(goal float64) string {
	switch {
	case f.median >= goal && f.low >= goal-slack:
		return "holds"
	case f.high < goal:
		return "missed"
	}
	return "unclear"
}

// quiet tells whether the same against the same came out the same, in
// rounds enough.
func (r result) quiet() bool {
	return r.rounds >= minRounds && r.throughput.low <= 1 && r.throughput.high >= 1 &&
		math.Max(1-r.throughput.low, r.throughput.high-1) <= noiseLimit
}

// report writes a table in Markdown.
func report(w io.Writer, s setting, results []result) {
	noise := results[0]
	fmt.Fprintf(w, "\n### %s\n\n", s.name)
	fmt.Fprintf(w, "Base (%s): %.0f requests/s, %.1f µs CPU each.\n\n", noise.base, noise.baseRate, noise.baseCost)
	fmt.Fprintln(w, "| contender ÷ base | throughput | CPU per request | core busy | rounds, quads | goal |")
	fmt.Fprintln(w, "|---|---|---|---|---|---|")
	for _, r := range results {
		if r.rounds < minRounds {
			fmt.Fprintf(w, "| %s ÷ %s | – | – | – | %d, %d | not measured |\n", r.contender, r.base, r.rounds, r.quads)
			continue
		}
		fmt.Fprintf(w, "| %s ÷ %s | %s | %s | %.0f %% | %d, %d | %s |\n", r.contender, r.base, r.throughput, r.cpu, 100*r.busy, r.rounds, r.quads, r.verdict())
	}
	if !noise.quiet() {
		fmt.Fprintf(w, "\nThe first row is missing, or strays from 1 by more than chance or %.0f %%: the machine was not quiet enough for this table to count.\n", 100*noiseLimit)
	}
}
