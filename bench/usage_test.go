package main

import (
	"bytes"
	"os"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	const cores = "cpu0 1 1 1 1 1 1 1 1 1 1\n"
	tests := []struct {
		name, text string
		want       time.Duration
		fails      bool
	}{
		// user nice system idle iowait irq softirq steal guest guest_nice
		{"idle and waiting do not count", "cpu  10 1 5 9000 800 2 3 4 7 0\n" + cores, 250 * time.Millisecond, false},
		{"not the sum", cores, 0, true},
		{"old kernel", "cpu  10 1 5 9000\n", 0, true},
		{"no number", "cpu  10 1 5 9000 800 2 3 x 7 0\n", 0, true},
		{"empty", "", 0, true},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			got, err := parseStat(tc.text)
			if got != tc.want || (err != nil) != tc.fails {
				t.Errorf("parseStat = %v, %v, want %v, fails %v", got, err, tc.want, tc.fails)
			}
		})
	}
}

func TestProcessTime(t *testing.T) {
	before, err := processTime(os.Getpid())
	if err != nil {
		t.Fatalf("processTime: %v", err)
	}
	for range 100 {
		bytes.Repeat([]byte("work "), 1<<16)
	}
	if after, err := processTime(os.Getpid()); err != nil || after <= before {
		t.Errorf("processTime after work = %v, %v, want more than %v", after, err, before)
	}
	if _, err := processTime(-1); err == nil {
		t.Error("processTime of no process gave no error")
	}
}
