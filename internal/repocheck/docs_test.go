package repocheck

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// readmeLines is how long the README may be: one that is longer is not read.
const readmeLines = 200

func TestReadmeLength(t *testing.T) {
	for _, name := range files(t, "README.md") {
		if n := strings.Count(read(t, name), "\n"); name == "README.md" && n > readmeLines {
			t.Errorf("README.md has %d lines, want %d at most", n, readmeLines)
		}
	}
}

func TestRelativeLinks(t *testing.T) {
	for _, doc := range files(t, ".md") {
		for _, target := range links(read(t, doc)) {
			name, local := resolve(doc, target)
			if !local {
				continue
			}
			if _, err := os.Stat(filepath.Join(root, filepath.FromSlash(name))); err != nil {
				t.Errorf("%s links to %s, which does not exist", doc, target)
			}
		}
	}
}

var (
	fence  = regexp.MustCompile("(?ms)^[ \t]*```.*?^[ \t]*```[ \t]*$")
	inline = regexp.MustCompile("`[^`\n]*`")
	link   = regexp.MustCompile(`\]\(\s*<?([^)\s>]+)>?[^)]*\)|(?m:^\s*\[[^\]]+\]:\s*<?(\S+?)>?(?:\s|$))|\b(?:href|src)="([^"]+)"`)
)

// links returns the targets of a Markdown text's links, images and reference
// definitions, and of href and src in HTML; those in code are text.
func links(markdown string) []string {
	text := inline.ReplaceAllString(fence.ReplaceAllString(markdown, ""), "")
	var found []string
	for _, m := range link.FindAllStringSubmatch(text, -1) {
		found = append(found, m[1]+m[2]+m[3])
	}
	return found
}

// resolve turns a link's target into a path from the top. Other sites and places in the
// same document are not local.
func resolve(doc, target string) (name string, local bool) {
	target, _, _ = strings.Cut(target, "#")
	if target == "" || strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
		return "", false
	}
	if strings.HasPrefix(target, "/") {
		return path.Clean(target[1:]), true
	}
	return path.Join(path.Dir(doc), target), true
}

func TestLinks(t *testing.T) {
	text := "See [a](docs/a.md), ![b](../b.png \"title\") and `[no](no.md)`.\n" +
		"```text\n[no](no.md)\n```\n[c]: <c.md>\n<img src=\"d.svg\">\n[e](https://example.com/e) [f](#here)\n"
	want := []string{"docs/a.md", "../b.png", "c.md", "d.svg", "https://example.com/e", "#here"}
	if got := links(text); !slices.Equal(got, want) {
		t.Errorf("links = %q, want %q", got, want)
	}
}

func TestResolve(t *testing.T) {
	tests := []struct {
		doc, target, want string
		local             bool
	}{
		{"README.md", "docs/a.md#part", "docs/a.md", true},
		{"docs/a.md", "../LICENSE", "LICENSE", true},
		{"docs/a.md", "b.md", "docs/b.md", true},
		{"docs/a.md", "/LICENSE", "LICENSE", true},
		{"README.md", "#part", "", false},
		{"README.md", "https://example.com", "", false},
		{"README.md", "mailto:a@example.com", "", false},
	}
	for _, tc := range tests {
		got, local := resolve(tc.doc, tc.target)
		if got != tc.want || local != tc.local {
			t.Errorf("resolve(%q, %q) = %q, %v, want %q, %v", tc.doc, tc.target, got, local, tc.want, tc.local)
		}
	}
}
