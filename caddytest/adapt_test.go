package caddytest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddytest"

	_ "github.com/kiboauth/caddy-kibo-auth"
)

// golden is a Caddyfile and what becomes of it: JSON, or the text of an error.
type golden struct{ name, caddyfile, want string }

func (g golden) isError() bool { return !strings.HasPrefix(g.want, "{") }

// goldens reads caddyfile_adapt. The form of its files is that of Caddy's own
// adapt tests.
func goldens(t *testing.T) []golden {
	t.Helper()
	paths, err := filepath.Glob("caddyfile_adapt/*.caddyfiletest")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no adapt tests: %v", err)
	}
	all := make([]golden, len(paths))
	for i, path := range paths {
		text := strings.ReplaceAll(readFile(t, path), "\r\n", "\n")
		config, want, ok := strings.Cut(text, "----------\n")
		if !ok {
			t.Fatalf("%s has no line of dashes between Caddyfile and result", path)
		}
		name := strings.TrimSuffix(filepath.Base(path), ".caddyfiletest")
		all[i] = golden{name, config, strings.TrimSpace(want)}
	}
	return all
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// adapt turns a Caddyfile into JSON as "caddy adapt" does.
func adapt(text string) ([]byte, error) {
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), nil)
	return config, err
}

func TestAdapt(t *testing.T) {
	for _, g := range goldens(t) {
		t.Run(g.name, func(t *testing.T) {
			if formatted := string(caddyfile.Format([]byte(g.caddyfile))); formatted != g.caddyfile {
				t.Errorf("the Caddyfile is not formatted; caddy fmt makes it\n%s", formatted)
			}
			if strings.HasPrefix(g.name, "error_") != g.isError() {
				t.Errorf("%s: names of files with an error, and only those, begin with error_", g.name)
			}
			if !g.isError() {
				caddytest.AssertAdapt(t, g.caddyfile, "caddyfile", g.want)
				return
			}
			if _, err := adapt(g.caddyfile); err == nil || err.Error() != g.want {
				t.Errorf("error =\n%v\nwant\n%s", err, g.want)
			}
		})
	}
}

// TestAdaptErrorsNameTheLine: each says where the mistake is, and more than
// that something is wrong.
func TestAdaptErrorsNameTheLine(t *testing.T) {
	for _, g := range goldens(t) {
		if !g.isError() {
			continue
		}
		if !regexp.MustCompile(`Caddyfile:[1-9][0-9]*`).MatchString(g.want) {
			t.Errorf("%s: %q names no file and line", g.name, g.want)
		}
		if strings.Contains(g.want, "wrong argument count") {
			t.Errorf("%s: %q does not say how many arguments there must be", g.name, g.want)
		}
	}
}

// grammar lists the blocks of kibo_auth, each with a Caddyfile whose mistake
// makes the gateway name all options of that block, and with what the names of
// their adapt tests begin.
var grammar = []struct{ block, prefix string }{
	{"?", ""},
	{"login {\n?\n}", "login_"},
	{"login {\nbrand {\n?\n}\n}", "login_brand_"},
	{"verify {\n?\n}", "verify_"},
	{"captcha {\n?\n}", "captcha_"},
	{"session {\n?\n}", "session_"},
	{"session {\ncookie {\n?\n}\n}", "session_cookie_"},
	{"store memory {\n?\n}", "store_memory_"},
	{"store file x {\n?\n}", "store_file_"},
	{"store redis a:1 {\n?\n}", "store_redis_"},
}

// optionsOf returns the options that a block may have.
func optionsOf(t *testing.T, block string) []string {
	t.Helper()
	_, err := adapt(":8080 {\nkibo_auth t1-s2.sandbox.mozu.com {\nclient id secret\n" + block + "\n}\n}\n")
	if err == nil {
		t.Fatalf("%q was accepted", block)
	}
	m := regexp.MustCompile(`the options here are: ([a-z_, ]+), at `).FindStringSubmatch(err.Error())
	if m == nil {
		t.Fatalf("%q: the error lists no options: %v", block, err)
	}
	return strings.Split(m[1], ", ")
}

func TestAdaptCoversEveryOption(t *testing.T) {
	have := map[string]bool{}
	for _, g := range goldens(t) {
		have[g.name] = true
	}
	for _, b := range grammar {
		for _, option := range optionsOf(t, b.block) {
			if name := b.prefix + option; !have[name] {
				t.Errorf("there is no caddyfile_adapt/%s.caddyfiletest", name)
			}
		}
	}
}

// TestAdaptedOptionsAreDocumented: each has a row or a chapter in
// docs/configuration.md, and stands in Caddyfile.example.
func TestAdaptedOptionsAreDocumented(t *testing.T) {
	manual, example := readFile(t, "../docs/configuration.md"), readFile(t, "../Caddyfile.example")
	for _, b := range grammar {
		for _, option := range optionsOf(t, b.block) {
			if !regexp.MustCompile("(?m)^(\\| `|## )" + option + `\b`).MatchString(manual) {
				t.Errorf("docs/configuration.md has no row for %s%s", b.prefix, option)
			}
			if !regexp.MustCompile(`(?m)^[\t# ]*` + option + `\b`).MatchString(example) {
				t.Errorf("Caddyfile.example has no line for %s%s", b.prefix, option)
			}
		}
	}
}
