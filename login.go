package kiboauth

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/kiboauth/caddy-kibo-auth/internal/kibo"
	"github.com/kiboauth/caddy-kibo-auth/internal/loginform"
	"github.com/kiboauth/caddy-kibo-auth/internal/redact"
	"github.com/kiboauth/caddy-kibo-auth/internal/urlpath"
)

// attempt is one login post on its way to an answer.
type attempt struct {
	redact.Hidden

	h       *Handler
	w       http.ResponseWriter
	r       *http.Request
	form    *loginform.Form
	pending *pending // nil in the first step
	json    bool
	arrived time.Time
	device  string // by which the browser is known
	known   bool   // it brought that itself
	proof   string // and this, that an account has signed in on it
}

// login answers what comes to a login path, as far as it is a sign-in. What is
// none goes on to the upstream (done is false), its body untouched.
func (h *Handler) login(w http.ResponseWriter, r *http.Request, own credentials) (done bool, err error) {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		if h.Login.Page == pageUpstream {
			return false, nil
		}
		return true, h.showLogin(w, r)
	case http.MethodPost:
	default:
		return false, nil
	}
	arrived := time.Now()
	fields := h.form
	fields.CodeAlone = own.login.seen // later steps need not say the address
	form, ok, err := h.readLogin(w, r, fields)
	switch {
	case err != nil && answerable(err):
		return true, h.refuse(w, r, err)
	case errors.Is(err, errSlowBody):
		return true, caddyhttp.Error(http.StatusRequestTimeout, err)
	case err != nil: // the client is gone
		return true, caddyhttp.Error(http.StatusBadRequest, err)
	case !ok:
		return false, nil
	}
	a := &attempt{h: h, w: w, r: r, form: form, json: form.JSON || wantsJSON(r), arrived: arrived}
	return true, a.serve(own)
}

// answerable tells a bad form from a connection that broke.
func answerable(err error) bool {
	for _, known := range []error{loginform.ErrTooLarge, loginform.ErrTooMany, loginform.ErrConflict, loginform.ErrMalformed} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

// showLogin draws the empty form.
func (h *Handler) showLogin(w http.ResponseWriter, r *http.Request) error {
	view := loginView{ReturnTo: urlpath.LocalTarget(h.returnIn(r.URL.Query()))}
	a := &attempt{h: h, r: r, form: new(loginform.Form)}
	view.Captcha = a.widget(noticeNone)
	h.pages.login(w, r, http.StatusOK, view)
	return nil
}

// returnIn finds the return path in a query, its name in any case.
func (h *Handler) returnIn(query url.Values) string {
	for _, name := range h.Login.ReturnTo {
		for key, values := range query {
			if strings.EqualFold(key, name) && values[0] != "" {
				return values[0]
			}
		}
	}
	return ""
}

// fields is how the pages' forms are read here.
func (l *Login) fields() loginFields {
	f := loginFields{
		Action: l.Paths[0], EmailField: l.EmailField, CodeField: l.CodeField, RememberField: l.RememberField,
		ReturnField: l.ReturnTo[0], PasswordField: l.PasswordField, SendCodeField: sendCodeField, ResendField: resendField,
	}
	if l.RequireField != "" {
		f.Hidden = [][2]string{{l.RequireField, l.RequireValue}}
	}
	return f
}

// serve takes the attempt through its step. A button says what is meant,
// whatever has been filled in; a code, which somebody has just typed, counts
// before a password, which a browser may have filled in.
func (a *attempt) serve(own credentials) error {
	h, form := a.h, a.form
	if isCrossSite(a.r, h.origins) {
		return a.fail(errCrossSite)
	}
	if h.Session.Cookie.Insecure && !isLoopback(a.r) {
		return a.fail(errInsecure)
	}
	if form.Email != "" && !loginform.ValidEmail(form.Email) {
		return a.fail(errBadAddress)
	}
	a.meetDevice(own.device.value)
	a.noticeCrowd()
	switch {
	case form.Resend:
		return a.resend(own)
	case form.Email != "" && (form.SendCode || !form.HasCode && form.Password.IsZero()):
		return a.sendCode()
	case !form.HasCode:
		return a.tryPassword(own)
	}
	return a.tryCode(own)
}

// resume takes up the sign-in that this browser has pending. errNotHere: there
// is none, or it is somebody else's.
func (a *attempt) resume(own credentials) error {
	p, err := a.h.resume(a.r.Context(), own.login.value)
	if err != nil {
		return err
	}
	if a.form.Email != "" && !strings.EqualFold(loginform.NormalEmail(a.form.Email), p.Email) {
		return errNotHere
	}
	a.pending = p
	return nil
}

// isLoopback tells whether the request came in on a loopback address.
func isLoopback(r *http.Request) bool {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return false
	}
	at, err := netip.ParseAddrPort(local.String())
	return err == nil && at.Addr().Unmap().IsLoopback()
}

// sendCode begins a sign-in. The answer neither waits for Kibo's nor depends
// on it, nor on the limits of this account and client, so that words and time
// are the same for every address; only Kibo being out of reach altogether is
// told, and that too many codes are sent in total.
func (a *attempt) sendCode() error {
	h, ctx := a.h, a.r.Context()
	if err := h.kibo.Ready(ctx); err != nil {
		return a.fail(err)
	}
	p := a.newPending(factorCode)
	m, err := a.admitCode(ctx, p)
	if errors.Is(err, errCaptcha) {
		a.pending = nil // so that the page asks for what was asked for, and not for a code
	}
	if err != nil {
		return a.fail(err)
	}
	if err := h.keep(ctx, a.w, p); err != nil {
		m.back.do(ctx)
		return a.fail(err)
	}
	a.pending = p
	if m.send {
		request := kibo.CodeRequest{Email: p.Email, ClientIP: clientIP(a.r)}
		go h.requestCode(context.WithoutCancel(ctx), request, m.back)
	}
	return a.codeSent(stepCode)
}

