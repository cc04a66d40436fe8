package kiboauth

import (
	"bytes"
	"html/template"
	"strings"
	"sync"
)

// outlines are login pages with marks where the visitor's own values belong.
// Drawing the page is the dearest part of refusing a post, and most posts of a
// flood are answered with the same page but for the address: so the template
// runs for one of them, and the others have their values filled in.
type outlines struct {
	mu   sync.Mutex
	kept map[outlineKey]string
}

// maxOutlines bounds what is kept. In use are some dozens, of 5 kB each; more
// because messages tell how long to wait.
const maxOutlines = 256

// outlineKey is all that an outline depends on.
type outlineKey struct {
	state           loginState // without Retry, which is in the message
	message         string
	email, returnTo bool // there is one
}

// The marks. Nothing else on a page contains them.
const (
	markEmail    = "kibo-auth-value-of-email"
	markReturnTo = "kibo-auth-value-of-return-to"
)

// outlined draws a login page of its outline. The marks stand in text and in
// quoted attributes that take no URL, so one way of escaping does for all.
func (p *pages) outlined(v loginData) ([]byte, error) {
	if !v.Code.IsZero() { // seldom, and better not mixed with what is kept
		return p.drawLogin(v)
	}
	outline, err := p.outline(v)
	if err != nil {
		return nil, err
	}
	email, returnTo := template.HTMLEscapeString(v.Email), template.HTMLEscapeString(v.ReturnTo)
	body := bytes.NewBuffer(make([]byte, 0, len(outline)+2*(len(email)+len(returnTo))))
	_, err = strings.NewReplacer(markEmail, email, markReturnTo, returnTo).WriteString(body, outline)
	return body.Bytes(), err
}

// outline returns the one of a page; if it is not kept yet, it is drawn.
func (p *pages) outline(v loginData) (string, error) {
	key := outlineKey{v.loginState, v.message(), v.Email != "", v.ReturnTo != ""}
	key.state.Retry = 0
	if kept, ok := p.outlines.get(key); ok {
		return kept, nil
	}
	if key.email {
		v.Email = markEmail
	}
	if key.returnTo {
		v.ReturnTo = markReturnTo
	}
	page, err := p.drawLogin(v)
	if err != nil {
		return "", err
	}
	p.outlines.keep(key, string(page))
	return string(page), nil
}

func (o *outlines) get(key outlineKey) (outline string, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	outline, ok = o.kept[key]
	return outline, ok
}

func (o *outlines) keep(key outlineKey, outline string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.kept == nil || len(o.kept) >= maxOutlines {
		o.kept = make(map[outlineKey]string)
	}
	o.kept[key] = outline
}
