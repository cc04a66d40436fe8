package urlpath

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

type kind int

const (
	exact   kind = iota // text is the path
	subtree             // text is the folder with its slash
	prefix              // text starts the path; empty matches everything
	suffix              // text ends the path
)

// A pattern is one compiled entry of a list; text is in lower case.
type pattern struct {
	kind kind
	text string
}

func compile(list []string) ([]pattern, error) {
	patterns := make([]pattern, 0, len(list))
	for _, raw := range list {
		p, err := parsePattern(raw)
		if err != nil {
			return nil, fmt.Errorf("path pattern %q: %w", raw, err)
		}
		patterns = append(patterns, p)
	}
	return patterns, nil
}

func parsePattern(raw string) (pattern, error) {
	if err := checkPattern(raw); err != nil {
		return pattern{}, err
	}
	text := strings.ToLower(raw)
	switch {
	case text == "*" || text == "/*":
		return pattern{prefix, ""}, nil
	case text[0] == '*':
		return pattern{suffix, text[1:]}, nil
	case strings.HasSuffix(text, "/*"):
		return pattern{subtree, text[:len(text)-1]}, nil
	case strings.HasSuffix(text, "*"):
		return pattern{prefix, text[:len(text)-1]}, nil
	default:
		return pattern{exact, text}, nil
	}
}

// checkPattern refuses what would never match, because paths are compared in
// their plain form.
func checkPattern(raw string) error {
	switch {
	case raw == "":
		return errors.New(`is empty; write "*" for every path`)
	case raw[0] != '/' && raw[0] != '*':
		return fmt.Errorf("must start with \"/\" or \"*\"; write %q", "/"+raw)
	case strings.Count(raw, "*") > 1:
		return errors.New(`has more than one "*"; give one pattern for each case`)
	case strings.IndexByte(raw, '*') > 0 && !strings.HasSuffix(raw, "*"):
		return errors.New(`may have "*" only first ("*.css") or last ("/a/*")`)
	case strings.ContainsAny(raw, "?#"):
		return errors.New(`goes beyond the path; leave out everything from "?" or "#" on`)
	case strings.Contains(raw, "%"):
		return errors.New("is percent-encoded; write the character itself")
	case strings.Contains(raw, `\`):
		return errors.New(`contains "\"; write "/"`)
	case strings.Contains(raw, "//"):
		return errors.New(`contains "//"; write "/"`)
	case hasDotSegment(raw):
		return errors.New(`contains "." or ".." as a segment; write the path it leads to`)
	case !utf8.ValidString(raw) || strings.IndexFunc(raw, unicode.IsControl) >= 0:
		return errors.New("contains a control character or is not UTF-8; no request can match it")
	}
	return nil
}

func hasDotSegment(path string) bool {
	for seg := range strings.SplitSeq(path, "/") {
		if seg == "." || seg == ".." {
			return true
		}
	}
	return false
}

// covers reports whether the pattern matches, taken literally.
func (p *pattern) covers(path string) bool {
	switch p.kind {
	case exact:
		return len(path) == len(p.text) && hasPrefixFold(path, p.text)
	case suffix:
		return len(path) >= len(p.text) && hasPrefixFold(path[len(path)-len(p.text):], p.text)
	default:
		return hasPrefixFold(path, p.text)
	}
}

// protects is covers, and more: most servers answer /a and /a/ alike.
func (p *pattern) protects(path string) bool {
	switch p.kind {
	case exact:
		folder, text := strings.TrimSuffix(path, "/"), strings.TrimSuffix(p.text, "/")
		return len(folder) == len(text) && hasPrefixFold(folder, text)
	case subtree:
		folder := p.text[:len(p.text)-1]
		return hasPrefixFold(path, p.text) || len(path) == len(folder) && hasPrefixFold(path, folder)
	default:
		return p.covers(path)
	}
}

func anyProtects(list []pattern, path string) bool {
	for i := range list {
		if list[i].protects(path) {
			return true
		}
	}
	return false
}

// hasPrefixFold reports whether s starts with lower, which is in lower case
// already. It folds ASCII only: a path with anything else was lowered before.
func hasPrefixFold(s, lower string) bool {
	if len(s) < len(lower) {
		return false
	}
	for i := range len(lower) {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// scripts are the endings whose files answer for everything below them.
var scripts = []string{"php", "phtml", "php3", "php4", "php5", "php7", "php8", "asp", "aspx", "ashx", "asmx", "jsp", "cgi", "pl", "cfm", "dll"}

// script finds the first script with something behind it: path[start:end] is
// "/index.php" in "/index.php/account".
func script(path string) (start, end int, ok bool) {
	for {
		n := strings.IndexByte(path[min(start+1, len(path)):], '/')
		if n < 0 {
			return 0, 0, false
		}
		end = start + 1 + n
		seg := path[start:end]
		if dot := strings.LastIndexByte(seg, '.'); dot >= 0 && isScript(seg[dot+1:]) {
			return start, end, true
		}
		start = end
	}
}

func isScript(ending string) bool {
	for _, s := range scripts {
		if len(ending) == len(s) && hasPrefixFold(ending, s) {
			return true
		}
	}
	return false
}
