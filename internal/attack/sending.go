package attack

import (
	"crypto/rand"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

var oracleChecks = []check{
	{
		family: "oracle", name: "codes", needs: sending, run: (*suite).sameForBoth,
		sent: "a code request and a wrong code for each of two addresses that nobody has",
		why:  "answers must not differ but for the address, or they tell who has an account",
	},
}

var limitChecks = []check{
	{
		family: "limit", name: "wrong-codes", needs: sending, run: (*suite).guessing,
		sent: "up to 25 wrong codes for one address that nobody has",
		why:  "six digits are few: a million guesses open any account",
	},
}

// fresh is an address that belongs to nobody, never used before, always of the
// same length.
func fresh() string { return "nobody-" + strings.ToLower(rand.Text()[:12]) + "@example.com" }

// signIn asks for a code and returns the answer with the cookies it set, as a
// header line.
func (s *suite) signIn(address string) (*answer, string) {
	a := s.post(s.Login, url.Values{s.Email: {address}}.Encode(), ownSite)
	var pairs []string
	for _, c := range cookies(a) {
		pairs = append(pairs, c.Name+"="+c.Value)
	}
	return a, "Cookie: " + strings.Join(pairs, "; ")
}

func (s *suite) guess(address, line string) *answer {
	return s.post(s.Login, s.credentials(address), ownSite, line)
}

func (s *suite) sameForBoth(v *verdict) {
	var steps [2][2]string
	for i := range steps {
		address := fresh()
		first, line := s.signIn(address)
		second := s.guess(address, line)
		steps[i] = [2]string{shape(first, address), shape(second, address)}
		v.judge("code request", first, first.status < 400)
		v.judge("wrong code", second, second.status < 500)
	}
	for i, step := range []string{"code requests", "wrong codes"} {
		if steps[0][i] != steps[1][i] {
			v.fail("the answers to %s differ by address", step)
		}
	}
}

// shape is all of an answer that may not tell anything: without the address,
// the time and sealed values.
func shape(a *answer, address string) string {
	var b strings.Builder
	fmt.Fprintln(&b, a.status)
	for _, name := range slices.Sorted(maps.Keys(a.header)) {
		if slices.Contains([]string{"Date", "Set-Cookie", "Content-Length", "Retry-After"}, name) {
			continue
		}
		fmt.Fprintln(&b, name, a.header[name])
	}
	for _, c := range cookies(a) {
		fmt.Fprintln(&b, c.Name, c.Path, c.Domain, c.MaxAge, c.Secure, c.HttpOnly, c.SameSite, len(c.Value))
	}
	body := strings.ReplaceAll(a.body, address, "X")
	return b.String() + strings.ReplaceAll(body, url.QueryEscape(address), "X")
}

// guesses is how many wrong codes are tried; the gateway takes five of one
// account and twenty of one client as a default.
const guesses = 25

func (s *suite) guessing(v *verdict) {
	address := fresh()
	_, line := s.signIn(address)
	for range guesses {
		a := s.guess(address, line)
		if a.status == http.StatusTooManyRequests || strings.Contains(a.header.Get("Location"), "kibo_auth=limited") {
			v.judge("wrong code", a, a.header.Get("Retry-After") != "" || a.status/100 == 3)
			return
		}
		v.judge("wrong code", a, a.status == http.StatusUnauthorized || s.toLogin(a))
	}
	v.fail("%d wrong codes were all looked at", guesses)
}
