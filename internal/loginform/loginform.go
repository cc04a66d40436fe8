// Package loginform recognises the login post of a legacy shop and reads what
// it says. Every other request passes through with its body untouched.
package loginform

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/kiboauth/caddy-kibo-auth/internal/redact"
)

const (
	// maxBody is the longest login post in bytes. Of any other request, no
	// more than this is looked at.
	maxBody = 64 << 10
	// maxFields is the highest number of fields in a login post. ASP.NET Web
	// Forms pages send hundreds.
	maxFields = 1000
)

// Each of these is a login post that cannot be used. Anything else that Read
// returns is an error of the connection.
var (
	// ErrTooLarge: the post is longer than 64 KiB; the answer is 413.
	ErrTooLarge = errors.New("login post is too large")
	// ErrTooMany: the post has more than 1000 fields; the answer is 400.
	ErrTooMany = errors.New("login post has too many fields")
	// ErrConflict: the e-mail, the code, the password or the marker is given
	// twice with different values; the answer is 400.
	ErrConflict = errors.New("login post gives two values for one field")
	// ErrMalformed: the body is not what its content type says, or the
	// e-mail or the code holds control characters; the answer is 400.
	ErrMalformed = errors.New("login post is malformed")
)

// Fields names the fields of a shop's login form, as the form spells them:
// login[username], ctl00$Main$UserName, email_address, j_username.
type Fields struct {
	// Email and Code are compared exactly.
	Email, Code string
	// CodeAlone makes a post with a code, or with Resend, and no e-mail a login
	// post too: a later step of a sign-in whose first step is known.
	CodeAlone bool
	// Password is compared exactly. Empty: nobody signs in by password.
	Password string
	// SendCode and Resend are the names of submit buttons. Empty: there are none.
	SendCode, Resend string
	// Require names a marker that tells the login post from other posts to
	// the same address. Empty: there is none.
	Require string
	// RequireValue is the value that the marker must have. Empty: any.
	RequireValue string
	// Remember asks for a long session. Empty: nobody can.
	Remember string
	// ReturnTo names the fields that say where to go after the sign-in, the
	// first one first. Case is ignored.
	ReturnTo []string
	// Extra names further fields to keep; empty names are ignored.
	Extra []string
}

// Form is what a login post says. Nothing in it is checked but for control
// characters in Email and Code. None of it can be printed.
type Form struct {
	redact.Hidden

	// Email has no blanks around it. It is empty only with Fields.CodeAlone.
	Email string
	// Code has no blanks and dashes in it; people type what they see.
	Code redact.Text
	// HasCode is false when the field is absent or empty: without a password
	// too, the customer asks for a code to be sent.
	HasCode bool
	// Password is what was typed, byte for byte: neither trimmed nor
	// normalised, of any length, and perhaps not UTF-8. It is a secret.
	Password redact.Text
	// SendCode says that the customer asks for a code, though there is a
	// password; Resend, that the code of the second step shall be sent again.
	// Any value but those that Remember ignores counts.
	SendCode, Resend bool
	// Remember is true for any value but 0, false, off and no.
	Remember bool
	// ReturnTo is the first that is not empty, in the body or else in the
	// query. It comes from a stranger and may lead anywhere.
	ReturnTo string
	// Extra holds the first value of each extra field that was there; nil
	// when none was.
	Extra map[string]string
	// JSON says that the body was JSON, and so should be the answer.
	JSON bool
}

// Read looks for a login post: a POST of a form or of JSON that has the e-mail
// field, not blank, and the marker if there must be one. Credentials in the
// query do not count.
//
// If it is one, ok is true and the body is used up. Otherwise ok is false, and
// r.Body yields the very same bytes once more, whatever the error: the first
// 64 KiB from memory, the rest as it arrives. The header is never changed.
func Read(r *http.Request, f Fields) (form *Form, ok bool, err error) {
	parse := parserFor(r)
	if parse == nil || f.Email == "" {
		return nil, false, nil
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil {
		replay(r, body)
		return nil, false, fmt.Errorf("reading login post: %w", err)
	}
	p := newPost(f)
	p.malformed = !parse(p, body)
	if !p.isLogin() {
		replay(r, body)
		return nil, false, nil
	}
	if err := p.fault(len(body)); err != nil {
		replay(r, body)
		return nil, false, err
	}
	r.Body = http.NoBody
	form = p.form(r.URL.RawQuery)
	form.JSON = p.json
	return form, true, nil
}

// replay puts the bytes already read back in front of the body.
func replay(r *http.Request, read []byte) {
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(read), r.Body), r.Body}
}

// A parser adds the fields of body to the post. It reports false when the
// body is broken; what came before that is added all the same.
type parser func(p *post, body []byte) bool

// parserFor chooses by content type; nil means that this is no login post,
// whatever it holds.
func parserFor(r *http.Request) parser {
	if r.Method != http.MethodPost || r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	if enc := r.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		return nil
	}
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) {
		return nil
	}
	switch {
	case kind == "application/x-www-form-urlencoded":
		return parseURLEncoded
	case kind == "multipart/form-data" && params["boundary"] != "":
		return func(p *post, body []byte) bool { return parseMultipart(p, body, params["boundary"]) }
	case kind == "application/json", strings.HasPrefix(kind, "application/") && strings.HasSuffix(kind, "+json"):
		return parseJSON
	default:
		return nil
	}
}
