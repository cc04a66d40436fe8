package kiboauth

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

var testNames = newCookieNames("__Host-kibo")

// cookieLines are what a browser may send, one case shared by tests and fuzzing.
var cookieLines = []struct {
	name           string
	lines, kept    []string
	session, login string
	torn           bool
}{
	{name: "no header"},
	{name: "absent", lines: []string{"a=1; b=2"}, kept: []string{"a=1; b=2"}},
	{name: "only", lines: []string{"__Host-kibo=x"}, session: "x"},
	{name: "first", lines: []string{"__Host-kibo=x; a=1; b=2"}, kept: []string{"a=1; b=2"}, session: "x"},
	{name: "middle", lines: []string{"a=1; __Host-kibo=x; b=2"}, kept: []string{"a=1; b=2"}, session: "x"},
	{name: "last", lines: []string{"a=1; b=2; __Host-kibo=x"}, kept: []string{"a=1; b=2"}, session: "x"},
	{name: "both of ours", lines: []string{"__Host-kibo-login=y; a=1; __Host-kibo=x"}, kept: []string{"a=1"}, session: "x", login: "y"},
	{name: "all of ours", lines: []string{"__Host-kibo-device=z; a=1; __Host-kibo-login=y; b=2; __Host-kibo=x"}, kept: []string{"a=1; b=2"}, session: "x", login: "y"},
	{name: "device alone", lines: []string{"a=1; __Host-kibo-device=z"}, kept: []string{"a=1"}},
	{name: "twice the same", lines: []string{"__Host-kibo=x; a=1; __Host-kibo=x"}, kept: []string{"a=1"}, session: "x"},
	{name: "tossed: twice with different values", lines: []string{"__Host-kibo=x; a=1; __Host-kibo=evil"}, kept: []string{"a=1"}, torn: true},
	{name: "tossed: and then the first again", lines: []string{"__Host-kibo=x; __Host-kibo=evil; __Host-kibo=x"}, torn: true},
	{name: "tossed: empty beside full", lines: []string{"__Host-kibo=; __Host-kibo=x"}, torn: true},
	{name: "tossed: in two lines", lines: []string{"__Host-kibo=x; a=1", "b=2; __Host-kibo=evil"}, kept: []string{"a=1", "b=2"}, torn: true},
	{name: "a line of its own", lines: []string{"a=1", "__Host-kibo=x", "b=2"}, kept: []string{"a=1", "b=2"}, session: "x"},
	{name: "no value", lines: []string{"a=1; __Host-kibo; b=2"}, kept: []string{"a=1; b=2"}},
	{name: "empty value", lines: []string{"__Host-kibo=; a=1"}, kept: []string{"a=1"}},
	{name: "value with an equals sign", lines: []string{"__Host-kibo=x=y; a=1"}, kept: []string{"a=1"}, session: "x=y"},
	{name: "quoted value", lines: []string{`__Host-kibo="x"; a=1`}, kept: []string{"a=1"}, session: `"x"`},
	{name: "encoded value", lines: []string{"__Host-kibo=%78; a=1"}, kept: []string{"a=1"}, session: "%78"},
	{name: "semicolons without blanks", lines: []string{"a=1;__Host-kibo=x;b=2"}, kept: []string{"a=1;b=2"}, session: "x"},
	{name: "first without a blank", lines: []string{"__Host-kibo=x;a=1"}, kept: []string{"a=1"}, session: "x"},
	{name: "tabs and blanks", lines: []string{"a=1;\t __Host-kibo=x \t;  b=2"}, kept: []string{"a=1;  b=2"}, session: "x"},
	{name: "semicolon at the end", lines: []string{"a=1; __Host-kibo=x;"}, kept: []string{"a=1;"}, session: "x"},
	{name: "empty pairs", lines: []string{";; a=1;;__Host-kibo=x;;"}, kept: []string{";; a=1;;;"}, session: "x"},
	{name: "odd cookies of the shop", lines: []string{`a="1; 2"; b={"x":1,"y":[2]}; c==;  d ; e=é` + "; __Host-kibo=x"}, kept: []string{`a="1; 2"; b={"x":1,"y":[2]}; c==;  d ; e=é`}, session: "x"},
	{name: "inside a value", lines: []string{"a=__Host-kibo=x; b=1,__Host-kibo=x"}, kept: []string{"a=__Host-kibo=x; b=1,__Host-kibo=x"}},
	{name: "look-alike: case", lines: []string{"__host-kibo=x; __HOST-KIBO=x"}, kept: []string{"__host-kibo=x; __HOST-KIBO=x"}},
	{name: "look-alike: other prefix", lines: []string{"__Secure-kibo=x; kibo=x"}, kept: []string{"__Secure-kibo=x; kibo=x"}},
	{name: "look-alike: longer and shorter", lines: []string{"__Host-kibo2=x; __Host-kib=x; __Host-kibo-login2=x; __Host-kibo-devic=x"}, kept: []string{"__Host-kibo2=x; __Host-kib=x; __Host-kibo-login2=x; __Host-kibo-devic=x"}},
	{name: "look-alike: no-break space", lines: []string{"\u00a0__Host-kibo=x"}, kept: []string{"\u00a0__Host-kibo=x"}},
	{name: "look-alike: raw byte A0", lines: []string{"\xa0__Host-kibo=x"}, kept: []string{"\xa0__Host-kibo=x"}},
	{name: "look-alike: en quad", lines: []string{"\u2000__Host-kibo=x"}, kept: []string{"\u2000__Host-kibo=x"}},
	{name: "look-alike: byte order mark", lines: []string{"\ufeff__Host-kibo=x"}, kept: []string{"\ufeff__Host-kibo=x"}},
	{name: "look-alike: vertical tab, form feed", lines: []string{"\v__Host-kibo=x; \f__Host-kibo=x"}, kept: []string{"\v__Host-kibo=x; \f__Host-kibo=x"}},
	{name: "look-alike: quoted name", lines: []string{`"__Host-kibo"=x`}, kept: []string{`"__Host-kibo"=x`}},
	{name: "look-alike: encoded name", lines: []string{"__Host%2Dkibo=x; __Host-kib%6f=x"}, kept: []string{"__Host%2Dkibo=x; __Host-kib%6f=x"}},
	{name: "look-alike: $Version", lines: []string{"$Version=1; $__Host-kibo=x"}, kept: []string{"$Version=1; $__Host-kibo=x"}},
	{name: "with $Version and $Path", lines: []string{"$Version=1; __Host-kibo=x; $Path=/"}, kept: []string{"$Version=1; $Path=/"}, session: "x"},
	{name: "look-alike: nameless", lines: []string{"=__Host-kibo=x"}, kept: []string{"=__Host-kibo=x"}},
	{name: "look-alike: divided by a comma", lines: []string{"a=1, __Host-kibo=x"}, kept: []string{"a=1, __Host-kibo=x"}},
}

