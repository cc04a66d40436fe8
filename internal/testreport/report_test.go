package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	tests := []struct {
		name   string
		events string
		ok     bool
		counts string
		want   []string // printed
		not    []string // not printed
	}{
		{
			name: "all passed",
			events: `{"Action":"output","Package":"p","Test":"TestA","Output":"chatter\n"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p","Test":"TestA/sub"}
{"Action":"pass","Package":"p","Elapsed":1.25}`,
			ok: true, counts: "2 0 0\n",
			want: []string{"ok   p 1.2s, 2 tests", "tests: 2 passed, 0 failed, 0 skipped"},
			not:  []string{"chatter"},
		},
		{
			name: "failed test shows its output once",
			events: `{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestB","Output":"got 1, want 2\n"}
{"Action":"fail","Package":"p","Test":"TestB"}
{"Action":"output","Package":"p","Output":"FAIL\n"}
{"Action":"fail","Package":"p","Elapsed":1}`,
			counts: "1 1 0\n",
			want:   []string{"FAIL p TestB\ngot 1, want 2\n", "FAIL p 1.0s"},
		},
		{
			name: "skipped test fails the run",
			events: `{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"skip","Package":"p","Test":"TestServer"}
{"Action":"pass","Package":"p","Elapsed":1}`,
			counts: "1 0 1\n",
			want:   []string{"SKIPPED p TestServer"},
		},
		{
			name: "package without tests is no skip",
			events: `{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"output","Package":"q","Output":"?   \tq\t[no test files]\n"}
{"Action":"skip","Package":"q"}`,
			ok: true, counts: "1 0 0\n", not: []string{"SKIPPED"},
		},
		{
			name: "package that does not compile",
			events: `{"ImportPath":"p","Action":"build-output","Output":"p.go:3: undefined: x\n"}
{"ImportPath":"p","Action":"build-fail"}
{"Action":"pass","Package":"q","Test":"TestA"}
{"Action":"fail","Package":"p","Elapsed":0,"FailedBuild":"p"}`,
			counts: "1 1 0\n",
			want:   []string{"p.go:3: undefined: x", "FAIL p does not compile"},
		},
		{
			name: "package that panics outside every test",
			events: `{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Output":"panic: boom\n"}
{"Action":"fail","Package":"p","Elapsed":1}`,
			counts: "1 1 0\n",
			want:   []string{"panic: boom"},
		},
		{
			name: "test that never ends",
			events: `{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestHang","Output":"panic: test timed out after 10m\n"}
{"Action":"output","Package":"p","Output":"FAIL\tp\t600s\n"}
{"Action":"fail","Package":"p","Elapsed":600}`,
			counts: "1 1 0\n",
			want:   []string{"panic: test timed out after 10m", "FAIL p 600.0s"},
		},
		{
			name:   "trouble in plain text",
			events: "go: no such module\n",
			counts: "0 0 0\n",
			want:   []string{"go: no such module", "no test passed"},
		},
		{name: "nothing ran", events: "", counts: "0 0 0\n", want: []string{"no test passed"}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			var out strings.Builder
			file := filepath.Join(t.TempDir(), "counts")
			ok, err := run(strings.NewReader(tc.events), &out, file)
			if err != nil {
				t.Fatalf("run: %v", err)
			}
			if ok != tc.ok {
				t.Errorf("ok = %v, want %v", ok, tc.ok)
			}
			if got, _ := os.ReadFile(file); string(got) != tc.counts {
				t.Errorf("counts = %q, want %q", got, tc.counts)
			}
			for _, s := range tc.want {
				if strings.Count(out.String(), s) != 1 {
					t.Errorf("printed %q, want %q in it once", out.String(), s)
				}
			}
			for _, s := range tc.not {
				if strings.Contains(out.String(), s) {
					t.Errorf("printed %q, want no %q in it", out.String(), s)
				}
			}
		})
	}
}

func TestTailKeepsBothEnds(t *testing.T) {
	var out tail
	out.add("first line\n")
	for range 10_000 {
		out.add("chatter of a noisy test\n")
	}
	out.add("last line\n")
	got := out.String()
	if !strings.HasPrefix(got, "first line\n") || !strings.HasSuffix(got, "last line\n") {
		t.Errorf("tail lost an end: starts %q, ends %q", got[:20], got[len(got)-20:])
	}
	if limit := 3*keep + 100; len(got) > limit {
		t.Errorf("tail holds %d bytes, want %d at most", len(got), limit)
	}
}
