package urlpath

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// tricks are the ways in which servers are known to change a path before they
// act on it. Each returns its argument if it finds nothing to do.
var tricks = []func(string) string{
	backslashes, // IIS, browsers
	cutParams,   // servlet containers: /a;x/b is /a/b
	cutAt(";"),  // … and old ones that drop the rest as well
	cutControls, // everything written in C, and routers that match one line
	cutAt("?"),  // those that decode first and split afterwards
	cutAt("#"),
	cutAuthority, // PHP's parse_url, JavaScript's URL: //host/a is /a
	cutStreams,   // NTFS: /a::$DATA is /a
	collapse,     // nginx, Apache
	resolveDots,  // RFC 3986 §5.2.4
	trimNames,    // Windows: "a. " is "a"
	lookalikes,   // code page conversion, case folding
}

func backslashes(path string) string { return strings.ReplaceAll(path, `\`, "/") }

func cutAt(stop string) func(string) string {
	return func(path string) string {
		before, _, _ := strings.Cut(path, stop)
		return before
	}
}

// cutControls cuts at the first control character. Only a second layer of
// encoding can bring one here.
func cutControls(path string) string {
	if i := strings.IndexFunc(path, unicode.IsControl); i >= 0 {
		return path[:i]
	}
	return path
}

// cutAuthority reads a path that starts with two slashes as what RFC 3986 §4.2
// calls a network-path reference: a host, and the path there. Scripts that give
// their request target to a parser of addresses do.
func cutAuthority(path string) string {
	if !strings.HasPrefix(path, "//") {
		return path
	}
	host := strings.TrimLeft(path, "/")
	if i := strings.IndexByte(host, '/'); i >= 0 {
		return host[i:]
	}
	return "/"
}

func cutParams(path string) string  { return eachName(path, ";", cutAt(";")) }
func cutStreams(path string) string { return eachName(path, ":", cutAt(":")) }

// eachName changes every segment of a path that contains one of chars.
func eachName(path, chars string, change func(string) string) string {
	if !strings.ContainsAny(path, chars) {
		return path
	}
	names := strings.Split(path, "/")
	for i, name := range names {
		names[i] = change(name)
	}
	return strings.Join(names, "/")
}

func collapse(path string) string {
	for strings.Contains(path, "//") {
		path = strings.ReplaceAll(path, "//", "/")
	}
	return path
}

// resolveDots removes dot segments as RFC 3986 has it: an empty segment is a
// segment. Servers that collapse first are covered by the combination.
func resolveDots(path string) string {
	if !strings.Contains(path, "/.") {
		return path
	}
	names := strings.Split(strings.TrimPrefix(path, "/"), "/")
	kept := names[:0]
	for i, name := range names {
		switch name {
		case ".":
		case "..":
			kept = kept[:max(0, len(kept)-1)]
		default:
			kept = append(kept, name)
			continue
		}
		if i == len(names)-1 {
			kept = append(kept, "") // "/a/b/.." is the folder "/a/"
		}
	}
	return "/" + strings.Join(kept, "/")
}

// trimNames cuts blanks around names and dots behind them, but leaves dot
// segments standing. Control characters, which only double encoding can bring
// here, count as blanks, and so does "+".
func trimNames(path string) string {
	return eachSegment(path, func(name string) string {
		name = strings.TrimFunc(name, blank)
		if name == "." || name == ".." {
			return name
		}
		return strings.TrimRightFunc(name, func(r rune) bool { return r == '.' || blank(r) })
	})
}

func blank(r rune) bool { return r == '+' || unicode.IsSpace(r) || unicode.IsControl(r) }

func eachSegment(path string, change func(string) string) string {
	return eachName(path, "/", change)
}

// lookalikes replaces characters that a conversion to an older character set,
// a normalisation (NFKC, UAX #15), or a change of case and back, turns into
// ASCII.
func lookalikes(path string) string {
	if strings.IndexFunc(path, func(r rune) bool { return r >= utf8.RuneSelf }) < 0 {
		return path
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r < utf8.RuneSelf:
			return unicode.ToLower(r)
		case strings.ContainsRune("\u2044\u2215\u29F8", r):
			return '/'
		case strings.ContainsRune("\u2216\u29F5\u00A5\u20A9", r):
			return '\\'
		case strings.ContainsRune("\u3002", r):
			return '.'
		case unicode.In(r, unicode.Cf, unicode.Variation_Selector) || r == 0x034F: // soft hyphen, zero width
			return -1
		case unicode.IsSpace(r):
			return ' '
		}
		return unicode.ToLower(unicode.ToUpper(r)) // ı is i
	}, norm.NFKC.String(path))
}

// unaccented drops what stands over and under letters, as the conversions of
// Windows do.
func unaccented(path string) string {
	if strings.IndexFunc(path, func(r rune) bool { return r >= utf8.RuneSelf }) < 0 {
		return path
	}
	return strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Mn, r) {
			return -1
		}
		return r
	}, norm.NFKD.String(path))
}

// decode undoes one layer of percent-encoding. Broken escapes stay as they
// are, IIS's %uXXXX counts as one, and overlong UTF-8 becomes what it hides.
func decode(path string) string {
	if strings.IndexByte(path, '%') < 0 {
		return path
	}
	var b strings.Builder
	b.Grow(len(path))
	for i := 0; i < len(path); {
		if path[i] == '%' {
			if n := decodeEscape(&b, path[i+1:]); n > 0 {
				i += 1 + n
				continue
			}
		}
		b.WriteByte(path[i])
		i++
	}
	return shorten(b.String())
}

// decodeEscape writes what the escape at the start of s stands for and
// returns its length without the percent sign, or 0 if it is none.
func decodeEscape(b *strings.Builder, s string) int {
	if len(s) >= 5 && (s[0] == 'u' || s[0] == 'U') {
		if v, err := strconv.ParseUint(s[1:5], 16, 16); err == nil {
			b.WriteRune(rune(v))
			return 5
		}
	}
	if len(s) >= 2 {
		if v, err := strconv.ParseUint(s[:2], 16, 8); err == nil {
			b.WriteByte(byte(v))
			return 2
		}
	}
	return 0
}

// shorten replaces overlong UTF-8 forms of ASCII characters, two and three
// bytes long: C0 AF is the slash that old IIS decoded after its checks.
func shorten(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c&0xFE == 0xC0 && tail(s, i+1):
			b.WriteByte(c&1<<6 | s[i+1]&0x3F)
			i++
		case c == 0xE0 && tail(s, i+1) && s[i+1]&0x3E == 0 && tail(s, i+2):
			b.WriteByte(s[i+1]&1<<6 | s[i+2]&0x3F)
			i += 2
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

func tail(s string, i int) bool { return i < len(s) && s[i]&0xC0 == 0x80 }
