package attack

import (
	"slices"
	"strings"
)

// separators are the characters of a header name (RFC 9110 §5.6.2) that are
// neither letters nor digits. CGI has variables instead of headers (RFC 3875
// §4.1.18), and "-" becomes "_" in them. What becomes of the others differs:
// Apache before 2.4 and lighttpd make "_" of each, PHP of "." too, and WSGI and
// Rack, which leave "_" alone, cannot tell it from "-" afterwards.
const separators = "-_.!#$%&'*+^`|~"

// HeaderSpellings returns other spellings of a header's name, each of which
// some server takes, or may be configured to take, for the name itself. All of
// them are legal on the wire of HTTP/1.1; in HTTP/2 and 3 names are sent in
// lower case. The name itself, which must have a letter or digit, is the first.
// No two are the same.
//
//   - Case: names are compared without regard to it (RFC 9110 §5.1), but not
//     by every filter.
//   - Separators, all, the first or the last one replaced: CVE-2025-64484 of
//     oauth2-proxy ("_"), CVE-2026-52845 of Caddy's forward_auth ("_", and
//     "." later on), CVE-2015-0219 of Django.
//   - HTTP_ in front, as CGI and its heirs have it: what looks for variables
//     by that prefix may find one that a client has put there itself.
//   - Separators repeated, in front or behind: frameworks that turn names
//     into their own (camel case, symbols) drop what is too much.
func HeaderSpellings(name string) []string {
	words := strings.FieldsFunc(name, func(r rune) bool { return strings.ContainsRune(separators, r) })
	var all []string
	all = append(all, name)
	all = append(all, casings(words)...)
	all = append(all, separated(words)...)
	all = append(all, asVariables(words)...)
	all = append(all, padded(words)...)
	return distinct(all)
}

// casings are the name in other cases.
func casings(words []string) []string {
	name := strings.Join(words, "-")
	upper, lower := strings.ToUpper(name), strings.ToLower(name)
	return []string{
		lower, upper, title(words, "-"),
		alternating(lower, 0), alternating(lower, 1),
		upper[:1] + lower[1:],
		lower[:1] + upper[1:],
		lower[:len(lower)-1] + upper[len(upper)-1:],
	}
}

func title(words []string, separator string) string {
	var capital []string
	for _, w := range words {
		capital = append(capital, strings.ToUpper(w[:1])+strings.ToLower(w[1:]))
	}
	return strings.Join(capital, separator)
}

// alternating has capitals at every other place.
func alternating(lower string, from int) string {
	b := []byte(lower)
	for i := from; i < len(b); i += 2 {
		b[i] = strings.ToUpper(lower[i : i+1])[0]
	}
	return string(b)
}

// separated are the name with other separators: everywhere, and at one place.
func separated(words []string) (all []string) {
	last := len(words) - 1
	for _, c := range strings.Split(separators, "") {
		all = append(all, title(words, c), strings.ToLower(strings.Join(words, c)))
		if last < 2 {
			continue
		}
		all = append(all,
			words[0]+c+strings.Join(words[1:], "-"),
			strings.Join(words[:last], "-")+c+words[last],
			words[0]+"_"+strings.Join(words[1:], c),
		)
	}
	return append(all, strings.ToUpper(strings.Join(words, "_")), strings.ToUpper(strings.Join(words, ".")))
}

// asVariables are the name as CGI and its heirs have it.
func asVariables(words []string) (all []string) {
	for _, c := range strings.Split(separators, "") {
		all = append(all, "HTTP"+c+strings.Join(words, c), "http"+c+strings.ToLower(strings.Join(words, "-")))
	}
	for _, inner := range []string{"_", "-", "."} {
		name := strings.Join(words, inner)
		all = append(all,
			"HTTP_"+strings.ToUpper(name), "Http-"+title(words, inner), "hTtP_"+name,
			"HTTP__"+name, "HTTP_-"+name, "HTTP_HTTP_"+name, "-HTTP-"+name, "_http_"+name,
		)
	}
	return all
}

// padded are the name with too many separators.
func padded(words []string) (all []string) {
	name := strings.Join(words, "-")
	for _, c := range []string{"-", "_", ".", "!", "~"} {
		all = append(all, c+name, name+c, c+name+c, c+c+c+name, name+c+c+c)
	}
	for _, run := range []string{"--", "__", "-_", "_-", "..", "-.", "~-~", strings.Repeat("-", 300)} {
		all = append(all, strings.Join(words, run))
	}
	return all
}

// distinct drops what is there already, and keeps the order.
func distinct(all []string) []string {
	known := map[string]bool{}
	return slices.DeleteFunc(all, func(s string) bool {
		was := known[s]
		known[s] = true
		return was
	})
}
