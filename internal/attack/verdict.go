package attack

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// maxFailures is how many failures of a check are kept, maxShown how many of
// them, or kinds of answers, a line of the report shows.
const (
	maxFailures = 100
	maxShown    = 3
)

// A verdict gathers what the requests of a check came to.
type verdict struct {
	tries    int
	failed   int
	failures []string
	came     map[string]int // answers, counted
	na       string
}

// skip says why a check cannot tell anything.
func (v *verdict) skip(format string, args ...any) { v.na = fmt.Sprintf(format, args...) }

// fail notes a failure that is no answer's.
func (v *verdict) fail(format string, args ...any) {
	v.failed++
	if len(v.failures) < maxFailures {
		v.failures = append(v.failures, fmt.Sprintf(format, args...))
	}
}

// judge counts an answer, and notes as a failure what was sent for it if it is
// not good.
func (v *verdict) judge(sent string, a *answer, good bool) {
	v.tries++
	if v.came == nil {
		v.came = map[string]int{}
	}
	v.came[a.String()]++
	if !good {
		v.fail("%s → %s", short(sent), a)
	}
}

// short makes a payload fit into a line.
func short(sent string) string {
	const most = 120
	if len(sent) > most {
		sent = sent[:most] + fmt.Sprintf("… (%d bytes)", len(sent))
	}
	return fmt.Sprintf("%q", sent)
}

// fill completes a result. A check that failed has failed, whatever it could
// not tell.
func (v *verdict) fill(r *Result) {
	r.Tries, r.Failures = v.tries, v.failures
	switch {
	case v.failed > 0:
		r.Outcome = Fail
		r.Got = fmt.Sprintf("%d failed of %d sent: %s", v.failed, v.tries, strings.Join(v.failures[:min(maxShown, len(v.failures))], ", "))
	case v.na != "":
		r.Outcome, r.Got = NA, v.na
	case v.tries == 0:
		r.Outcome, r.Got = Fail, "nothing was sent"
	default:
		r.Outcome, r.Got = OK, v.summary()
	}
}

// summary counts the answers, the most frequent first.
func (v *verdict) summary() string {
	kinds := slices.SortedFunc(maps.Keys(v.came), func(a, b string) int {
		if d := v.came[b] - v.came[a]; d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	for i, kind := range kinds {
		kinds[i] = fmt.Sprintf("%d × %s", v.came[kind], kind)
	}
	if more := len(kinds) - maxShown; more > 1 {
		kinds = append(kinds[:maxShown], fmt.Sprintf("%d other answers", more))
	}
	return strings.Join(kinds, ", ")
}
