// Package urlpath decides what a request path may mean to the upstream, and
// which strings are safe to redirect to.
//
// Old servers do not agree on what a path is. One cuts ";jsessionid=…", one
// decodes twice, one takes a backslash for a slash, one drops a trailing dot.
// A gateway that reads a path in one way only is walked around by whoever
// finds the other way. So this package does not look for the right reading:
// it makes every reading it knows of, and takes the strictest answer.
package urlpath

import (
	"errors"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Access says whether a path may be served without a session. The zero value
// is the strict one.
type Access int

const (
	// Protected paths need a session.
	Protected Access = iota
	// Public paths are served to everybody.
	Public
)

// String names the access for logs.
func (a Access) String() string {
	if a == Public {
		return "public"
	}
	return "protected"
}

// Reasons why a path has no meaning that a gateway could vouch for. The
// answer to each of them is 400.
var (
	errFragment = errors.New("the request target contains a raw #")
	errEncoding = errors.New("the path is not UTF-8")
	errControl  = errors.New("the path contains a control character")
)

// Rules decides by path whether a request needs a session. It is immutable
// and safe for concurrent use.
type Rules struct {
	protect []pattern // never empty
	public  []pattern
}

// NewRules compiles the two lists of patterns. A pattern is one of
//
//	/a     this path, and when protecting also /a/
//	/a/*   everything below /a/, and when protecting also /a itself
//	/a*    everything that starts with /a
//	*.css  everything that ends with .css
//	*      everything; /* is the same
//
// Case is ignored. An empty protect list protects everything; public wins over
// protect. The error names the pattern and says how to mend it.
//
// File endings are part of a name here. In front of a server that ignores
// them, such as Spring before 5.3, protect /account* rather than /account.
func NewRules(protect, public []string) (*Rules, error) {
	if len(protect) == 0 {
		protect = []string{"*"}
	}
	var r Rules
	var err error
	if r.protect, err = compile(protect); err != nil {
		return nil, err
	}
	if r.public, err = compile(public); err != nil {
		return nil, err
	}
	return &r, nil
}

// Of classifies the path of u, as the upstream will see it. A path is Public
// when every reading of it is on the public list, or when no reading of it is
// on the protect list. An error means that the request is to be answered with
// 400; the access is then Protected.
func (r *Rules) Of(u *url.URL) (Access, error) {
	if strings.IndexByte(u.RawQuery, '#') >= 0 || u.Fragment != "" {
		return Protected, errFragment
	}
	if u.RawPath == "" && u.Opaque == "" && plain(u.Path) {
		return r.ofPlain(u.Path), nil
	}
	if err := check(u); err != nil {
		return Protected, err
	}
	return r.ofOdd(u), nil
}

// ofPlain decides about a path that has only one reading.
func (r *Rules) ofPlain(path string) Access {
	if r.isPublic(path) || !r.protects(path) {
		return Public
	}
	return Protected
}

// ofOdd decides about a path that servers may read differently. What is not
// rooted ("*", "mailto:x"), or has more readings than we care to follow, is
// protected.
func (r *Rules) ofOdd(u *url.URL) Access {
	if u.Opaque != "" || u.Path != "" && u.Path[0] != '/' {
		return Protected
	}
	all, complete := readings(u)
	if !complete {
		return Protected
	}
	allPublic, anyProtected := true, false
	for _, path := range all {
		allPublic = allPublic && r.isPublic(path)
		anyProtected = anyProtected || r.protects(path) || r.protects(unaccented(path))
		if anyProtected && !allPublic {
			return Protected
		}
	}
	return Public
}

// isPublic reports whether one reading is on the public list. A path that
// leads through a script is public only by the name of the script: an ending
// says nothing (/account.php/x.css is answered by account.php), and to a front
// controller below a public folder (/public/index.php/account) what follows it
// must be public too.
func (r *Rules) isPublic(path string) bool {
	_, end, through := script(path)
	for i := range r.public {
		p := &r.public[i]
		if !p.covers(path) {
			continue
		}
		switch {
		case !through, p.kind != suffix && len(p.text) >= end:
			return true
		case p.kind != suffix:
			return r.isPublic(path[end:])
		}
	}
	return false
}

// maxScripts is how many scripts in one path are followed.
const maxScripts = 3

// protects reports whether one reading is on the protect list. A path that
// leads through a script is looked at in four ways: as it is, as the script
// alone (/account.php/x runs account.php), as what follows it
// (/cgi-bin/shop.cgi/account is /account to the script: RFC 3875 §4.1.5) and
// without the script (/shop/index.php/account is /shop/account to its visitors).
func (r *Rules) protects(path string) bool {
	for range maxScripts + 1 {
		if anyProtects(r.protect, path) {
			return true
		}
		start, end, ok := script(path)
		if !ok {
			return false
		}
		if anyProtects(r.protect, path[:end]) || anyProtects(r.protect, path[end:]) {
			return true
		}
		path = path[:start] + path[end:]
	}
	return true
}

// check refuses paths that no server should have to interpret.
func check(u *url.URL) error {
	if strings.IndexByte(u.RawPath, '#') >= 0 {
		return errFragment
	}
	if !utf8.ValidString(u.Path) {
		return errEncoding
	}
	if strings.IndexFunc(u.Path, unicode.IsControl) >= 0 {
		return errControl
	}
	return nil
}
