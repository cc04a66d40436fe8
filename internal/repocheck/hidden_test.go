package repocheck

import (
	"fmt"
	"go/ast"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// secretName are the words in a field's name that say that it holds a secret.
var secretName = regexp.MustCompile(`(?i)(token|secret|password|passwd|\bcode|jwt|cookie|credential|bearer)`)

// openly are fields that sound secret and are not, or are seen to in another way.
var openly = map[string]string{
	"kiboauth.Login.CodeField":     "the name of a form's field",
	"kiboauth.Login.PasswordField": "the name of a form's field",
	"kiboauth.loginFields":         "names of a form's fields",
	"kiboauth.answer.code":         "a word for scripts that says what went wrong",
	"kiboauth.problemBody.Code":    "the same",
	"kiboauth.Cookie":              "how the cookie is set, not what is in it",
	"kiboauth.SessionConfig":       "how the cookie is set, not what is in it",
	"captcha.verdict.Codes":        "words that say why an answer was refused",
	"kibo.Error.Code":              "Kibo's errorCode, cleaned",
	"redisstore.fault.code":        "the first word of Redis' error",
	"kibo.fault.code":              "Kibo's errorCode, cleaned",
	"loginform.Fields":             "names of a form's fields",
	"kiboauth.cookieNames":         "names",
}

// secretFolders are where secrets come by. Simulator, demo and tools are left out.
var secretFolders = []string{".", "filestore", "redisstore", "internal/captcha", "internal/kibo", "internal/loginform", "internal/verify"}

// TestSecretsAreHidden: a struct with a secret as plain text, or with a hidden
// struct by value in an unexported field, is hidden itself; see internal/redact.
func TestSecretsAreHidden(t *testing.T) {
	byFolder := map[string][]source{}
	for _, s := range sources(t) {
		if !s.test() && slices.Contains(secretFolders, s.folder()) {
			byFolder[s.folder()] = append(byFolder[s.folder()], s)
		}
	}
	for _, folder := range secretFolders {
		for _, said := range shown(byFolder[folder]) {
			t.Error(said)
		}
	}
}

func TestSecretsAreHiddenSeesViolations(t *testing.T) {
	const head = "package p\n\nimport \"" + module + "/internal/redact\"\n\n"
	tests := []struct {
		name, text string
		want       int
	}{
		{"token as a string", "type s struct{ token string }", 1},
		{"key as bytes", "type s struct{ secretKey []byte }", 1},
		{"list of passwords", "type s struct{ Passwords []string }", 1},
		{"array", "type s struct{ secret [32]byte }", 1},
		{"secret text", "type s struct{ token redact.Text }", 0},
		{"hidden", "type s struct {\n\tredact.Hidden\n\ttoken string\n}", 0},
		{"unprinted", "type s struct {\n\tredact.Unprinted `json:\"-\"`\n\ttoken string\n}", 0},
		{"hidden, but by value in another", "type s struct {\n\tredact.Hidden\n\ttoken string\n}\n\ntype o struct{ inner s }", 1},
		{"hidden, by pointer in another", "type s struct {\n\tredact.Hidden\n\ttoken string\n}\n\ntype o struct{ inner *s }", 1},
		{"hidden, in an exported field of another", "type s struct {\n\tredact.Hidden\n\ttoken string\n}\n\ntype O struct{ Inner *s }", 0},
		{"no secret", "type s struct{ name string; tokens int }", 0},
	}
	for _, tt := range tests {
		got := shown([]source{parse(t, "x.go", head+tt.text+"\n")})
		if len(got) != tt.want {
			t.Errorf("%s: found %q, want %d", tt.name, got, tt.want)
		}
	}
}

// shown finds structs of one package that would print a secret.
func shown(files []source) (found []string) {
	hidden := map[string]bool{}
	eachStruct(files, func(_ source, name string, s *ast.StructType) { hidden[name] = isHidden(s) })
	for _, f := range files {
		for _, d := range f.file.Decls { // or it has a Format of its own
			if m, ok := d.(*ast.FuncDecl); ok && m.Recv != nil && m.Name.Name == "Format" {
				hidden[elem(m.Recv.List[0].Type)] = true
			}
		}
	}
	eachStruct(files, func(f source, name string, s *ast.StructType) {
		full := f.file.Name.Name + "." + name
		if hidden[name] || openly[full] != "" {
			return
		}
		for _, field := range s.Fields.List {
			for _, id := range field.Names {
				switch {
				case openly[full+"."+id.Name] != "":
				case isText(field.Type) && secretName.MatchString(id.Name):
					found = append(found, fmt.Sprintf("%s: %s.%s is a secret as plain text: make it a redact.Text, or embed redact.Hidden", f.at(id), full, id.Name))
				case hidden[elem(field.Type)] && !id.IsExported():
					found = append(found, fmt.Sprintf("%s: %s.%s is hidden, but fmt walks into it here: embed redact.Hidden", f.at(id), full, id.Name))
				}
			}
		}
	})
	return found
}

func eachStruct(files []source, do func(source, string, *ast.StructType)) {
	for _, f := range files {
		ast.Inspect(f.file, func(n ast.Node) bool {
			if spec, ok := n.(*ast.TypeSpec); ok {
				if s, ok := spec.Type.(*ast.StructType); ok {
					do(f, spec.Name.Name, s)
				}
			}
			return true
		})
	}
}

func isHidden(s *ast.StructType) bool {
	return slices.ContainsFunc(s.Fields.List, func(f *ast.Field) bool {
		sel, ok := f.Type.(*ast.SelectorExpr)
		return ok && len(f.Names) == 0 && fmt.Sprint(sel.X) == "redact" && (sel.Sel.Name == "Hidden" || sel.Sel.Name == "Unprinted")
	})
}

// elem names the type of a field, or of what it points to or is made of.
func elem(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.StarExpr:
		return elem(e.X)
	case *ast.ArrayType:
		return elem(e.Elt)
	case *ast.MapType:
		return elem(e.Value)
	}
	return ""
}

// isText tells strings and bytes, one or many.
func isText(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.ArrayType:
		return isText(e.Elt) || strings.Contains(fmt.Sprint(e.Elt), "byte")
	case *ast.Ident:
		return e.Name == "string"
	}
	return false
}
