package storetest_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDocsCompile holds the Go code in the documentation against these tests,
// where it stands word for word.
func TestDocsCompile(t *testing.T) {
	docs, err := os.ReadFile(filepath.FromSlash("../docs/stores.md"))
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var code strings.Builder
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		code.Write(text)
	}
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(string(docs), -1)
	if len(blocks) == 0 {
		t.Error("docs/stores.md has no Go code")
	}
	for _, block := range blocks {
		if !strings.Contains(code.String(), block[1]) {
			t.Errorf("docs/stores.md has code that is in no test here:\n%s", block[1])
		}
	}
}
