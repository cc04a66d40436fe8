package kiboauth

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// strangersValues are what a visitor may have put in a field.
var strangersValues = []string{
	"", "kim@example.com", "kim+shop@example.com", `"><script>alert(1)</script>`, "' onfocus=alert(1) autofocus='", "a&amp;b&lt;",
	"\x00\xff<", "\u2028", "größe", "{{.Email}}", markEmail, markReturnTo + markEmail,
}

// TestOutlineIsThePage: filling in an outline gives what the template gives.
func TestOutlineIsThePage(t *testing.T) {
	p := passwordPages(t)
	for step := stepEmail; step <= stepSecond; step++ {
		for what := noticeNone; what <= noticeCaptcha; what++ {
			for flags := range 8 {
				var v loginView
				v.loginState = loginState{Step: step, Notice: what, Remember: flags&1 > 0, AfterPassword: flags&2 > 0, Retry: time.Minute}
				if flags&4 > 0 {
					v.Captcha = new(widget)
				}
				for i := range strangersValues {
					v.Email, v.ReturnTo = strangersValues[i], strangersValues[(i+flags)%len(strangersValues)]
					checkOutline(t, p, v)
				}
			}
		}
	}
}

// checkOutline compares a page with the template's. That writes a plus sign as
// a character reference, which is the same.
func checkOutline(t *testing.T, p *pages, v loginView) {
	t.Helper()
	want, err := p.drawLogin(loginData{p.fields, v})
	if err != nil {
		t.Fatal(err)
	}
	got, err := p.outlined(loginData{p.fields, v})
	if err != nil {
		t.Fatal(err)
	}
	plus := func(page []byte) string { return strings.ReplaceAll(string(page), "&#43;", "+") }
	if plus(got) != plus(want) {
		t.Errorf("%+v: the page is\n%s\nwant\n%s", v, got, want)
	}
}

// TestOutlinesAreBounded: however many pages differ.
func TestOutlinesAreBounded(t *testing.T) {
	p := testPages(t, Brand{})
	for n := range 3 * maxOutlines {
		v := testLogin(stepEmail, noticeLimited)
		v.Retry = time.Duration(n) * time.Hour
		page := drawLogin(t, p, v).Body.String()
		if kept := len(p.outlines.kept); kept == 0 || kept > maxOutlines {
			t.Fatalf("%d outlines are kept, want 1 to %d", kept, maxOutlines)
		}
		if !strings.Contains(page, tryAgain(v.Retry)) {
			t.Fatalf("the page does not say %q", tryAgain(v.Retry))
		}
	}
}

// TestNobodysValueStays: what one visitor typed is on no other's page.
func TestNobodysValueStays(t *testing.T) {
	p := testPages(t, Brand{})
	first := testLogin(stepCode, noticeRejected)
	first.Email, first.ReturnTo = "first@example.com", "/first"
	drawLogin(t, p, first)
	page := drawLogin(t, p, testLogin(stepCode, noticeRejected)).Body.String()
	if strings.Contains(page, "first") || !strings.Contains(page, "kim@example.com") {
		t.Errorf("the second visitor's page is\n%s", page)
	}
}

// BenchmarkLoginPage is the page of a refused sign-in.
func BenchmarkLoginPage(b *testing.B) {
	p, err := newPages(Brand{Name: "Demo Shop"}, testFields())
	if err != nil {
		b.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodPost, "/login", nil)
	view := testLogin(stepEmail, noticeLimited)
	for name, draw := range map[string]func(loginData) ([]byte, error){"outline": p.outlined, "template": p.drawLogin} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				body, err := draw(loginData{p.fields, view})
				drawnPage{status: http.StatusTooManyRequests, body: body}.send(httptest.NewRecorder(), r, err)
			}
		})
	}
}
