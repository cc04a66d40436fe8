package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// keep is how much of a test's output is kept from its start and again from its end,
// in bytes: the cause is mostly in one of the two.
const keep = 16 << 10

// event is one line of "go test -json"; see "go doc test2json" and, for build events,
// "go help buildjson".
type event struct {
	Action     string
	Package    string
	ImportPath string // of build events
	Test       string
	Elapsed    float64 // seconds
	Output     string
}

// key names a test; with an empty test, its package.
type key struct{ pkg, test string }

// report follows a run. Counts are of tests and subtests.
type report struct {
	w       io.Writer
	output  map[key]*tail
	tests   map[string]int  // passed, by package
	broken  map[string]bool // packages with a failed test
	passed  int
	failed  int
	skipped []key
}

func newReport(w io.Writer) *report {
	return &report{w: w, output: map[key]*tail{}, tests: map[string]int{}, broken: map[string]bool{}}
}

// read takes events until r ends. A line that is no event is printed as it is: the go
// command writes some of its own troubles in plain text.
func (r *report) read(in io.Reader) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		var e event
		switch {
		case len(line) == 0:
		case json.Unmarshal(line, &e) == nil && e.Action != "":
			r.event(e)
		default:
			fmt.Fprintln(r.w, strings.TrimRight(string(line), "\n"))
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *report) event(e event) {
	k := key{e.Package, e.Test}
	switch e.Action {
	case "output":
		r.keep(k, e.Output)
	case "build-output":
		fmt.Fprint(r.w, e.Output)
	case "build-fail":
		// The packages that wait for this one fail with events of their own.
		fmt.Fprintf(r.w, "FAIL %s does not compile\n", e.ImportPath)
	case "pass", "fail", "skip":
		r.end(k, e)
		delete(r.output, k)
	}
}

// keep adds to the output of a test or, with no test, of a package.
func (r *report) keep(k key, s string) {
	if r.output[k] == nil {
		r.output[k] = &tail{}
	}
	r.output[k].add(s)
}

func (r *report) end(k key, e event) {
	if k.test == "" {
		r.endPackage(k, e)
		return
	}
	switch e.Action {
	case "pass":
		r.passed++
		r.tests[k.pkg]++
	case "fail":
		r.failed++
		r.broken[k.pkg] = true
		fmt.Fprintf(r.w, "FAIL %s %s\n%s", k.pkg, k.test, r.output[k])
	case "skip":
		r.skipped = append(r.skipped, k)
	}
}

// endPackage prints a package's line. A package can fail without a failed test: it did
// not compile, panicked, raced or ran out of time; that counts as one failure.
func (r *report) endPackage(k key, e event) {
	switch {
	case e.Action == "pass":
		fmt.Fprintf(r.w, "ok   %s %.1fs, %d tests\n", k.pkg, e.Elapsed, r.tests[k.pkg])
	case e.Action == "fail":
		if !r.broken[k.pkg] {
			r.failed++
		}
		fmt.Fprintf(r.w, "FAIL %s %.1fs\n", k.pkg, e.Elapsed)
		r.printRest(k.pkg)
	}
	maps.DeleteFunc(r.output, func(o key, _ *tail) bool { return o.pkg == k.pkg })
}

// printRest prints what is left of a failed package: its own output and that of tests
// that never ended. A panic stands in the output of whichever test printed last.
func (r *report) printRest(pkg string) {
	for _, k := range slices.SortedFunc(maps.Keys(r.output), func(a, b key) int { return strings.Compare(a.test, b.test) }) {
		if k.pkg == pkg {
			fmt.Fprint(r.w, r.output[k])
		}
	}
}

func (r *report) ok() bool {
	return r.failed == 0 && len(r.skipped) == 0 && r.passed > 0
}

// finish prints the skipped tests and the counts.
func (r *report) finish() {
	for _, k := range r.skipped {
		fmt.Fprintf(r.w, "SKIPPED %s %s\n", k.pkg, k.test)
	}
	if r.passed == 0 {
		fmt.Fprintln(r.w, "no test passed: this was no run")
	}
	fmt.Fprintf(r.w, "tests: %d passed, %d failed, %d skipped\n", r.passed, r.failed, len(r.skipped))
}
