package verify

import (
	"runtime"
	"strings"
	"testing"
)

// garbage is what one refusal allocates, in bytes, at best of some tries:
// whatever else the process does can only make it more.
func garbage(t *testing.T, v *Verifier, token string) uint64 {
	t.Helper()
	const runs = 10
	least := ^uint64(0)
	for range 3 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range runs {
			if _, err := v.Verify(t.Context(), token, now); err == nil {
				t.Fatal("accepted")
			}
		}
		runtime.ReadMemStats(&after)
		least = min(least, (after.TotalAlloc-before.TotalAlloc)/runs)
	}
	return least
}

// TestExpensiveTokens: what is not to be believed costs little, since anybody
// may send it (CVE-2025-30204 allocated for every dot).
func TestExpensiveTokens(t *testing.T) {
	fill := func(unit string, n int) string { return strings.TrimSuffix(strings.Repeat(unit, n), ",") }
	claims := func(s string) string { return b64(`{"alg":"HS256"}`) + "." + b64(s) + ".AAAA" }
	header := func(s string) string { return b64(s) + "." + b64(goodClaims) + ".AAAA" }
	tests := map[string]string{
		"200,000 dots":                    fill(".", 200_000),
		"8 KiB of dots":                   fill(".", maxToken),
		"200,000 dots behind a token":     good("HS256", secret, "") + fill(".", 200_000),
		"1 MiB":                           fill("A", 1<<20),
		"1 MiB of claims":                 claims(`{"x":"` + fill("A", 1<<20) + `"}`),
		"kid of 60 KB":                    good("HS256", secret, fill("k", 60_000)),
		"kid of 5 KB":                     good("HS384", secret, fill("k", 5_000)),
		"claims nested 100,000 deep":      claims(`{"x":` + fill("[", 100_000) + fill("]", 100_000) + `}`),
		"header nested 100,000 deep":      header(fill(`{"a":`, 100_000)),
		"claims nested as deep as fits":   claims(fill("[", 6_000)),
		"header nested as deep as fits":   header(fill("[", 5_000)),
		"header of objects as deep":       header(fill(`{"a":`, 1_000)),
		"nested and closed":               claims(`{"x":` + fill("[", 2_900) + fill("]", 2_900) + `}`),
		"thousands of numbers":            claims(`{"x":[` + fill("1,", 2_900) + `]}`),
		"thousands of lists":              claims(`{"x":[` + fill("[],", 1_900) + `]}`),
		"thousands of objects":            claims(`{"x":[` + fill("{},", 1_900) + `]}`),
		"hundreds of the same name":       claims(`{` + fill(`"x":1,`, 900) + `}`),
		"hundreds of names by escape":     claims(`{` + fill(`"\u0041":1,`, 500) + `}`),
		"a text of escapes":               claims(`{"x":"` + fill(`\u0041`, 950) + `"}`),
		"an exponent":                     claims(`{"exp":1e999999999}`),
		"a number of 5,000 digits":        claims(`{"exp":` + fill("9", 5_000) + `}`),
		"a fraction of 5,000 digits":      claims(`{"exp":0.` + fill("1", 5_000) + `}`),
		"a signature of 6 KB":             good("HS256", secret, "") + fill("A", 6_000),
		"brackets that a text hides":      claims(`{"x":"\"` + fill("[", 3_000) + `","y":` + fill("[", 2_000) + `}`),
		"brackets behind closing ones":    claims(fill("]", 3_000) + fill("[", 3_000)),
		"brackets behind half a text":     claims(`{"x":"` + fill("[", 5_000)),
		"brackets behind a lone escape":   claims(`{\"x":` + fill("[", 5_000)),
		"thousands of commas":             claims(`{"x":1` + fill(",", 5_000) + `}`),
		"deep header in a foreign alg":    header(`{"alg":"HS1","x":` + fill("[", 2_000) + `}`),
		"line breaks":                     fill("\n", 200_000),
		"percent signs":                   fill("%2e", 60_000),
		"one segment, no dot, at the cap": fill("A", maxToken),
	}
	v := newVerifier(t, Config{HMACKeys: [][]byte{secret}})
	for name, token := range tests {
		t.Run(name, func(t *testing.T) {
			if n := garbage(t, v, token); n > 64<<10 {
				t.Errorf("a refusal makes %d KiB of garbage, want 64 at most", n>>10)
			}
			refuse(t, v, token)
		})
	}
}

// TestAsManyValuesAsAllowed: a token at the bound is read, and the bound keeps
// what that costs within reason.
func TestAsManyValuesAsAllowed(t *testing.T) {
	v := newVerifier(t, Config{HMACKeys: [][]byte{secret}})
	const user = `"https://www.kibocommerce.com/user_claims":{`
	token := func(n int) string {
		return sign("HS256", secret, goodHeader("HS256", ""), swap(t, goodClaims, user, user+`"more":[`+strings.Repeat("1,", n)+`1],`))
	}
	values := strings.Count(goodClaims, ",") + 2
	if _, err := v.Verify(t.Context(), token(maxValues-values-1), now); err != nil {
		t.Errorf("%d values: %v, want accepted", maxValues, err)
	}
	refuse(t, v, token(maxValues-values+20))
	stale := newVerifier(t, Config{Issuer: "another"})
	if n := garbage(t, stale, token(maxValues-values-1)); n > 300<<10 {
		t.Errorf("%d KiB of garbage, want 300 at most", n>>10)
	}
}
