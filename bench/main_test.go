package main

import (
	"io"
	"slices"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	tests := []struct {
		name  string
		args  []string
		fails bool
	}{
		{"what run.sh passes", []string{"-caddy", "./caddy", "-core", "1"}, false},
		{"no program", nil, true},
		{"nobody signs in", []string{"-caddy", "./caddy", "-customers", "0"}, true},
		{"more customers than addresses", []string{"-caddy", "./caddy", "-customers", "60000"}, true},
		{"no connection", []string{"-caddy", "./caddy", "-browsers", "0"}, true},
		{"unknown flag", []string{"-fast"}, true},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := parse(tc.args, io.Discard); (err != nil) != tc.fails {
				t.Errorf("parse(%q) = %v, fails %v", tc.args, err, tc.fails)
			}
		})
	}
}

// TestShort: five minutes at most by default, and less if that is asked for.
func TestShort(t *testing.T) {
	long, err := parse([]string{"-caddy", "./caddy"}, io.Discard)
	if err != nil || long.limit > 5*time.Minute {
		t.Errorf("limit = %v, %v, want 5m at most", long.limit, err)
	}
	short, err := parse([]string{"-caddy", "./caddy", "-short"}, io.Discard)
	if err != nil || short.limit > 90*time.Second {
		t.Errorf("limit with -short = %v, %v, want 90s at most", short.limit, err)
	}
}

// TestCollectorFromOutside: what GOGC says where the benchmark is started must
// not reach some gateways and not others.
func TestCollectorFromOutside(t *testing.T) {
	got := withoutCollector([]string{"PATH=/bin", "GOGC=50", "GOMEMLIMIT=1GiB", "GOGCX=1"})
	if want := []string{"PATH=/bin", "GOGCX=1"}; !slices.Equal(got, want) {
		t.Errorf("withoutCollector = %q, want %q", got, want)
	}
}
