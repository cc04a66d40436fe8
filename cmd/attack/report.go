package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/kiboauth/caddy-kibo-auth/internal/attack"
)

// A report prints results as they come, and counts them.
type report struct {
	w                            io.Writer
	json                         bool
	checks, failed, na, requests int
}

// summary is the last line in JSON.
type summary struct {
	Checks        int `json:"checks"`
	Failed        int `json:"failed"`
	NotApplicable int `json:"not_applicable"`
	Requests      int `json:"requests"`
}

func (r *report) add(result attack.Result) {
	r.checks++
	r.requests += result.Tries
	switch result.Outcome {
	case attack.Fail:
		r.failed++
	case attack.NA:
		r.na++
	}
	if r.json {
		r.print(result)
		return
	}
	fmt.Fprintln(r.w, result)
}

// print writes a line of JSON.
func (r *report) print(v any) {
	text := json.NewEncoder(r.w)
	text.SetEscapeHTML(false)
	_ = text.Encode(v) // nobody is left to tell
}

// end prints the summary and returns the exit code.
func (r *report) end() int {
	if r.json {
		r.print(summary{r.checks, r.failed, r.na, r.requests})
	} else {
		fmt.Fprintf(r.w, "\n%d checks, %d failed (%d not applicable, %d requests)\n", r.checks, r.failed, r.na, r.requests)
	}
	if r.failed > 0 {
		return failed
	}
	return passed
}
