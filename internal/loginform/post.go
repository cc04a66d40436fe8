package loginform

import (
	"slices"
	"strings"
	"unicode"

	"github.com/kiboauth/caddy-kibo-auth/internal/redact"
)

// A post collects the fields of one body that somebody has asked for, and
// counts the others.
type post struct {
	redact.Hidden

	fields    Fields
	values    map[string][]string // by exact name
	returns   map[string][]string // by name in lower case
	count     int
	malformed bool
	json      bool
}

func newPost(f Fields) *post {
	p := &post{fields: f, values: map[string][]string{}, returns: map[string][]string{}}
	for _, name := range append([]string{f.Email, f.Code, f.Password, f.SendCode, f.Resend, f.Require, f.Remember}, f.Extra...) {
		if name != "" {
			p.values[name] = nil
		}
	}
	for _, name := range f.ReturnTo {
		if name != "" {
			p.returns[strings.ToLower(name)] = nil
		}
	}
	return p
}

// add notes one field. It does not keep what nobody asked for.
func (p *post) add(name, value string) {
	p.count++
	if values, wanted := p.values[name]; wanted {
		p.values[name] = append(values, value)
	}
	name = strings.ToLower(name)
	if values, wanted := p.returns[name]; wanted {
		p.returns[name] = append(values, value)
	}
}

// isLogin reports whether the fields make a login post.
func (p *post) isLogin() bool {
	given := func(name string) bool {
		return slices.ContainsFunc(p.values[name], func(s string) bool { return strings.TrimSpace(s) != "" })
	}
	alone := p.fields.CodeAlone && (given(p.fields.Code) || p.pressed(p.fields.Resend))
	if !given(p.fields.Email) && !alone {
		return false
	}
	if p.fields.Require == "" {
		return true
	}
	marker := p.values[p.fields.Require]
	if p.fields.RequireValue == "" {
		return len(marker) > 0
	}
	return slices.Contains(marker, p.fields.RequireValue)
}

// fault says why this login post cannot be used, or nil.
func (p *post) fault(size int) error {
	switch {
	case size > maxBody:
		return ErrTooLarge
	case p.malformed:
		return ErrMalformed
	case p.count > maxFields:
		return ErrTooMany
	}
	for _, name := range []string{p.fields.Email, p.fields.Code, p.fields.Require} {
		if differ(p.values[name]) {
			return ErrConflict
		}
	}
	if passwords := p.values[p.fields.Password]; len(slices.Compact(slices.Clone(passwords))) > 1 {
		return ErrConflict // blanks count here
	}
	if hasControl(p.email()) || hasControl(p.code()) {
		return ErrMalformed
	}
	return nil
}

// differ reports whether a field was given with more than one value, blanks
// around it aside.
func differ(values []string) bool {
	for i := 1; i < len(values); i++ {
		if strings.TrimSpace(values[i]) != strings.TrimSpace(values[0]) {
			return true
		}
	}
	return false
}

func hasControl(s string) bool { return strings.IndexFunc(s, unicode.IsControl) >= 0 }

func (p *post) email() string { return strings.TrimSpace(first(p.values[p.fields.Email])) }

// code returns the code as Kibo sent it: mail programs and people group it
// with blanks and dashes of all kinds.
func (p *post) code() string {
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || unicode.In(r, unicode.Pd, unicode.Cf) || r == '\u2212' {
			return -1
		}
		return r
	}, first(p.values[p.fields.Code]))
}

// form puts the fields together. Only the return target may come from the
// query.
func (p *post) form(query string) *Form {
	code := p.code()
	return &Form{
		Email:    p.email(),
		Code:     redact.New(code),
		HasCode:  code != "",
		Password: redact.New(first(p.values[p.fields.Password])),
		SendCode: p.pressed(p.fields.SendCode),
		Resend:   p.pressed(p.fields.Resend),
		Remember: p.pressed(p.fields.Remember),
		ReturnTo: p.returnTo(query),
		Extra:    p.extra(),
	}
}

// pressed reads a check box or a button.
func (p *post) pressed(name string) bool { return slices.ContainsFunc(p.values[name], truthy) }

// truthy reads a check box. The hidden "false" that ASP.NET puts beside each
// one does not take back the "true".
func truthy(value string) bool {
	switch strings.ToLower(strings.TrimSpace(value)) {
	case "", "0", "false", "off", "no":
		return false
	}
	return true
}

func (p *post) returnTo(query string) string {
	if target := p.firstReturn(); target != "" {
		return target
	}
	q := newPost(Fields{ReturnTo: p.fields.ReturnTo})
	parseURLEncoded(q, []byte(query))
	return q.firstReturn()
}

func (p *post) firstReturn() string {
	for _, name := range p.fields.ReturnTo {
		for _, target := range p.returns[strings.ToLower(name)] {
			if target != "" {
				return target
			}
		}
	}
	return ""
}

func (p *post) extra() map[string]string {
	var extra map[string]string
	for _, name := range p.fields.Extra {
		if values := p.values[name]; len(values) > 0 {
			if extra == nil {
				extra = make(map[string]string)
			}
			extra[name] = values[0]
		}
	}
	return extra
}

func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}
