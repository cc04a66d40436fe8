package main

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func TestMedian(t *testing.T) {
	tests := []struct {
		values []float64
		want   float64
	}{
		{[]float64{3}, 3},
		{[]float64{5, 1, 3}, 3},
		{[]float64{4, 1, 3, 2}, 2.5},
	}
	for _, tc := range tests {
		given := slices.Clone(tc.values)
		if got := median(tc.values); got != tc.want {
			t.Errorf("median(%v) = %v, want %v", tc.values, got, tc.want)
		}
		if !slices.Equal(tc.values, given) {
			t.Errorf("median(%v) reordered its input", given)
		}
	}
}

// TestEstimateCovers: a 95 % interval holds the true median nearly always, and
// is narrower the more is known.
func TestEstimateCovers(t *testing.T) {
	draw := rand.New(rand.NewPCG(3, 4))
	const rounds = 200
	covered := 0
	width := map[int]float64{}
	for range rounds {
		for _, n := range []int{10, 40} {
			values := make([]float64, n)
			for i := range values {
				values[i] = 0.95 + 0.02*draw.NormFloat64()
			}
			f := estimate(values)
			if f.low > f.median || f.median > f.high {
				t.Fatalf("estimate = %v: median outside its interval", f)
			}
			width[n] += f.high - f.low
			if n == 40 && f.low <= 0.95 && 0.95 <= f.high {
				covered++
			}
		}
	}
	if covered < rounds*9/10 {
		t.Errorf("%d of %d intervals hold the true median, want nine tenths at least", covered, rounds)
	}
	if width[40] >= width[10] {
		t.Errorf("intervals from 40 values are as wide as from 10: %v", width)
	}
}

func TestEstimateOfEqualValues(t *testing.T) {
	want := figure{0.9, 0.9, 0.9}
	if got := estimate([]float64{0.9, 0.9, 0.9, 0.9, 0.9}); got != want {
		t.Errorf("estimate = %v, want %v", got, want)
	}
}
