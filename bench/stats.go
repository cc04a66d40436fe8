package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
)

// resamples is how often the bootstrap draws.
const resamples = 2000

// figure is a median with its 95 % interval.
type figure struct{ median, low, high float64 }

func (f figure) String() string { return fmt.Sprintf("%.3f (%.3f–%.3f)", f.median, f.low, f.high) }

// whole leaves out fractions.
func (f figure) whole() string { return fmt.Sprintf("%.0f (%.0f–%.0f)", f.median, f.low, f.high) }

// estimate returns the median of values and its 95 % percentile-bootstrap
// interval (Efron 1979). The draws are the same in every run, so that equal
// values give equal intervals.
func estimate(values []float64) figure {
	draw := rand.New(rand.NewPCG(1, 2))
	medians := make([]float64, resamples)
	again := make([]float64, len(values))
	for i := range medians {
		for j := range again {
			again[j] = values[draw.IntN(len(values))]
		}
		medians[i] = median(again)
	}
	slices.Sort(medians)
	return figure{median(values), medians[resamples*25/1000], medians[resamples*975/1000]}
}

// median leaves values as they are.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	if n%2 == 1 {
		return sorted[n/2]
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2
}