func TestTakeCookies(t *testing.T) {
	for _, tt := range cookieLines {
		t.Run(tt.name, func(t *testing.T) {
			header, own := http.Header{}, credentials{}
			if tt.lines != nil {
				header["Cookie"] = slices.Clone(tt.lines)
			}
			testNames.take(header, &own)
			if got := header["Cookie"]; !slices.Equal(got, tt.kept) {
				t.Errorf("take(%q) keeps %q, want %q", tt.lines, got, tt.kept)
			}
			if _, there := header["Cookie"]; there != (tt.kept != nil) {
				t.Errorf("take(%q): Cookie header there = %v, want %v", tt.lines, there, tt.kept != nil)
			}
			if own.session.value != tt.session || own.login.value != tt.login || (own.session.torn != nil) != tt.torn {
				t.Errorf("take(%q) = %+v, want %q, %q, torn %v", tt.lines, own, tt.session, tt.login, tt.torn)
			}
		})
	}
}

func TestTinyCookieFlood(t *testing.T) {
	pairs := make([]string, 5000)
	for i := range pairs {
		pairs[i] = fmt.Sprintf("c%d=", i)
	}
	others := strings.Join(pairs, "; ")
	header, own := http.Header{"Cookie": {others + "; __Host-kibo=x"}}, credentials{}
	testNames.take(header, &own)
	if got := header.Get("Cookie"); got != others || own.session.value != "x" {
		t.Errorf("take of 5,000 cookies: session %q, %d bytes kept, want x and %d", own.session.value, len(got), len(others))
	}
	if n := takeAllocs(others + "; __Host-kibo=x"); n > 0 {
		t.Errorf("take of 5,000 cookies allocates %v times, want 0", n)
	}
}

