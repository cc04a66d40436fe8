package caddytest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	kiboauth "github.com/kiboauth/caddy-kibo-auth"
)

// sharedSecret is what no error about the Caddyfile may show.
const sharedSecret = "a-shared-secret-of-the-shop"

// FuzzCaddyfile writes any lines into a kibo_auth block. They are refused with
// file and line and without the shared secret, or taken; what is taken comes back
// from JSON as it was.
func FuzzCaddyfile(f *testing.F) {
	for _, lines := range goldenLines(f) {
		f.Add(lines)
	}
	position := regexp.MustCompile(`Caddyfile:\d+`)
	f.Fuzz(func(t *testing.T, lines string) {
		text := "kibo_auth t1-s1.sandbox.mozu.com {\n\tclient id " + sharedSecret + "\n" + lines + "\n}\n"
		h, err := parsed(text)
		if err != nil {
			if h != nil && !position.MatchString(err.Error()) {
				t.Errorf("%q: %q does not say where", lines, err)
			}
			if strings.Contains(err.Error(), sharedSecret) && !strings.Contains(lines, sharedSecret) {
				t.Errorf("%q: %q shows the shared secret", lines, err)
			}
			return
		}
		written, err := json.Marshal(h)
		if err != nil {
			t.Fatalf("%q is taken, but not written: %v", lines, err)
		}
		again := new(kiboauth.Handler)
		if err := json.Unmarshal(written, again); err != nil {
			t.Fatalf("%q is written as %s, which is not read: %v", lines, written, err)
		}
		if twice, err := json.Marshal(again); err != nil || string(twice) != string(written) {
			t.Errorf("%q is written as %s, and then as %s, %v", lines, written, twice, err)
		}
	})
}

// parsed reads a kibo_auth directive. The handler is nil if not even the tokens
// could be told apart, or if a brace has ended the directive too early.
func parsed(text string) (*kiboauth.Handler, error) {
	tokens, err := caddyfile.Tokenize([]byte(text), "Caddyfile")
	if err != nil {
		return nil, err
	}
	d := caddyfile.NewDispenser(tokens)
	d.Next()
	h := new(kiboauth.Handler)
	return h, h.UnmarshalCaddyfile(d.NewFromNextSegment())
}

// goldenLines are the blocks of the adapt tests, less the line that the target
// writes itself.
func goldenLines(f *testing.F) (blocks []string) {
	paths, err := filepath.Glob("caddyfile_adapt/*.caddyfiletest")
	if err != nil || len(paths) == 0 {
		f.Fatalf("no adapt tests: %v", err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		config, _, _ := strings.Cut(string(text), "----------\n")
		_, block, _ := strings.Cut(config, "kibo_auth ")
		_, block, _ = strings.Cut(block, "{\n")
		block, _, _ = strings.Cut(block, "\n\t}\n")
		var lines []string
		for line := range strings.SplitSeq(block, "\n") {
			if !strings.HasPrefix(strings.TrimSpace(line), "client ") {
				lines = append(lines, line)
			}
		}
		blocks = append(blocks, strings.Join(lines, "\n"))
	}
	return blocks
}
