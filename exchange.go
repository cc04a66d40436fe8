package kiboauth

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/kiboauth/caddy-kibo-auth/internal/kibo"
	"github.com/kiboauth/caddy-kibo-auth/internal/loginform"
)

// Names of the submit buttons that say what is meant.
const (
	sendCodeField = "send_code" // a code instead of the password
	resendField   = "resend"    // the code of this step again
)

// formFields are what to look for in a login post.
func (l *Login) formFields() loginform.Fields {
	f := loginform.Fields{
		Email: l.EmailField, Code: l.CodeField, Password: l.PasswordField, SendCode: sendCodeField, Resend: resendField,
		Require: l.RequireField, RequireValue: l.RequireValue, Remember: l.RememberField, ReturnTo: l.ReturnTo,
		Extra: []string{l.Region},
	}
	if l.Fingerprint != fingerprintOff {
		f.Extra = append(f.Extra, l.Fingerprint)
	}
	return f
}

// tryCode trades a code for a session, the first one or that of the second
// factor, as is pending.
func (a *attempt) tryCode(own credentials) error {
	if err := a.resume(own); err != nil {
		return a.fail(err)
	}
	p := a.pending
	call := a.codeCall(p)
	if p.UserID != "" {
		call = a.secondCall(p)
	}
	return a.exchange(own, p, p.Nonce+" "+a.form.Code.Reveal(), call)
}

// exchangeCall asks Kibo for a ticket. It must not need the request any more.
type exchangeCall func(context.Context) (*kibo.Ticket, error)

func (a *attempt) codeCall(p *pending) exchangeCall {
	exchange := kibo.CodeExchange{
		Email: p.Email, Code: a.form.Code, ClientIP: clientIP(a.r), Fingerprint: a.fingerprint(), Region: a.extra(a.h.Login.Region),
	}
	return func(ctx context.Context) (*kibo.Ticket, error) { return a.h.kibo.ExchangeCode(ctx, exchange) }
}

// maxPassword is the longest password in bytes that is worth a question.
const maxPassword = 1024

// tryPassword trades a password for a session. It needs no pending sign-in:
// that the post comes from our own site has been seen to. What JSON could not
// carry unchanged is nobody's password.
func (a *attempt) tryPassword(own credentials) error {
	password := a.form.Password
	if password.Len() > maxPassword || !utf8.ValidString(password.Reveal()) {
		return a.fail(errBadPassword)
	}
	p := a.newPending(factorPassword)
	exchange := kibo.PasswordExchange{
		Username: p.Email, Password: password, ClientIP: clientIP(a.r), Fingerprint: a.fingerprint(), Region: a.extra(a.h.Login.Region),
	}
	return a.exchange(own, p, a.passwordKey(p), func(ctx context.Context) (*kibo.Ticket, error) {
		return a.h.kibo.ExchangePassword(ctx, exchange)
	})
}

// passwordKey names the flight that posts of one password from one device
// share. Two browsers that post the same must not share a session, and so one
// that brings no device shares with nobody. The password is only in a keyed
// hash, since the name may outlive the request.
func (a *attempt) passwordKey(p *pending) string {
	if !a.known {
		return "password " + rand.Text()
	}
	sum := hmac.New(sha256.New, a.h.shared.secret[:])
	io.WriteString(sum, p.Email+"\x00"+a.device+"\x00"+a.form.Password.Reveal()) // neither of the first two can hold a NUL
	return "password " + string(sum.Sum(nil))
}

// exchange makes the call, and a session of the ticket. Posts of the same from
// the same browser, a double click, share one exchange and one session; it goes
// on when the browser is gone, since a code works only once.
func (a *attempt) exchange(own credentials, p *pending, key string, call exchangeCall) error {
	ctx := a.r.Context()
	who, err := a.visitor(ctx, p.Email)
	if err != nil {
		return a.fail(err)
	}
	select {
	case done := <-a.h.shared.exchanges.DoChan(key, detached(a.h, a.flight(who, p, call))):
		if second, ok := errors.AsType[*secondFactor](done.Err); ok {
			return a.askSecond(p, second)
		}
		if done.Err != nil {
			return a.fail(done.Err)
		}
		in := done.Val.(*signedIn)
		a.endBefore(ctx, own)
		a.h.makeRoom(ctx, in)
		return a.welcome(in, p.Email)
	case <-ctx.Done():
		return a.h.refuse(a.w, a.r, ctx.Err())
	}
}

// flight counts, has a captcha solved if one is asked for, makes the call, and
// makes the session. What is shared is counted once.
func (a *attempt) flight(who *visitor, p *pending, call exchangeCall) func(context.Context) (*signedIn, error) {
	h, remember, assurance, brought := a.h, p.Remember || a.form.Remember, p.assurance(), a.solution().spared(p)
	code := a.form.Code // none with a password
	return func(ctx context.Context) (*signedIn, error) {
		back, err := h.limits.guess(ctx, who, h.log)
		if err != nil {
			h.reportLimit("sign-in refused by a limit", who, err)
			return nil, err
		}
		scored, solved, err := h.human.pass(ctx, who, brought)
		if err != nil {
			back.do(ctx)
			return nil, err
		}
		var in *signedIn
		err = errUsedCode
		if !h.limits.usedBefore(ctx, who, code) {
			in, err = h.trade(ctx, call, remember, assurance)
		}
		if err == nil {
			h.limits.use(ctx, who, code)
		}
		if !failedGuess(err) {
			back.do(ctx)
			scored.do(ctx)
		}
		if second, ok := errors.AsType[*secondFactor](err); ok {
			second.solved = solved
		}
		return in, err
	}
}

func (h *Handler) trade(ctx context.Context, call exchangeCall, remember bool, assurance string) (*signedIn, error) {
	ticket, err := call(ctx)
	if err != nil {
		return nil, err
	}
	return h.begin(ctx, ticket, remember, assurance)
}

// endBefore ends the session that this browser had (OWASP ASVS 7.2.4), and
// what somebody has planted beside it.
func (a *attempt) endBefore(ctx context.Context, own credentials) {
	for _, value := range own.session.all() {
		old, had := parseSessionID(a.h.realm, value)
		if !had {
			continue
		}
		if err := a.h.sessions.end(ctx, old.key); err != nil {
			a.h.log.Warn("ending the session before", zap.Error(err))
		}
	}
}

// extra is what a fingerprint or region line yields: a form field, or text
// whose placeholders are the operator's, never the customer's.
func (a *attempt) extra(line string) string {
	if strings.Contains(line, "{") {
		repl := a.r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
		return repl.ReplaceAll(line, "")
	}
	return a.form.Extra[line]
}
