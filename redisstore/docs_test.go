package redisstore

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// The operator copies the rights from the manual; those that are tested stand
// in this package's documentation.
func TestManualHasTheSameRights(t *testing.T) {
	manual, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	lines := regexp.MustCompile(`ACL SETUSER .*`).FindAllString(string(doc), -1)
	if len(lines) != 2 {
		t.Fatalf("%d ACL lines in doc.go, want 2", len(lines))
	}
	for _, line := range lines {
		if line = strings.Replace(line, ">secret", ">…", 1); !strings.Contains(string(manual), "`"+line+"`") {
			t.Errorf("docs/operations.md lacks: %s", line)
		}
	}
}
