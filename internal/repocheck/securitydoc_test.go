package repocheck

import (
	"go/ast"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// threats is how many attacks and faults the list in SECURITY.md was drawn up
// with. Rows may be added.
const threats = 141

// TestSecurityTable: each threat has a test that exists, or a written reason.
func TestSecurityTable(t *testing.T) {
	rows := threatRows(read(t, "SECURITY.md"))
	if len(rows) < threats {
		t.Errorf("SECURITY.md has %d threats, want %d at least", len(rows), threats)
	}
	known := testNames(t)
	for _, row := range rows {
		for _, fault := range row.faults(known) {
			t.Errorf("SECURITY.md: %q %s", row.cells[0], fault)
		}
	}
}

// TestSecurityTableSeesFaults makes sure that the check above can fail.
func TestSecurityTableSeesFaults(t *testing.T) {
	const head = "### A\n\n| Threat | What | Tests |\n| --- | --- | --- |\n"
	known := func(name string) bool { return slices.Contains([]string{"TestA", "FuzzA", "e2e: a title"}, name) }
	for name, tt := range map[string]struct {
		row  string
		good bool
	}{
		"tests":           {"| a | b | `TestA` `FuzzA` |", true},
		"browser test":    {"| a | b | `e2e: a title` |", true},
		"reason":          {"| a | b | not tested: nobody can |", true},
		"not ours":        {"| a | not ours: Caddy's | `TestA` |", true},
		"unknown test":    {"| a | b | `TestA` `TestB` |", false},
		"unknown title":   {"| a | b | `e2e: another` |", false},
		"no name at all":  {"| a | b | plenty of tests |", false},
		"code, no test":   {"| a | b | `go test` |", false},
		"no reason":       {"| a | b | not tested: |", false},
		"empty answer":    {"| a | | `TestA` |", false},
		"empty threat":    {"| | b | `TestA` |", false},
		"empty tests":     {"| a | b | |", false},
		"too few columns": {"| a | `TestA` |", false},
	} {
		t.Run(name, func(t *testing.T) {
			rows := threatRows(head + tt.row + "\n")
			if len(rows) != 1 {
				t.Fatalf("%d rows, want 1", len(rows))
			}
			if faults := rows[0].faults(known); (len(faults) == 0) != tt.good {
				t.Errorf("faults %q, want none: %t", faults, tt.good)
			}
		})
	}
}

// A threatRow is a threat, its answer, and its tests.
type threatRow struct{ cells []string }

// threatRows are the rows of the tables with three columns, below headings of
// the third level.
func threatRows(markdown string) []threatRow {
	var rows []threatRow
	inside, body := false, false
	for line := range strings.SplitSeq(markdown, "\n") {
		switch {
		case strings.HasPrefix(line, "#"):
			inside, body = strings.HasPrefix(line, "### "), false
		case !strings.HasPrefix(line, "|"):
			body = false
		case strings.HasPrefix(line, "| ---"):
			body = inside
		case body:
			cells := strings.Split(strings.Trim(line, "|"), "|")
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			rows = append(rows, threatRow{cells})
		}
	}
	return rows
}

var (
	named  = regexp.MustCompile("`([^`]+)`")
	reason = regexp.MustCompile(`not (?:tested|ours): \S`)
)

// faults says what is wrong with a row.
func (r threatRow) faults(known func(string) bool) []string {
	if len(r.cells) != 3 || slices.Contains(r.cells, "") {
		return []string{"wants three columns with something in each"}
	}
	var faults []string
	names := named.FindAllStringSubmatch(r.cells[2], -1)
	for _, m := range names {
		if !known(m[1]) {
			faults = append(faults, "names "+m[1]+", which is no test")
		}
	}
	if len(names) == 0 && !reason.MatchString(r.cells[2]) {
		faults = append(faults, "has neither a test nor a reason why there is none")
	}
	return faults
}

// testNames returns whether there is a test of a name: a Go test or fuzz
// target, or, behind "e2e: ", a title in the browser tests.
func testNames(t *testing.T) func(string) bool {
	t.Helper()
	names := map[string]bool{}
	for _, s := range sources(t) {
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && s.test() && f.Recv == nil {
				names[f.Name.Name] = strings.HasPrefix(f.Name.Name, "Test") || strings.HasPrefix(f.Name.Name, "Fuzz")
			}
		}
	}
	var titles strings.Builder
	for _, name := range files(t, ".test.mjs") {
		titles.WriteString(read(t, name))
	}
	return func(name string) bool {
		if title, ok := strings.CutPrefix(name, "e2e: "); ok {
			return strings.Contains(titles.String(), "'"+title+"'") || strings.Contains(titles.String(), `"`+title+`"`)
		}
		return names[name]
	}
}
