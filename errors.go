package kiboauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/kiboauth/caddy-kibo-auth/internal/captcha"
	"github.com/kiboauth/caddy-kibo-auth/internal/kibo"
	"github.com/kiboauth/caddy-kibo-auth/internal/loginform"
	"github.com/kiboauth/caddy-kibo-auth/internal/verify"
)

// Errors of the gateway itself. What a store or Kibo says is in their own.
var (
	errBadPath      = errors.New("path cannot be read")
	errBadAddress   = errors.New("not an e-mail address")
	errCrossSite    = errors.New("request comes from another site")
	errMethod       = errors.New("method not allowed")
	errBadScope     = errors.New("not a scope of a sign-out")
	errSomeLeft     = errors.New("not all sessions could be ended")
	errNotHere      = errors.New("sign-in was not started in this browser, or took too long")
	errInsecure     = errors.New("insecure cookie on an address that is not loopback")
	errStore        = errors.New("session store cannot answer")
	errBadTicket    = errors.New("ticket cannot be trusted")
	errTryLater     = errors.New("refresh is put off after one that failed")
	errUsedCode     = fmt.Errorf("%w: the code has opened a session before", kibo.ErrRejected)
	errPanic        = errors.New("a fault of our own, logged where it happened")
	errSecondFactor = errors.New("second factor is asked for")
	errBadPassword  = errors.New("password that nobody can have")
	errNotSent      = errors.New("kibo sends no further code")
	errTooSoon      = errors.New("asked again too soon")
	errOverLimit    = errors.New("over a limit")
	errOverTotal    = errors.New("too many codes are sent in total")
	errCrowded      = errors.New("too many tries wait already")
	errCaptcha      = errors.New("a captcha is asked for")
)

// tooSoon is errTooSoon with the time to wait.
type tooSoon struct{ wait time.Duration }

func (*tooSoon) Error() string { return errTooSoon.Error() }
func (*tooSoon) Unwrap() error { return errTooSoon }

// overLimit is errOverLimit with whose limit that is, and the time to wait.
type overLimit struct {
	scope string // account, client or total
	wait  time.Duration
}

func (*overLimit) Error() string { return errOverLimit.Error() }
func (*overLimit) Unwrap() error { return errOverLimit }

// An answer is what a customer gets for an error: a status, a stable code for
// scripts, and words that say what happened and what to do.
type answer struct {
	status int
	code   string
	title  string
	text   string
	notice notice // on the login form
}

// retryLater is how long to wait for what mends itself, when nobody says.
const retryLater = 10 * time.Second

// answers is the one table from error to answer. The first match counts; what
// matches nothing is our own fault.
var answers = []struct {
	err error
	answer
}{
	{errBadPath, answer{400, "bad_path", "This address cannot be read", "The link has characters that no page address may have. Please check it.", noticeNone}},
	{errBadAddress, answer{400, "bad_address", "That is not an e-mail address", "Please check the address and try again.", noticeBadAddress}},
	{loginform.ErrTooLarge, answer{413, "form_too_large", "The form is too large", "Please go back and send less.", noticeNone}},
	{loginform.ErrTooMany, answer{413, "form_too_large", "The form has too many fields", "Please go back and send less.", noticeNone}},
	{loginform.ErrConflict, answer{400, "form_conflict", "The form contradicts itself", "A field came twice with different content. Please go back and try again.", noticeNone}},
	{loginform.ErrMalformed, answer{400, "form_malformed", "The form cannot be read", "Please go back and try again.", noticeNone}},
	{errCrossSite, answer{403, "cross_site", "This request came from another site", "For your safety it was not carried out. Please open the shop and try again there.", noticeNone}},
	{errMethod, answer{405, "method_not_allowed", "Please use the sign-out button", "This address works only when a form is sent to it.", noticeNone}},
	{errBadScope, answer{400, "bad_scope", "It is not clear what to sign out of", "A sign-out ends this session, the others, or everywhere: scope=this, scope=others or scope=everywhere. Nothing was ended.", noticeNone}},
	{errSomeLeft, answer{503, "sessions_left", "You are not signed out everywhere yet", "Some sessions could not be ended just now, and this one goes on. Please try again in a moment.", noticeNone}},
	{errNotHere, answer{401, "expired", "Please start again", "The sign-in was started in another browser, or too long ago. Ask for a new code.", noticeExpired}},
	{errTryLater, unavailable}, // before what it wraps: Kibo's 429 is no fault of who opens a page
	{errNotSent, answer{401, "not_sent", "No further code was sent", "The newest code that you have may still work. If not, please start again.", noticeNotSent}}, // before what it wraps
	{kibo.ErrRejected, rejected},
	{errBadPassword, rejected},
	{errTooSoon, limited},
	{errOverTotal, unavailable}, // before what it wraps
	{errOverLimit, limited},
	{errCrowded, unavailable},
	{errCaptcha, captchaRequired},
	{captcha.ErrBusy, unavailable},
	{captcha.ErrUnavailable, unavailable},
	{ErrNoSession, answer{401, "no_session", "Please sign in", "This page is for customers who have signed in.", noticeNone}},
	{kibo.ErrLimited, limited},
	{errInsecure, answer{503, "unavailable", "Sign-in is not set up for this address", "The shop's operator must remove the insecure option.", noticeUnavailable}},
	{kibo.ErrUnavailable, unavailable},
	{verify.ErrKeysUnavailable, unavailable},
	{errBadTicket, unavailable},
	{errStore, unavailable},
	{ErrStoreFull, unavailable},
	{ErrConflict, unavailable},
}

