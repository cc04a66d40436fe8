package kiboauth

import (
	"fmt"
	"html"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestFieldNamesOfLegacyForms(t *testing.T) {
	for _, name := range []string{"ctl00$Main$UserName", "login[username]", "a.b:c", "user+name", `q"'<>&`, "größe", "#{x}", "{{.Email}}"} {
		for _, step := range []loginStep{stepEmail, stepCode} {
			p := pagesWith(t, Brand{}, loginFields{
				EmailField: name + "1", CodeField: name + "2", RememberField: name + "3", ReturnField: name + "4",
				Hidden: [][2]string{{name + "5", name}},
			})
			all := elements(t, drawLogin(t, p, testLogin(step, noticeNone)).Body.String())
			for _, suffix := range "1345" {
				if find(all, "name", name+string(suffix)) == nil {
					t.Errorf("step %d: no field %q", step, name+string(suffix))
				}
			}
			if step == stepCode && find(all, "name", name+"2") == nil {
				t.Errorf("no field %q", name+"2")
			}
			if find(all, "value", name) == nil {
				t.Errorf("step %d: no value %q", step, name)
			}
		}
	}
}

// Whatever a stranger can have reflected changes no tag and no attribute.
func TestReflectedScript(t *testing.T) {
	attacks := []string{
		`"><script>alert(1)</script>`, `' onfocus=alert(1) autofocus x='`, `" onfocus="alert(1)`,
		`</title><script>alert(1)</script>`, `</style><script>alert(1)</script>`, `<img src=x onerror=alert(1)>`,
		"javascript:alert(1)", `{{.Brand}}`, `{http.request.uri}`, "\x00<svg/onload=alert(1)>", "+ADw-script+AD4-", "&lt;b&gt;",
	}
	places := map[string]func(*loginData, string){
		"e-mail":       func(v *loginData, s string) { v.Email = s },
		"return path":  func(v *loginData, s string) { v.ReturnTo = s },
		"hidden name":  func(v *loginData, s string) { v.Hidden[0][0] = s },
		"hidden value": func(v *loginData, s string) { v.Hidden[0][1] = s },
	}
	p := testPages(t, Brand{})
	for place, put := range places {
		for _, step := range []loginStep{stepEmail, stepCode, stepSecond} {
			clean := shape(elements(t, drawLogin(t, p, testLogin(step, noticeRejected)).Body.String()))
			for _, attack := range attacks {
				v := loginData{testFields(), testLogin(step, noticeRejected)}
				put(&v, attack)
				page := drawLogin(t, pagesWith(t, Brand{}, v.loginFields), v.loginView).Body.String()
				if got := shape(elements(t, page)); got != clean {
					t.Errorf("%s %q in step %d changes the page from\n%s\nto\n%s", place, attack, step, clean, got)
				}
			}
		}
	}
}

func TestReflectedScriptInErrorPage(t *testing.T) {
	p := testPages(t, Brand{})
	view := func(s string) errorView { return errorView{400, s, s, 0, s, "/back"} }
	clean := shape(elements(t, drawFailure(t, p, view("x")).Body.String()))
	for _, attack := range []string{`"><script>alert(1)</script>`, `</title><script>alert(1)</script>`, `</code></p><a href="javascript:alert(1)">`} {
		page := drawFailure(t, p, view(attack)).Body.String()
		if got := shape(elements(t, page)); got != clean {
			t.Errorf("%q changes the page from\n%s\nto\n%s", attack, clean, got)
		}
	}
}

func TestLinkThatLeavesTheSite(t *testing.T) {
	p := testPages(t, Brand{})
	for _, back := range []string{"//evil.example", `/\evil.example`, "https://evil.example", "javascript:alert(1)", "evil", "/\t/evil.example", "/ü"} {
		if page := drawFailure(t, p, errorView{Status: 500, Back: back}).Body.String(); strings.Contains(page, "<a ") {
			t.Errorf("page links back to %q", back)
		}
	}
}

// shape is a page's tags with the names of their attributes, and the values
// of those attributes that a browser would load, run or style by.
func shape(all []element) string {
	var b strings.Builder
	for _, e := range all {
		var attrs []string
		for name, value := range e.attr {
			if !slices.Contains([]string{"name", "value"}, name) {
				name += "=" + value
			}
			attrs = append(attrs, name)
		}
		slices.Sort(attrs)
		fmt.Fprintln(&b, e.name, attrs)
	}
	return b.String()
}

// element is a start tag as a browser would read it.
type element struct {
	name string
	attr map[string]string
}

var (
	tagForm   = regexp.MustCompile(`<([a-z0-9]+)((?:\s+[a-z-]+(?:="[^"]*")?)*)\s*>`)
	attrForm  = regexp.MustCompile(`([a-z-]+)(?:="([^"]*)")?`)
	styleForm = regexp.MustCompile(`(?s)<style>.*?</style>`)
	formForm  = regexp.MustCompile(`(?s)<form .*?</form>`)
	textForm  = regexp.MustCompile(`(?s)<(style|title)>.*?</(style|title)>|<[^>]*>`)
)

// elements reads the start tags of our own pages. Every "<" in them has to
// begin a tag that it understands, so nothing can hide from it.
func elements(t *testing.T, page string) []element {
	t.Helper()
	page = styleForm.ReplaceAllString(page, "")
	known := strings.Count(page, "</") + strings.Count(page, "<!doctype html>")
	var all []element
	for _, m := range tagForm.FindAllStringSubmatch(page, -1) {
		e := element{m[1], map[string]string{}}
		for _, a := range attrForm.FindAllStringSubmatch(m[2], -1) {
			if _, twice := e.attr[a[1]]; twice {
				t.Errorf("attribute %s stands twice in %s", a[1], m[0])
			}
			e.attr[a[1]] = html.UnescapeString(a[2])
		}
		all = append(all, e)
	}
	if got, want := strings.Count(page, "<"), known+len(all); got != want {
		t.Errorf("%d of %d tags are not of a form that we write:\n%s", got-want, got, page)
	}
	return all
}

func find(all []element, attr, value string) *element {
	for _, e := range all {
		if v, ok := e.attr[attr]; ok && v == value {
			return &e
		}
	}
	return nil
}

// visible is the text that a customer reads.
func visible(page string) string {
	text := html.UnescapeString(textForm.ReplaceAllString(page, ""))
	return strings.Join(strings.Fields(text), " ")
}
