package kiboauth

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// testFields are those of pages with everything on them but a password.
func testFields() loginFields {
	return loginFields{
		Action: "/login", EmailField: "email", CodeField: "otpCode", RememberField: "remember", ReturnField: "returnUrl",
		SendCodeField: sendCodeField, ResendField: resendField,
		Hidden: [][2]string{{"form_key", "k1"}},
	}
}

func testPages(t *testing.T, b Brand) *pages {
	t.Helper()
	return pagesWith(t, b, testFields())
}

func pagesWith(t *testing.T, b Brand, f loginFields) *pages {
	t.Helper()
	p, err := newPages(b, f)
	if err != nil {
		t.Fatalf("newPages(%+v): %v", b, err)
	}
	return p
}

// testLogin is a page with everything on it.
func testLogin(step loginStep, n notice) loginView {
	return loginView{
		loginState: loginState{Step: step, Remember: true, Notice: n, Retry: 50 * time.Second},
		Email:      "kim@example.com", ReturnTo: "/account?tab=orders",
	}
}

func drawLogin(t *testing.T, p *pages, v loginView) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	p.login(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/login", nil), http.StatusOK, v)
	return w
}

func drawFailure(t *testing.T, p *pages, v errorView) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	p.failure(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil), v)
	return w
}

func TestPageHeaders(t *testing.T) {
	p := testPages(t, Brand{})
	tests := []struct {
		name   string
		answer *httptest.ResponseRecorder
	}{
		{"login", drawLogin(t, p, testLogin(stepEmail, noticeLimited))},
		{"error", drawFailure(t, p, errorView{Status: http.StatusOK, Retry: 50 * time.Second})},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			body := tt.answer.Body.String()
			_, rest, _ := strings.Cut(body, "<style>")
			style, _, _ := strings.Cut(rest, "</style>")
			sum := sha256.Sum256([]byte(style))
			want := http.Header{
				"Content-Type":   {"text/html; charset=utf-8"},
				"Content-Length": {strconv.Itoa(len(body))},
				"Cache-Control":  {"no-store"},
				"Content-Security-Policy": {"default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
					"'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"},
				"Cross-Origin-Opener-Policy": {"same-origin"},
				"Referrer-Policy":            {"same-origin"},
				"Retry-After":                {"50"},
				"X-Content-Type-Options":     {"nosniff"},
			}
			for name := range tt.answer.Header() {
				if want[name] == nil {
					t.Errorf("unexpected header %s: %q", name, tt.answer.Header()[name])
				}
			}
			for name := range want {
				if got := tt.answer.Header()[name]; !slices.Equal(got, want[name]) {
					t.Errorf("%s: got %q, want %q", name, got, want[name])
				}
			}
		})
	}
}

func TestPagePolicyForLogo(t *testing.T) {
	tests := []struct{ logo, want string }{
		{"", ""},
		{"/logo.svg", "; img-src 'self';"},
		{"https://CDN.example.com:8443/l.png?a;b", "; img-src https://cdn.example.com:8443;"},
	}
	for _, tt := range tests {
		w := drawLogin(t, testPages(t, Brand{Logo: tt.logo}), loginView{})
		csp := w.Header().Get("Content-Security-Policy")
		if tt.want == "" && strings.Contains(csp, "img-src") || !strings.Contains(csp, tt.want) {
			t.Errorf("policy with logo %q is %q, want %q in it", tt.logo, csp, tt.want)
		}
	}
}

func TestHeadHasNoBody(t *testing.T) {
	p := testPages(t, Brand{})
	want := drawLogin(t, p, testLogin(stepCode, noticeNone)).Header().Get("Content-Length")
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodHead, "/login", nil)
	p.login(w, r, http.StatusOK, testLogin(stepCode, noticeNone))
	if w.Body.Len() != 0 || w.Header().Get("Content-Length") != want {
		t.Errorf("HEAD: %d bytes of body, Content-Length %q, want none and %q", w.Body.Len(), w.Header().Get("Content-Length"), want)
	}
}

func TestRetryAfterIsRoundedUp(t *testing.T) {
	tests := []struct {
		retry       time.Duration
		header, say string
	}{
		{0, "", "a little later."},
		{-time.Second, "", "a little later."},
		{time.Millisecond, "1", "in a few seconds."},
		{10 * time.Second, "10", "in a few seconds."},
		{10001 * time.Millisecond, "11", "in about 1 minute."},
		{time.Minute, "60", "in about 1 minute."},
		{61 * time.Second, "61", "in about 2 minutes."},
		{time.Hour, "3600", "in about 60 minutes."},
		{100 * time.Minute, "6000", "in about 2 hours."},
		{24 * time.Hour, "86400", "in about 24 hours."},
	}
	p := testPages(t, Brand{})
	for _, tt := range tests {
		v := testLogin(stepEmail, noticeLimited)
		v.Retry = tt.retry
		w := drawLogin(t, p, v)
		if got := w.Header().Get("Retry-After"); got != tt.header {
			t.Errorf("Retry-After for %v = %q, want %q", tt.retry, got, tt.header)
		}
		if got := visible(w.Body.String()); !strings.Contains(got, tt.say) {
			t.Errorf("page for %v says %q, want %q", tt.retry, got, tt.say)
		}
	}
}