var (
	rejected        = answer{401, "rejected", "That did not work", "What you entered was not accepted. Check it and the newest e-mail, or ask for a new code.", noticeRejected}
	limited         = answer{429, "limited", "Too many sign-ins just now", "Please wait a little and try again.", noticeLimited}
	captchaRequired = answer{403, "captcha_required", "Please show that you are a person", "There were many sign-ins just now. Solve the captcha and send the form again.", noticeCaptcha}
	unavailable     = answer{503, "unavailable", "Sign-in is not available just now", "Your code is not lost. Please try again in a moment.", noticeUnavailable}
	ourFault        = answer{500, "error", "Something went wrong on our side", "Please try again. If it stays like this, please tell the shop.", noticeUnavailable}
)

// answerTo looks an error up, with the time to wait if there is one.
func answerTo(err error) (answer, time.Duration) {
	for _, a := range answers {
		if errors.Is(err, a.err) {
			return a.answer, waitFor(err, a.status)
		}
	}
	return ourFault, 0
}

func waitFor(err error, status int) time.Duration {
	if said, ok := errors.AsType[*kibo.Error](err); ok && said.RetryAfter > 0 {
		return said.RetryAfter
	}
	if soon, ok := errors.AsType[*tooSoon](err); ok {
		return soon.wait
	}
	if over, ok := errors.AsType[*overLimit](err); ok {
		return over.wait
	}
	if status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests {
		return retryLater
	}
	return 0
}

// refuse answers a request that goes no further.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, err error) error {
	if r.Context().Err() != nil { // hardly anybody is there to read an answer, but none would be 200
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(statusClientGone)
		return nil
	}
	a, wait := answerTo(err)
	countAnswer(a.code)
	h.report(err, a)
	if wantsJSON(r) || !strings.Contains(r.Header.Get("Accept"), "text/html") {
		return writeProblem(w, a, wait)
	}
	h.pages.failure(w, r, errorView{Status: a.status, Title: a.title, Text: a.text, Retry: wait, Back: "/"})
	return nil
}

// statusClientGone is what Caddy and nginx log for a request whose client did
// not wait. One that has closed only its own direction still reads it.
const statusClientGone = 499

// problemBody is an answer for scripts: RFC 9457, with the "message" that
// Kibo's own storefront scripts show.
type problemBody struct {
	Type    string `json:"type"`
	Title   string `json:"title"`
	Status  int    `json:"status"`
	Detail  string `json:"detail"`
	Code    string `json:"code"`
	Message string `json:"message"`
	// Captcha is what a script needs to draw one, with captchaRequired.
	Captcha *widget `json:"captcha,omitempty"`
}

func writeProblem(w http.ResponseWriter, a answer, wait time.Duration) error {
	return a.write(w, wait, nil)
}

// write sends an answer to a script, with what it needs to draw a captcha.
func (a answer) write(w http.ResponseWriter, wait time.Duration, draw *widget) error {
	if wait > 0 {
		w.Header().Set("Retry-After", seconds(wait))
	}
	return writeJSON(w, a.status, "application/problem+json", problemBody{
		Type: "about:blank", Title: a.title, Status: a.status, Detail: a.text, Code: a.code, Message: a.title + ". " + a.text, Captcha: draw,
	})
}

func writeJSON(w http.ResponseWriter, status int, contentType string, body any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encoding an answer: %w", err)
	}
	header := w.Header()
	header.Set("Content-Type", contentType)
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, err = w.Write(append(text, '\n'))
	if err != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// seconds is a Retry-After: whole seconds, at least one.
func seconds(d time.Duration) string {
	return strconv.Itoa(max(1, int(math.Ceil(d.Seconds()))))
}

// report logs what an operator should know: trouble at Kibo or at a store, and
// our own faults. What a customer got wrong is not trouble.
func (h *Handler) report(err error, a answer) {
	var fields []zap.Field
	if said, ok := errors.AsType[*kibo.Error](err); ok {
		fields = kiboFields(said)
	}
	switch {
	case errors.Is(err, errTryLater): // reported when it failed
	case errors.Is(err, errTooSoon): // a customer in a hurry
	case errors.Is(err, captcha.ErrUnavailable): // once a minute, where it is noticed
	case errors.Is(err, errOverLimit) && !errors.Is(err, errOverTotal): // logged with the account
	case a.status == http.StatusInternalServerError, errors.Is(err, errInsecure), errors.Is(err, errBadTicket):
		h.log.Error("cannot answer", append(fields, zap.Error(err))...)
	case a.status == http.StatusServiceUnavailable, a.status == http.StatusTooManyRequests:
		h.log.Warn("cannot answer", append(fields, zap.Error(err))...)
	case errors.Is(err, errUsedCode):
		h.log.Info("sign-in refused: the code has opened a session before")
	case errors.Is(err, kibo.ErrRejected):
		h.log.Info("sign-in refused by Kibo", fields...)
	}
}

// kiboFields are the facts of a failed call that may be logged.
func kiboFields(e *kibo.Error) []zap.Field {
	return []zap.Field{
		zap.String("call", e.Op), zap.Int("status", e.Status), zap.String("code", e.Code), zap.String("application", e.Application),
		zap.String("correlation", e.Correlation), zap.Bool("locked", e.Locked), zap.Bool("app_at_fault", e.App),
	}
}