// Copies of our own cookie must not cost the square of their number.
func TestOwnCookieFlood(t *testing.T) {
	line := strings.Repeat("a=1;__Host-kibo=x;", 5000)
	header, own := http.Header{"Cookie": {line}}, credentials{}
	testNames.take(header, &own)
	if got, want := header.Get("Cookie"), strings.Repeat("a=1;", 5000); got != want || own.session.value != "x" {
		t.Errorf("take of 5,000 copies: session %q, %d bytes kept, want x and %d", own.session.value, len(got), len(want))
	}
	if n := takeAllocs(line); n > 2 {
		t.Errorf("take of 5,000 copies allocates %v times, want 2 at most", n)
	}
}

func takeAllocs(line string) float64 {
	lines := []string{""}
	header := http.Header{"Cookie": lines}
	return testing.AllocsPerRun(20, func() {
		lines[0], header["Cookie"] = line, lines
		var own credentials
		testNames.take(header, &own)
	})
}

func TestTakeAllocations(t *testing.T) {
	for _, tt := range []struct {
		line string
		most float64
	}{
		{"a=1; b=2; c=3", 0},
		{"a=1; b=2; __Host-kibo=x", 0},
		{"__Host-kibo=x", 0},
		{"a=1; __Host-kibo=x; b=2", 1},
		{"__Host-kibo=x; a=1", 1},
	} {
		if got := takeAllocs(tt.line); got > tt.most {
			t.Errorf("take(%q) allocates %v times, want %v at most", tt.line, got, tt.most)
		}
	}
}

// pairsOf reads a Cookie line as simply as can be: it is what take is held
// against.
func pairsOf(lines []string) (pairs []string) {
	for _, line := range lines {
		for pair := range strings.SplitSeq(line, ";") {
			if pair = strings.Trim(pair, " \t"); pair != "" {
				pairs = append(pairs, pair)
			}
		}
	}
	return pairs
}

func isOurs(pair string) bool {
	name, _, _ := strings.Cut(pair, "=")
	return name == testNames.session || name == testNames.login || name == testNames.device
}

// FuzzTakeCookies: what remains has no pair of ours, and every other pair, in
// order, byte for byte.
func FuzzTakeCookies(f *testing.F) {
	for _, tt := range cookieLines {
		f.Add(strings.Join(tt.lines, "\n"))
	}
	f.Fuzz(func(t *testing.T, text string) {
		lines := strings.Split(text, "\n")
		header, own := http.Header{"Cookie": slices.Clone(lines)}, credentials{}
		testNames.take(header, &own)
		if i := slices.IndexFunc(pairsOf(header["Cookie"]), isOurs); i >= 0 {
			t.Errorf("take(%q) leaves one of ours in %q", lines, header["Cookie"])
		}
		want := slices.DeleteFunc(pairsOf(lines), isOurs)
		if got := pairsOf(header["Cookie"]); !slices.Equal(got, want) {
			t.Errorf("take(%q) keeps %q, want %q", lines, got, want)
		}
		if want := sessionIn(lines); own.session.value != want {
			t.Errorf("take(%q) finds %q, want %q", lines, own.session.value, want)
		}
	})
}

