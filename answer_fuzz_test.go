package kiboauth

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// FuzzUpstreamAnswer: whatever the shop sets, no browser takes it for a cookie
// of ours, and all its other cookies stay; its word on the session stays inside,
// and is read as the three words and nothing else.
func FuzzUpstreamAnswer(f *testing.F) {
	for _, set := range []string{
		"a=1; Path=/", "__Host-kibo=evil; Path=/; Secure", "=__Host-kibo=evil", " = = __HOST-kibo =evil", "__Host-kibo", "a=1\n__host-KIBO-login=x\nb=2",
		"__Host-kibo2=1; __Host-kibo=2", "\t__Host-kibo-device\t=", "a=__Host-kibo=x", ";__Host-kibo=x", "\"__Host-kibo\"=x",
	} {
		f.Add(set, "end", http.StatusOK)
	}
	for _, said := range []string{"", "END", "end-all, refresh", " Refresh\t,,end ", "ends", "end;q=1", "end\n all", "refresh refresh"} {
		f.Add("a=1", said, http.StatusEarlyHints)
	}
	h := &Handler{cookies: testNames}
	h.Session.ControlHeader = "Shop-Session"
	f.Fuzz(func(t *testing.T, set, said string, status int) {
		if status < 103 || status > 599 {
			return
		}
		p, w := &passage{h: h}, httptest.NewRecorder()
		p.ResponseWriter = w
		lines := strings.Split(set, "\n")
		p.Header()["Set-Cookie"] = slices.Clone(lines)
		p.Header()["Shop-Session"] = []string{said}
		p.Header()[http.TrailerPrefix+"Shop-Session"] = []string{said}
		p.WriteHeader(status)
		kept := w.Header()["Set-Cookie"]
		if i := slices.IndexFunc(kept, comesBackAsOurs); i >= 0 {
			t.Errorf("the shop sets our cookie by %q", kept[i])
		}
		others := func(line string) bool { return strings.Contains(strings.ToLower(line), "__host-kibo") }
		if got, want := slices.DeleteFunc(slices.Clone(kept), others), slices.DeleteFunc(lines, others); !slices.Equal(got, want) {
			t.Errorf("of %q remains %q", want, got)
		}
		for name := range w.Header() {
			if strings.Contains(name, "Shop-Session") {
				t.Errorf("%s reaches the browser", name)
			}
		}
		checkControls(t, said)
	})
}

// comesBackAsOurs reads a Set-Cookie line as browsers do (RFC 6265bis §5.6), and
// the Cookie header that they make of it as a server does that does not mind case.
func comesBackAsOurs(line string) bool {
	pair, _, _ := strings.Cut(line, ";")
	name, value, found := strings.Cut(pair, "=")
	if name = strings.Trim(name, " \t"); !found {
		name, value = "", name
	}
	sent := strings.Trim(value, " \t")
	if name != "" {
		sent = name + "=" + sent
	}
	name, _, _ = strings.Cut(sent, "=")
	return isOurs(strings.NewReplacer("__host-kibo", "__Host-kibo").Replace(strings.ToLower(strings.Trim(name, " \t"))))
}

func checkControls(t *testing.T, said string) {
	t.Helper()
	words, known := controls([]string{said})
	want, strange := map[string]bool{}, false
	for _, word := range strings.FieldsFunc(said, func(c rune) bool { return c == ',' }) {
		switch word = strings.Trim(word, " \t"); {
		case strings.EqualFold(word, "end") || strings.EqualFold(word, "end-all") || strings.EqualFold(word, "refresh"):
			want[strings.ToLower(word)] = true
		case word != "":
			strange = true
		}
	}
	if known == strange || len(words) != len(want) {
		t.Errorf("controls(%q) = %v, %v, want %v", said, words, known, want)
	}
}

// FuzzPages: what a visitor has typed is text on our pages: it makes no element
// and no attribute, and none of it is where a URL stands. It is there as the
// template would put it.
func FuzzPages(f *testing.F) {
	for _, text := range []string{
		"", jane, `"><script>alert(1)</script>`, "' onfocus=alert(1) autofocus='", "</style><img src=x>", "{{.Login}}", "{http.request.host}", "javascript:alert(1)",
		"\x00\xff<", "&quot;&lt;", "<!--", "]]>", "\u2028", "a\r\nb", "＜script＞",
	} {
		f.Add(text, "/cart", uint8(0), uint8(0))
		f.Add(jane, text, uint8(1), uint8(1))
		f.Add(text, text, uint8(2), uint8(3))
	}
	shown, err := newPages(Brand{}, testFields())
	if err != nil {
		f.Fatal(err)
	}
	view := func(email, to string, step, what uint8) loginView {
		return loginView{loginState: loginState{Step: loginStep(step % 3), Notice: notice(what % 9)}, Email: email, ReturnTo: to}
	}
	f.Fuzz(func(t *testing.T, email, to string, step, what uint8) {
		plain := func(s string) string { return map[bool]string{true: "x"}[s != ""] }
		checkOutline(t, shown, view(email, to, step, what))
		got := skeleton(drawLogin(t, shown, view(email, to, step, what)).Body.String())
		want := skeleton(drawLogin(t, shown, view(plain(email), plain(to), step, what)).Body.String())
		if !slices.Equal(got, want) {
			t.Errorf("with %q and %q the page is made of\n%q\nwant\n%q", email, to, got, want)
		}
	})
}

// skeleton is a page without its texts and values, but with those of attributes
// that take URLs.
func skeleton(page string) (parts []string) {
	for tokens := html.NewTokenizer(strings.NewReader(page)); tokens.Next() != html.ErrorToken; {
		token := tokens.Token()
		if token.Type == html.TextToken {
			continue
		}
		part := token.Type.String() + " " + token.Data
		for _, a := range token.Attr {
			part += " " + a.Key
			if a.Key == "href" || a.Key == "action" || a.Key == "src" || a.Key == "style" {
				part += "=" + a.Val
			}
		}
		parts = append(parts, part)
	}
	return parts
}
