package urlpath

import (
	"net/url"
	"strings"
	"unicode"
)

// maxTarget is the longest redirect target in bytes.
const maxTarget = 2 << 10

// LocalTarget returns raw, without its fragment, if a browser that is sent
// there stays on this site, and "" otherwise. A script behind us that decodes
// the target once more, or twice, before it redirects does not leave the site
// either: "/%2fevil.example" is refused.
func LocalTarget(raw string) string {
	if len(raw) > maxTarget {
		return ""
	}
	raw, _, _ = strings.Cut(raw, "#")
	if !rootedASCII(raw) {
		return ""
	}
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || u.Opaque != "" {
		return ""
	}
	if !staysLocal(u) {
		return ""
	}
	return raw
}

// rootedASCII reports whether raw starts with exactly one slash and is
// printable ASCII without blanks and backslashes: browsers drop tabs and line
// breaks from addresses, and take a backslash for a slash.
func rootedASCII(raw string) bool {
	if raw == "" || raw[0] != '/' || len(raw) > 1 && raw[1] == '/' {
		return false
	}
	for i := range len(raw) {
		if c := raw[i]; c <= ' ' || c >= 0x7F || c == '\\' {
			return false
		}
	}
	return true
}

// staysLocal reports whether no reading of the path names another host or
// breaks a header line, and the path is one that Rules.Of would not answer with
// 400.
func staysLocal(u *url.URL) bool {
	if u.RawPath == "" && plain(u.Path) {
		return true
	}
	if check(u) != nil {
		return false
	}
	all, complete := readings(u)
	if !complete {
		return false
	}
	for _, path := range all {
		if strings.HasPrefix(path, "//") || strings.IndexFunc(path, unicode.IsControl) >= 0 {
			return false
		}
	}
	return true
}
