package caddytest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"
)

// slowness is how much longer Kibo may think about one account than another.
// Where it thinks of its own accord the differences are smaller; what the test
// sees at these, it would see at those with more samples.
var slowness = map[string]time.Duration{
	"nobody@example.com": 0, "nootp@example.com": 2 * time.Millisecond, "inactive@example.com": 5 * time.Millisecond,
	"locked@example.com": 8 * time.Millisecond, jane: 14 * time.Millisecond,
}

// thinking makes Kibo take its time, by the account that a call is about.
func thinking(next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body := readAll(r.Body)
		var about struct{ EmailAddress, Email, UserName string }
		_ = json.Unmarshal(body, &about)
		for email, wait := range slowness {
			if slices.Contains([]string{about.EmailAddress, about.Email, about.UserName}, email) {
				<-time.After(wait)
			}
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		next.ServeHTTP(rw, r)
	})
}

// A sample is how long the two steps of one try took.
type sample struct{ first, second time.Duration }

// samples times many tries for every account, in an order by chance.
func (w *world) samples(t *testing.T, each int) map[string][]sample {
	t.Helper()
	var order []string
	for email := range slowness {
		order = append(order, slices.Repeat([]string{email}, each)...)
	}
	rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	all := map[string][]sample{}
	b := w.browser()
	for _, email := range order {
		b.cookies = map[string]string{}
		began := time.Now()
		one := b.post("/login", url.Values{"email": {email}})
		between := time.Now()
		two := b.post("/login", url.Values{"email": {email}, "otpCode": {"not it"}})
		all[email] = append(all[email], sample{between.Sub(began), time.Since(between)})
		if one.status != http.StatusOK || two.status != http.StatusUnauthorized {
			t.Fatalf("%s: %d and %d, want 200 and 401", email, one.status, two.status)
		}
		for len(w.mail.box(email)) > 0 {
			<-w.mail.box(email)
		}
	}
	return all
}

// effect is how often a time of one kind is longer than one of the other: the
// rank-sum statistic of Mann and Whitney, divided by the number of pairs. 0.5
// tells nothing, 0 and 1 tell all.
func effect(a, b []time.Duration) float64 {
	longer := 0.0
	for _, x := range a {
		for _, y := range b {
			switch {
			case x > y:
				longer++
			case x == y:
				longer += 0.5
			}
		}
	}
	return longer / float64(len(a)*len(b))
}

// worst is the clearest difference between any account and the unknown one.
func worst(all map[string][]sample, step func(sample) time.Duration) (distance float64, email string) {
	times := func(email string) (list []time.Duration) {
		for _, s := range all[email] {
			list = append(list, step(s))
		}
		return list
	}
	for known := range all {
		if known == "nobody@example.com" {
			continue
		}
		if d := max(effect(times(known), times("nobody@example.com")), effect(times("nobody@example.com"), times(known))) - 0.5; d > distance {
			distance, email = d, known
		}
	}
	return distance, email
}

func first(s sample) time.Duration  { return s.first }
func second(s sample) time.Duration { return s.second }

// TestTimesTellNoAccountFromNone: a stranger who times sign-ins learns nothing
// of an account: not that there is one, nor that it is locked, inactive or may
// not sign in by code, although Kibo takes up to 14 ms longer over some.
//
// Five kinds of account are tried 24 times each, mixed by chance, and each
// kind is compared with the address that has none by ranks. With no difference
// the distance from 0.5 has a standard deviation of
// sqrt((24+24+1)/(12·24·24)) = 0.084, and so lies above 0.35 in one comparison
// of about 30,000. The test fails if any of eight comparisons does so in three
// rounds in a row: by chance, never. Without the floor, which is tried as well,
// the same statistic tells the accounts apart.
func TestTimesTellNoAccountFromNone(t *testing.T) {
	const clear = 0.35
	w := start(t, setup{limits: "limit off\nlimit floor 0s"})
	w.tapped(thinking)
	if distance, email := worst(w.samples(t, 12), second); distance < clear {
		t.Errorf("without a floor the greatest difference is %.2f (%s): the test sees nothing", distance, email)
	}
	w.setup.limits = "limit off\nlimit floor 50ms"
	w.reload()
	w.settle()
	var found string
	for range 3 {
		all := w.samples(t, 24)
		one, whose := worst(all, first)
		two, whoseElse := worst(all, second)
		t.Logf("greatest distance from 0.5: first step %.2f (%s), second step %.2f (%s)", one, whose, two, whoseElse)
		if one < clear && two < clear {
			return
		}
		found = fmt.Sprintf("first step %.2f (%s), second step %.2f (%s)", one, whose, two, whoseElse)
	}
	t.Errorf("three times in a row the times tell accounts apart: %s", found)
}