// sessionIn is the one value that all session cookies have, else nothing.
func sessionIn(lines []string) string {
	var values []string
	for _, pair := range pairsOf(lines) {
		if name, value, _ := strings.Cut(pair, "="); name == testNames.session {
			values = append(values, value)
		}
	}
	if values = slices.Compact(values); len(values) != 1 {
		return ""
	}
	return values[0]
}

func TestUpstreamSetsOurCookie(t *testing.T) {
	tests := []struct {
		name      string
		set, kept []string
	}{
		{"nothing", nil, nil},
		{"others only", []string{"a=1; Path=/", "b=2"}, []string{"a=1; Path=/", "b=2"}},
		{"ours among others", []string{"a=1", "__Host-kibo=evil; Path=/; Secure", "b=2"}, []string{"a=1", "b=2"}},
		{"ours only", []string{"__Host-kibo=evil", "__Host-kibo-login=evil", "__Host-kibo-device=evil", "__host-kibo-DEVICE"}, nil},
		{"removal", []string{"__Host-kibo=; Max-Age=0"}, nil},
		{"another case", []string{"__HOST-Kibo=evil"}, nil},
		{"blanks", []string{" \t__Host-kibo \t=evil"}, nil},
		{"without a value", []string{"__Host-kibo; Path=/", "__Host-kibo"}, nil},
		{"nameless, which browsers send back under our name", []string{"=__Host-kibo=evil", " = __Host-kibo=evil; Path=/"}, nil},
		{"name in an attribute", []string{"a=1; Path=/__Host-kibo=x", "a; __Host-kibo=x"}, []string{"a=1; Path=/__Host-kibo=x", "a; __Host-kibo=x"}},
		{"look-alikes", []string{"__Host-kibo2=1", "kibo=1"}, []string{"__Host-kibo2=1", "kibo=1"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			header := http.Header{}
			if tt.set != nil {
				header["Set-Cookie"] = slices.Clone(tt.set)
			}
			testNames.filterSet(header, "Set-Cookie")
			if got := header["Set-Cookie"]; !slices.Equal(got, tt.kept) || (got == nil) != (tt.kept == nil) {
				t.Errorf("filterSet(%q) keeps %q, want %q", tt.set, got, tt.kept)
			}
		})
	}
}

func TestCookieAttributes(t *testing.T) {
	tests := []struct {
		name   string
		cookie Cookie
		age    time.Duration
		want   string
	}{
		{"default", Cookie{}, 0, "__Host-kibo=v; Path=/; HttpOnly; Secure; SameSite=Lax"},
		{"remembered", Cookie{}, 90 * time.Second, "__Host-kibo=v; Path=/; Max-Age=90; HttpOnly; Secure; SameSite=Lax"},
		{"taken back", Cookie{}, -time.Second, "__Host-kibo=v; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax"},
		{"strict", Cookie{SameSite: "Strict"}, 0, "__Host-kibo=v; Path=/; HttpOnly; Secure; SameSite=Strict"},
		{"none", Cookie{SameSite: "none"}, 0, "__Host-kibo=v; Path=/; HttpOnly; Secure; SameSite=None"},
		{"insecure", Cookie{Insecure: true}, 0, "kibo=v; Path=/; HttpOnly; SameSite=Lax"},
		{"domain", Cookie{Domain: "example.com"}, 0, "__Secure-kibo=v; Path=/; Domain=example.com; HttpOnly; Secure; SameSite=Lax"},
		{"path", Cookie{Path: "/shop"}, 0, "__Secure-kibo=v; Path=/shop; HttpOnly; Secure; SameSite=Lax"},
		{"name", Cookie{Name: "sid"}, 0, "sid=v; Path=/; HttpOnly; Secure; SameSite=Lax"},
	}
	for _, tt := range tests {
		tt.cookie.setDefaults()
		if got := tt.cookie.cookie(tt.cookie.Name, "v", tt.age).String(); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}