func TestErrorPage(t *testing.T) {
	p := testPages(t, Brand{Name: "Harbour Supply Co."})
	w := drawFailure(t, p, errorView{
		Status: 503, Title: "We will be right back", Text: "You are still signed in.",
		Retry: 30 * time.Second, Reference: "7f3a91c2", Back: "/account?tab=orders",
	})
	if w.Code != 503 || w.Header().Get("Retry-After") != "30" {
		t.Errorf("got status %d, Retry-After %q, want 503 and 30", w.Code, w.Header().Get("Retry-After"))
	}
	want := "Harbour Supply Co. We will be right back You are still signed in. Please try again in about 1 minute. " +
		"If you ask for help, mention 7f3a91c2 Go back"
	if got := visible(w.Body.String()); got != want {
		t.Errorf("page says\n%q, want\n%q", got, want)
	}
	if !strings.Contains(w.Body.String(), "<title>Error: We will be right back – Harbour Supply Co.</title>") {
		t.Error("title does not say that this is an error")
	}
	if find(elements(t, w.Body.String()), "href", "/account?tab=orders") == nil {
		t.Error("no link back")
	}
}

func TestErrorPageOfEachStatus(t *testing.T) {
	p := testPages(t, Brand{})
	for _, status := range []int{400, 401, 403, 405, 413, 415, 421, 429, 500, 502, 503} {
		w := drawFailure(t, p, errorView{Status: status})
		if want := http.StatusText(status); w.Code != status || visible(w.Body.String()) != want {
			t.Errorf("got status %d and %q, want %d and %q", w.Code, visible(w.Body.String()), status, want)
		}
	}
}

func TestBrandOnPage(t *testing.T) {
	tests := []struct {
		name  string
		brand Brand
		want  []string
		not   []string
	}{
		{"none", Brand{}, []string{"<title>Sign in</title>", "--brand:#1f5fa8;--on-brand:#ffffff"}, []string{"<header", "<footer", "<img"}},
		{"name", Brand{Name: "A <b> & C"}, []string{"<header>A &lt;b&gt; &amp; C</header>"}, []string{"<img"}},
		{"logo", Brand{Name: "A", Logo: "/l.svg"}, []string{`<header><img src="/l.svg" alt="A"></header>`}, nil},
		{"logo elsewhere", Brand{Logo: "https://cdn.example.com/l.svg?a=1&b=2"}, []string{`<img src="https://cdn.example.com/l.svg?a=1&amp;b=2" alt="">`}, nil},
		{"pale color", Brand{Color: "#Fd4"}, []string{"--brand:#ffdd44;--on-brand:#000000"}, nil},
		{"mail", Brand{Support: "help@example.com"}, []string{`<footer>Need help? <a href="mailto:help@example.com">help@example.com</a></footer>`}, nil},
		{"help page", Brand{Support: "https://example.com/help"}, []string{`<footer><a href="https://example.com/help">Need help?</a></footer>`}, nil},
		{"phone", Brand{Support: "+1 555 0100"}, []string{"<footer>Need help? &#43;1 555 0100</footer>"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			page := drawLogin(t, testPages(t, tt.brand), loginView{}).Body.String()
			elements(t, page)
			for _, want := range tt.want {
				if !strings.Contains(page, want) {
					t.Errorf("no %q in the page\n%s", want, page)
				}
			}
			for _, not := range tt.not {
				if strings.Contains(page, not) {
					t.Errorf("%q in the page", not)
				}
			}
		})
	}
}

func TestPagesArePlainAndSmall(t *testing.T) {
	sheet, err := pageFiles.ReadFile("pages/style.css")
	if err != nil {
		t.Fatal(err)
	}
	if len(sheet) >= 6<<10 {
		t.Errorf("style sheet has %d bytes, want less than 6 KiB", len(sheet))
	}
	p := testPages(t, Brand{Name: "Harbour Supply Co.", Logo: "/logo.svg", Support: "help@example.com"})
	drawn := []*httptest.ResponseRecorder{drawFailure(t, p, errorView{Status: 500, Text: "Sorry.", Reference: "1", Back: "/"})}
	for _, step := range []loginStep{stepEmail, stepCode, stepSecond} {
		drawn = append(drawn, drawLogin(t, p, testLogin(step, noticeRejected)))
	}
	for _, w := range drawn {
		page := w.Body.String()
		if len(page) >= 15<<10 {
			t.Errorf("page has %d bytes, want less than 15 KiB", len(page))
		}
		for _, not := range []string{"<script", "user-scalable", "maximum-scale", " style=", "ZgotmplZ", "url(", "@import"} {
			if strings.Contains(page, not) {
				t.Errorf("%q in the page", not)
			}
		}
		if n := strings.Count(page, "<h1"); n != 1 || !strings.HasPrefix(page, "<!doctype html>\n<html lang=\"en\">") {
			t.Errorf("page has %d first headings and begins %.40q", n, page)
		}
		seen := map[string]bool{}
		for _, e := range elements(t, page) {
			if id := e.attr["id"]; id != "" && seen[id] {
				t.Errorf("id %q stands twice", id)
			} else {
				seen[id] = true
			}
		}
	}
}

func TestPagesAreSafeForConcurrentUse(t *testing.T) {
	p := testPages(t, Brand{Name: "A"})
	want := drawLogin(t, p, testLogin(stepCode, noticeNone)).Body.String()
	done := make(chan string)
	for range 8 {
		go func() {
			w := httptest.NewRecorder()
			p.login(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil), http.StatusOK, testLogin(stepCode, noticeNone))
			done <- w.Body.String()
		}()
	}
	for range 8 {
		if got := <-done; got != want {
			t.Error("pages drawn at the same time differ")
		}
	}
}
