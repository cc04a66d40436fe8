package urlpath

import (
	"strings"
	"testing"
)

func TestPatterns(t *testing.T) {
	tests := []struct {
		pattern  string
		path     string
		covers   bool
		protects bool
	}{
		{"/a", "/a", true, true},
		{"/a", "/A", true, true},
		{"/A", "/a", true, true},
		{"/a", "/a/", false, true},
		{"/a/", "/a", false, true},
		{"/a", "/a/b", false, false},
		{"/a", "/ab", false, false},
		{"/a", "/", false, false},
		{"/", "/", true, true},
		{"/", "/a", false, false},
		{"/a/*", "/a/b", true, true},
		{"/a/*", "/a/", true, true},
		{"/a/*", "/a", false, true},
		{"/a/*", "/ab", false, false},
		{"/A/*", "/a/B", true, true},
		{"/a*", "/a", true, true},
		{"/a*", "/abc/d", true, true},
		{"/a*", "/b", false, false},
		{"*", "/", true, true},
		{"*", "/x/y", true, true},
		{"/*", "/", true, true},
		{"/*", "/x", true, true},
		{"*.css", "/x/y.CSS", true, true},
		{"*.css", "/x/ycss", false, false},
		{"*.css", ".css", true, true},
		{"*/feed", "/blog/feed", true, true},
		{"/über", "/über", true, true},
		{"/ÜBER", "/über", true, true},
		{"/a;b", "/a;b", true, true},
		{"/a b", "/a b", true, true},
	}
	for _, tt := range tests {
		p, err := parsePattern(tt.pattern)
		if err != nil {
			t.Errorf("parsePattern(%q): %v", tt.pattern, err)
			continue
		}
		if got := p.covers(tt.path); got != tt.covers {
			t.Errorf("%q covers %q = %v, want %v", tt.pattern, tt.path, got, tt.covers)
		}
		if got := p.protects(tt.path); got != tt.protects {
			t.Errorf("%q protects %q = %v, want %v", tt.pattern, tt.path, got, tt.protects)
		}
	}
}

func TestBadPatternSaysHowToMendIt(t *testing.T) {
	tests := []struct{ pattern, mend string }{
		{"", `write "*"`},
		{"account", `write "/account"`},
		{"/a/*/b", `last ("/a/*")`},
		{"/a/*.css", `first ("*.css")`},
		{"*x*", "one pattern for each case"},
		{"**", "one pattern for each case"},
		{"/index.php?route=account", `from "?"`},
		{"/a#b", `"#" on`},
		{"/a%2Fb", "write the character itself"},
		{`/a\b`, `write "/"`},
		{"//a", `write "/"`},
		{"/a/../b", "the path it leads to"},
		{"/./b", "the path it leads to"},
		{"/a\x00", "control character"},
		{"/a\xff", "UTF-8"},
	}
	for _, tt := range tests {
		for _, lists := range [][2][]string{{{tt.pattern}, nil}, {nil, {"/ok", tt.pattern}}} {
			r, err := NewRules(lists[0], lists[1])
			if err == nil || r != nil {
				t.Errorf("NewRules(%q): no error", lists)
				continue
			}
			if !strings.Contains(err.Error(), tt.mend) {
				t.Errorf("NewRules(%q): error %q does not say %q", lists, err, tt.mend)
			}
		}
	}
}
