// Command testreport reads the events of "go test -json" on standard input and prints
// what a person wants to know: one line a package, the output of what failed, every
// skipped test. It exits with 1 when a test failed or was skipped, when a package did
// not compile, or when no test ran at all: a suite that quietly runs less is broken.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	counts := flag.String("counts", "", "file to write \"passed failed skipped\" to")
	flag.Parse()

	ok, err := run(os.Stdin, os.Stdout, *counts)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testreport:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// run reports the events in r on w and says whether the suite is sound. With a counts
// file the three numbers are written there as well.
func run(r io.Reader, w io.Writer, counts string) (bool, error) {
	rep := newReport(w)
	if err := rep.read(r); err != nil {
		return false, fmt.Errorf("reading events: %w", err)
	}
	rep.finish()
	if counts != "" {
		line := fmt.Sprintf("%d %d %d\n", rep.passed, rep.failed, len(rep.skipped))
		if err := os.WriteFile(counts, []byte(line), 0o644); err != nil {
			return false, fmt.Errorf("writing counts: %w", err)
		}
	}
	return rep.ok(), nil
}
