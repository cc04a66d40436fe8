package repocheck

import (
	"fmt"
	"go/ast"
	"reflect"
	"slices"
	"strconv"
	"testing"
)

// TestConfigFieldsAreDocumented: Caddy's JSON documentation is built from the comments
// of a module's configuration fields, and those of the structs in them.
func TestConfigFieldsAreDocumented(t *testing.T) {
	folders := map[string][]source{}
	for _, s := range sources(t) {
		if !s.test() {
			folders[s.folder()] = append(folders[s.folder()], s)
		}
	}
	for _, folder := range folders {
		for _, at := range undocumented(folder) {
			t.Errorf("%s has no doc comment", at)
		}
	}
}

func TestUndocumented(t *testing.T) {
	s := parse(t, "module.go", `package p

func (*Handler) CaddyModule() {}

type Handler struct {
	// Good is documented.
	Good string `+"`json:\"good,omitempty\"`"+`
	Bad  string `+"`json:\"bad\"`"+`
	// Login is documented.
	Login []*Login `+"`json:\"login\"`"+`
	Live  string
	state int
}

type Login struct {
	Worse string `+"`json:\"worse\"`"+` // not a doc comment
}

type answer struct {
	Wire string `+"`json:\"wire\"`"+`
}
`)
	want := []string{"module.go:8: Handler.Bad", "module.go:16: Login.Worse"}
	if got := undocumented([]source{s}); !slices.Equal(got, want) {
		t.Errorf("undocumented = %q, want %q", got, want)
	}
}

// decl is a struct type and where it stands.
type decl struct {
	source
	name string
	body *ast.StructType
}

// undocumented returns the exported fields with a json tag and without a doc comment, of
// the Caddy modules of a package and of all its structs that they are made of.
func undocumented(pkg []source) []string {
	structs := structsOf(pkg)
	var found []string
	seen := map[string]bool{}
	for queue := modulesOf(pkg); len(queue) > 0; queue = queue[1:] {
		d, ok := structs[queue[0]]
		if !ok || seen[d.name] {
			continue
		}
		seen[d.name] = true
		for _, f := range d.body.Fields.List {
			if !configField(f) {
				continue
			}
			queue = append(queue, typesIn(f.Type)...)
			if f.Doc == nil {
				found = append(found, fmt.Sprintf("%s: %s.%s", d.at(f), d.name, f.Names[0].Name))
			}
		}
	}
	return found
}

// configField says whether Caddy reads the field from JSON.
func configField(f *ast.Field) bool {
	if f.Tag == nil || len(f.Names) == 0 || !f.Names[0].IsExported() {
		return false
	}
	tag, err := strconv.Unquote(f.Tag.Value)
	name, ok := reflect.StructTag(tag).Lookup("json")
	return err == nil && ok && name != "-"
}

// modulesOf returns the names of the types with a CaddyModule method.
func modulesOf(pkg []source) []string {
	var names []string
	for _, s := range pkg {
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv != nil && f.Name.Name == "CaddyModule" {
				names = append(names, typesIn(f.Recv.List[0].Type)...)
			}
		}
	}
	return names
}

func structsOf(pkg []source) map[string]decl {
	found := map[string]decl{}
	for _, s := range pkg {
		ast.Inspect(s.file, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			if body, ok := spec.Type.(*ast.StructType); ok {
				found[spec.Name.Name] = decl{s, spec.Name.Name, body}
			}
			return true
		})
	}
	return found
}

// typesIn returns every name in a type expression, that of a package's own types among
// them: []*Login gives Login.
func typesIn(expr ast.Expr) []string {
	var names []string
	ast.Inspect(expr, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok {
			names = append(names, id.Name)
		}
		return true
	})
	return names
}