// admitCode holds a request for a code against the limits, and has a captcha
// solved if one is asked for. Where the limits send nothing, that must not show.
func (a *attempt) admitCode(ctx context.Context, p *pending) (mailing, error) {
	who, err := a.visitor(ctx, p.Email)
	if err != nil {
		return mailing{}, err
	}
	m, err := a.mayMail(ctx, who, false)
	if err != nil {
		return mailing{}, err
	}
	if !m.send {
		return m, a.h.human.seem(ctx, who, a.solution())
	}
	scored, solved, err := a.h.human.pass(ctx, who, a.solution())
	if err != nil {
		m.back.do(ctx)
		m.pause.do(ctx)
		return mailing{}, err
	}
	if solved {
		p.Solved = solvedCaptcha
	}
	m.back = append(m.back, scored...)
	return m, nil
}

func (a *attempt) codeSent(step loginStep) error {
	countAnswer("code_sent")
	if a.json {
		return writeJSON(a.w, http.StatusOK, "application/json", map[string]string{"status": "code_sent"})
	}
	return a.show(http.StatusOK, step, noticeCodeSent, 0)
}

// newPending is a sign-in that begins with this post.
func (a *attempt) newPending(first string) *pending {
	return &pending{
		Email: loginform.NormalEmail(a.form.Email), Remember: a.form.Remember, ReturnTo: a.returnTo(), First: first,
	}
}

// requestCode asks Kibo to send a code. The client bounds how many calls wait.
// What Kibo was in no state to send does not count.
func (h *Handler) requestCode(ctx context.Context, request kibo.CodeRequest, back undo) {
	if err := h.kibo.RequestCode(ctx, request); err != nil {
		if !errors.Is(err, kibo.ErrRejected) {
			back.do(ctx)
		}
		if said, ok := errors.AsType[*kibo.Error](err); ok {
			h.log.Warn("no code was sent", kiboFields(said)...)
			return
		}
		h.log.Warn("no code was sent", zap.Error(err))
	}
}

func clientIP(r *http.Request) string {
	ip, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	return ip
}

// returnTo is where this attempt wants to go afterwards: what the post says,
// else what an earlier step said.
func (a *attempt) returnTo() string {
	if to := urlpath.LocalTarget(a.form.ReturnTo); to != "" {
		return to
	}
	if a.pending != nil {
		return urlpath.LocalTarget(a.pending.ReturnTo)
	}
	return ""
}

// welcome hands over the session and sends the customer on.
func (a *attempt) welcome(in *signedIn, email string) error {
	h := a.h
	countAnswer("signed_in")
	h.setSession(a.w, in.id, in.session)
	h.clearCookie(a.w, h.cookies.login)
	a.keepDevice(a.r.Context(), email)
	target := a.returnTo()
	if target == "" {
		target = h.Login.Success
	}
	if a.json {
		return writeJSON(a.w, http.StatusOK, "application/json", map[string]string{"status": "signed_in", "return_to": target})
	}
	return redirect(a.w, target)
}

// fail answers an attempt that did not work. Nothing is lost: the address
// stays in the form, and the pending sign-in in its cookie.
func (a *attempt) fail(err error) error {
	h := a.h
	answer, wait := answerTo(err)
	if answer == rejected {
		a.rest()
	}
	if !a.json && answer.notice == noticeNone { // no matter of the form
		return h.refuse(a.w, a.r, err)
	}
	countAnswer(answer.code)
	h.report(err, answer)
	if a.json {
		if answer == captchaRequired {
			return answer.write(a.w, wait, &h.human.widget)
		}
		return writeProblem(a.w, answer, wait)
	}
	step := stepEmail
	if a.pending != nil {
		step = stepCode
		if a.pending.UserID != "" {
			step = stepSecond
		}
	}
	return a.show(answer.status, step, answer.notice, wait)
}

// show draws the form for a step, or sends the browser back to the shop's own.
func (a *attempt) show(status int, step loginStep, what notice, wait time.Duration) error {
	h := a.h
	if h.Login.Page == pageUpstream {
		return redirect(a.w, h.loginURL(a.returnTo(), upstreamState(step, what)))
	}
	view := loginView{
		loginState: loginState{Step: step, Remember: a.form.Remember, Notice: what, Retry: wait, Captcha: a.widget(what)},
		Email:      a.form.Email, ReturnTo: a.returnTo(),
	}
	if a.pending != nil {
		view.Email, view.Remember = a.pending.Email, a.pending.Remember
		view.AfterPassword = a.pending.First == factorPassword
	}
	if what == noticeCaptcha {
		view.Code = a.form.Code
	}
	h.pages.login(a.w, a.r, status, view)
	return nil
}

// upstreamState is what the shop's own form is told.
func upstreamState(step loginStep, what notice) string {
	switch what {
	case noticeCodeSent:
		return "code_sent"
	case noticeLimited:
		return "limited"
	case noticeCaptcha:
		return "captcha"
	case noticeUnavailable, noticeNotSent:
		return "unavailable"
	case noticeNone:
		if step == stepSecond {
			return "second_step"
		}
	}
	return "rejected"
}

// wantsJSON tells scripts from pages: by Fetch metadata, by the header that
// older script libraries set, or by what is accepted.
func wantsJSON(r *http.Request) bool {
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" {
		return mode != "navigate"
	}
	accept := r.Header.Get("Accept")
	return strings.EqualFold(r.Header.Get("X-Requested-With"), "XMLHttpRequest") ||
		strings.Contains(accept, "json") && !strings.Contains(accept, "text/html")
}
