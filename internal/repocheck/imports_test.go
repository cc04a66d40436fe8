package repocheck

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// pkg is what "go list" knows of a package.
type pkg struct {
	ImportPath   string
	Deps         []string // all of them, direct or not, but not those of tests
	TestImports  []string
	XTestImports []string
}

// layer forbids imports to a package and to those below it.
type layer struct {
	of        string   // below the module; "" is the module's own package only
	forbidden []string // import paths, with everything below them
	why       string
}

var layers = []layer{
	{"internal", []string{caddyModule, zapModule, goCache}, "internal packages can be read and tested without Caddy"},
	{"internal", []string{module + "/cmd"}, "commands use packages, not the other way round"},
	{"internal/kibo", []string{module + "/internal/verify"}, "asking Kibo and checking tokens are two matters"},
	{"internal/verify", []string{module + "/internal/kibo"}, "asking Kibo and checking tokens are two matters"},
	{"internal/kibosim", []string{module + "/internal/kibo"}, "a simulator with the client's types would share its mistakes"},
	{"", []string{module + "/cmd", module + "/filestore", module + "/redisstore"}, "stores and commands build on the plugin"},
}

const (
	caddyModule = "github.com/caddyserver/caddy"
	zapModule   = "go.uber.org/zap"
	goCache     = "github.com/patrickmn/go-cache"
)

func TestLayers(t *testing.T) {
	for _, p := range list(t) {
		for _, l := range layers {
			for _, dep := range l.violations(p) {
				t.Errorf("%s depends on %s: %s", p.ImportPath, dep, l.why)
			}
		}
	}
}

// TestLayersSeeViolations makes sure that the rules above can fail.
func TestLayersSeeViolations(t *testing.T) {
	tests := []struct {
		name string
		p    pkg
		want bool
	}{
		{"Caddy in the Kibo client", pkg{ImportPath: module + "/internal/kibo", Deps: []string{caddyModule + "/v2"}}, true},
		{"zap in a test", pkg{ImportPath: module + "/internal/verify", TestImports: []string{zapModule + "/zaptest"}}, true},
		{"simulator with the client's types", pkg{ImportPath: module + "/internal/kibosim", Deps: []string{module + "/internal/kibo"}}, true},
		{"plugin with a store", pkg{ImportPath: module, Deps: []string{module + "/redisstore"}}, true},
		{"plugin with Caddy", pkg{ImportPath: module, Deps: []string{caddyModule + "/v2", module + "/internal/kibo"}}, false},
		{"client with the simulator's test", pkg{ImportPath: module + "/internal/kibo", XTestImports: []string{module + "/internal/kibosim"}}, false},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			got := slices.ContainsFunc(layers, func(l layer) bool { return len(l.violations(tc.p)) > 0 })
			if got != tc.want {
				t.Errorf("violation found = %v, want %v", got, tc.want)
			}
		})
	}
}

// violations returns what a package may not depend on and does. Of its tests only the
// direct imports count: a test double may need what the package may not.
func (l layer) violations(p pkg) []string {
	if !l.covers(p.ImportPath) {
		return nil
	}
	var found []string
	for _, dep := range slices.Concat(p.Deps, p.TestImports, p.XTestImports) {
		if slices.ContainsFunc(l.forbidden, func(f string) bool { return within(dep, f) }) {
			found = append(found, dep)
		}
	}
	return found
}

func (l layer) covers(importPath string) bool {
	if l.of == "" {
		return importPath == module
	}
	return within(importPath, module+"/"+l.of)
}

// within says whether a package is the other one or below it.
func within(importPath, other string) bool {
	return importPath == other || strings.HasPrefix(importPath, other+"/")
}

// list asks the go command for every package of the module. -e keeps a package that
// does not compile in the list: that is not what is tested here.
func list(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Deps,TestImports,XTestImports", "./...")
	cmd.Dir = root
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		t.Fatalf("go list: %v\n%s", err, exit.Stderr)
	} else if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		switch err := dec.Decode(&p); {
		case err == io.EOF:
			return all
		case err != nil:
			t.Fatalf("decoding go list: %v", err)
		}
		all = append(all, p)
	}
}
