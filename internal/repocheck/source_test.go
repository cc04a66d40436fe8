package repocheck

import (
	"fmt"
	"go/ast"
	"regexp"
	"slices"
	"testing"
)

// use is a name of a package that only some files may use.
type use struct {
	pkg     string
	names   []string // nil: any, the import itself
	allowed []string // files; nil: none
	why     string
}

var uses = []use{
	{
		pkg: goCache, allowed: []string{"tokenstore.go"},
		why: "one file knows what the memory store is made of",
	},
	{
		pkg: caddyModule + "/v2/modules/caddyhttp", names: []string{"Error"},
		allowed: []string{"handler.go", "login.go", "errors.go"},
		why:     "status codes are decided at the edge",
	},
	{
		pkg: zapModule, names: []string{"Any", "Reflect"},
		why: "they print the fields of what they are given, secrets too",
	},
}

// TestUses leaves tests out: they may do what they like.
func TestUses(t *testing.T) {
	for _, s := range sources(t) {
		for _, u := range uses {
			for _, at := range u.violations(s) {
				t.Errorf("%s: %s", at, u.why)
			}
		}
	}
}

// TestUsesSeeViolations makes sure that the rules above can fail.
func TestUsesSeeViolations(t *testing.T) {
	const zapAny = "package p\n\nimport \"go.uber.org/zap\"\n\nvar f = zap.Any(\"session\", nil)\n"
	tests := []struct {
		name, file, text string
		want             bool
	}{
		{"whole session in a log line", "handler.go", zapAny, true},
		{"the same under another name", "handler.go", "package p\n\nimport z \"go.uber.org/zap\"\n\nvar f = z.Reflect\n", true},
		{"the same in a test", "handler_test.go", zapAny, false},
		{"typed field", "handler.go", "package p\n\nimport \"go.uber.org/zap\"\n\nvar f = zap.String(\"a\", \"b\")\n", false},
		{"status decided in the store", "tokenstore.go", "package p\n\nimport \"github.com/caddyserver/caddy/v2/modules/caddyhttp\"\n\nvar f = caddyhttp.Error\n", true},
		{"status decided at the edge", "errors.go", "package p\n\nimport \"github.com/caddyserver/caddy/v2/modules/caddyhttp\"\n\nvar f = caddyhttp.Error\n", false},
		{"same file name elsewhere", "redisstore/errors.go", "package p\n\nimport \"github.com/caddyserver/caddy/v2/modules/caddyhttp\"\n\nvar f = caddyhttp.Error\n", true},
		{"go-cache beside its store", "limit.go", "package p\n\nimport cache \"github.com/patrickmn/go-cache\"\n\nvar c cache.Cache\n", true},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			s := parse(t, tc.file, tc.text)
			got := slices.ContainsFunc(uses, func(u use) bool { return len(u.violations(s)) > 0 })
			if got != tc.want {
				t.Errorf("violation found = %v, want %v", got, tc.want)
			}
		})
	}
}

// violations says where a file uses what it may not.
func (u use) violations(s source) []string {
	name := s.imported(u.pkg)
	if name == "" || s.test() || slices.Contains(u.allowed, s.name) {
		return nil
	}
	if u.names == nil {
		return []string{s.name + " imports " + u.pkg}
	}
	var found []string
	ast.Inspect(s.file, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok || !slices.Contains(u.names, sel.Sel.Name) {
			return true
		}
		if x, ok := sel.X.(*ast.Ident); ok && x.Name == name {
			found = append(found, fmt.Sprintf("%s uses %s.%s", s.at(sel), name, sel.Sel.Name))
		}
		return true
	})
	return found
}

// unfinished finds the words that mark code as not done. They are put together here, so
// that this file does not find itself.
var unfinished = regexp.MustCompile(`\b(` + "TO" + `DO|` + "FIX" + `ME)\b`)

func TestNothingLeftUnfinished(t *testing.T) {
	for _, name := range files(t, ".go", ".sh", ".mjs", ".js") {
		if word := unfinished.FindString(read(t, name)); word != "" {
			t.Errorf("%s says %s", name, word)
		}
	}
}

// TestNoTestSkips: the gate fails on a skipped test, but only where it would skip.
func TestNoTestSkips(t *testing.T) {
	skips := []string{"Skip", "Skipf", "SkipNow"}
	for _, s := range sources(t) {
		if !s.test() {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			sel, ok := call.Fun.(*ast.SelectorExpr)
			if ok && slices.Contains(skips, sel.Sel.Name) && slices.Contains([]string{"t", "b", "f", "tb"}, fmt.Sprint(sel.X)) {
				t.Errorf("%s skips: a test that cannot run must fail", s.at(call))
			}
			return true
		})
	}
}
