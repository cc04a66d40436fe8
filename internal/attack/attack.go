package attack

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// A Target is the deployment that is attacked, and what is known of it.
type Target struct {
	// Base is the address, without a path: http://127.0.0.1:8080.
	Base *url.URL
	// Owned is the host that its operator named a second time. Other machines
	// than this one are attacked only if it is the host of Base.
	Owned string
	// Login, Logout, Protected and Public are paths. Protected needs a session,
	// Public does not.
	Login, Logout, Protected, Public string
	// Echo is a public path that answers with the headers that the application
	// got; empty: there is none, and what arrives there cannot be told.
	Echo string
	// Email and Code are the names of the sign-in form's fields.
	Email, Code string
	// Cookie is the name of the session cookie, Session its value; empty: the
	// checks that need a session are not run.
	Cookie, Session string
	// Identity are the names of the headers that tell the application who asks.
	Identity []string
	// ShopForm says that the application draws the sign-in form.
	ShopForm bool
	// Send allows checks that cost the deployment code requests at Kibo.
	Send bool
	// InsecureTLS takes any certificate; on this machine only.
	InsecureTLS bool
	// Timeout bounds the wait for one answer.
	Timeout time.Duration
	// Rate bounds how many requests a second are sent.
	Rate float64
}

// An Outcome is what a check came to.
type Outcome string

// The outcomes, as they are printed.
const (
	OK   Outcome = "ok"
	Fail Outcome = "FAIL"
	NA   Outcome = "n/a"
)

// A Result is the outcome of one check, in words.
type Result struct {
	Outcome Outcome `json:"outcome"`
	Family  string  `json:"family"`
	Name    string  `json:"name"`
	Sent    string  `json:"sent"` // what was sent
	Got     string  `json:"got"`  // what came; for NA why nothing was sent
	Why     string  `json:"why"`  // why it matters
	Tries   int     `json:"requests"`
	// Failures are the requests that failed, at most maxFailures.
	Failures []string `json:"failures,omitempty"`
}

// String is the line of a report.
func (r Result) String() string {
	return fmt.Sprintf("%-4s %s/%s: %s; %s (%s)", r.Outcome, r.Family, r.Name, r.Sent, r.Got, r.Why)
}

// A check is one attack in all its spellings.
type check struct {
	family, name string
	sent, why    string
	needs        need
	run          func(*suite, *verdict)
}

// need is what a check cannot do without.
type need int

const (
	session  need = 1 << iota // a live session
	echo                      // a path that shows what the application gets
	sending                   // leave to cost code requests
	ownPages                  // the gateway draws the sign-in form
)

// lacks says which of its needs a target does not meet; empty: none.
func (n need) lacks(t *Target) string {
	switch {
	case n&session != 0 && t.Session == "":
		return "needs a session: -session"
	case n&echo != 0 && t.Echo == "":
		return "needs a path that shows the headers which the application gets: -echo"
	case n&sending != 0 && !t.Send:
		return "costs code requests: -send"
	case n&ownPages != 0 && t.ShopForm:
		return "the application draws the form"
	}
	return ""
}

// all are the checks, in the order in which they run. What may end with this
// client being limited comes last.
func all() []check {
	return slices.Concat(pathChecks, methodChecks, headerChecks, framingChecks, cookieChecks,
		csrfChecks, redirectChecks, pageChecks, cachingChecks, oracleChecks, limitChecks)
}

// Families are the names by which some of the checks can be chosen.
func Families() []string {
	var names []string
	for _, c := range all() {
		if !slices.Contains(names, c.family) {
			names = append(names, c.family)
		}
	}
	return names
}

// ErrTarget: there is nothing that could be attacked as it was described.
var ErrTarget = errors.New("target")

// chosen tells whether a check is of a family, or is the check, that was asked for.
func (c check) chosen(only string) bool {
	return only == "" || only == c.family || only == c.family+"/"+c.name
}

// Run attacks a target with one family of checks, with one check alone
// (family/name), or with all of them if only is empty, and reports each result
// as it comes. An error, which wraps ErrTarget,
// means that the target is not what it was said to be; then nothing was tried.
func Run(ctx context.Context, t Target, only string, report func(Result)) error {
	if !slices.ContainsFunc(all(), func(c check) bool { return c.chosen(only) }) {
		return fmt.Errorf("%w: there is no family or check %q; families are %s", ErrTarget, only, strings.Join(Families(), ", "))
	}
	s, err := newSuite(ctx, t)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.meet(); err != nil {
		return err
	}
	for _, c := range all() {
		if c.chosen(only) {
			report(s.try(c))
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("%w: not all checks were made: %w", ErrTarget, err)
		}
	}
	return nil
}

// try runs one check.
func (s *suite) try(c check) Result {
	r := Result{Family: c.family, Name: c.name, Sent: c.sent, Why: c.why}
	if lack := c.needs.lacks(&s.Target); lack != "" {
		r.Outcome, r.Got = NA, lack
		return r
	}
	v := &verdict{}
	c.run(s, v)
	if s.alive != nil && !s.alive() { // or silence would pass for a refusal
		v.fail("the target answers no longer")
	}
	v.fill(&r)
	r.Got = s.scrub(r.Got)
	for i, f := range r.Failures {
		r.Failures[i] = s.scrub(f)
	}
	return r
}

// scrub takes the session out of a text, should an answer have held it.
func (s *suite) scrub(text string) string {
	if s.Session == "" {
		return text
	}
	return strings.ReplaceAll(text, s.Session, "[the session]")
}
