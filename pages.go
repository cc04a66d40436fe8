package kiboauth

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/kiboauth/caddy-kibo-auth/internal/captcha"
	"github.com/kiboauth/caddy-kibo-auth/internal/redact"
)

// loginStep is where in signing in the customer is.
type loginStep uint8

const (
	stepEmail  loginStep = iota // asks for the e-mail address
	stepCode                    // asks for the code mailed to it
	stepSecond                  // asks for the code of a second mail
)

// notice is what the login page has to say about the post before.
type notice uint8

const (
	noticeNone        notice = iota
	noticeCodeSent           // the same whether the address has an account or not
	noticeRejected           // the same for a wrong code, an unknown address, a locked account, …
	noticeExpired            // took too long, or was started in another browser
	noticeLimited            // too many tries
	noticeUnavailable        // Kibo cannot be asked; the code was not used up
	noticeSignedOut
	noticeBadAddress // what was typed is no e-mail address
	noticeNotSent    // Kibo sends no further code of the second step
	noticeCaptcha    // a captcha is to be solved first
)

// isError tells a notice about trouble from a pleasant one.
func (n notice) isError() bool {
	switch n {
	case noticeNone, noticeCodeSent, noticeSignedOut:
		return false
	default:
		return true
	}
}

// loginFields is what all login pages of a gateway have in common; none of it
// comes from a stranger.
type loginFields struct {
	Action string // path that the form posts to

	// Names of fields. A field without name is not shown.
	EmailField, CodeField, RememberField, ReturnField string
	PasswordField                                     string
	SendCodeField, ResendField                        string // of buttons

	Hidden [][2]string // names and values of further hidden inputs
}

// loginView is what the login page shows. All but its state may come from a
// stranger.
type loginView struct {
	loginState
	Email    string
	Code     redact.Text // with noticeCaptcha only: Kibo has not seen it
	ReturnTo string
}

// loginState is where a sign-in stands, with no word of the visitor's in it.
type loginState struct {
	Step     loginStep
	Remember bool
	// AfterPassword: with stepSecond, what came first was a password.
	AfterPassword bool

	// Captcha is to be drawn; nil: none.
	Captcha *widget

	Notice notice
	Retry  time.Duration // with noticeLimited and noticeUnavailable; 0: not known
}

// errorView is what an error page shows.
type errorView struct {
	Status    int
	Title     string        // default: the status's name
	Text      string        // what happened and what to do
	Retry     time.Duration // when to try again; 0: not known
	Reference string        // what support staff can find the error by
	Back      string        // path on this site to go on from; "": none
}

// pages draws the pages that are the gateway's own.
type pages struct {
	fields   loginFields
	brand    Brand
	help     brandHelp
	style    template.CSS
	csp      string
	widget   string // the policy of a page with a captcha
	template *template.Template
	outlines outlines
}

//go:embed pages/*.html pages/style.css
var pageFiles embed.FS

// newPages prepares the pages for a brand. Its error says how to mend the brand.
func newPages(b Brand, f loginFields) (*pages, error) {
	if err := b.check(); err != nil {
		return nil, err
	}
	help, err := b.help()
	if err != nil {
		return nil, err
	}
	logo, err := b.logoSource()
	if err != nil {
		return nil, err
	}
	sheet, err := pageFiles.ReadFile("pages/style.css")
	if err != nil {
		return nil, fmt.Errorf("reading style sheet: %w", err)
	}
	tmpl, err := template.ParseFS(pageFiles, "pages/*.html")
	if err != nil {
		return nil, fmt.Errorf("parsing page templates: %w", err)
	}
	style := b.style() + string(sheet)
	// template.CSS is not escaped: it is our own style sheet and a checked color.
	return &pages{fields: f, brand: b, help: help, style: template.CSS(style), csp: pagePolicy(logo, style), template: tmpl}, nil
}

// pagePolicy returns the Content-Security-Policy of all pages. The style sheet
// is inline, and allowed by its hash: so a page is a single request, and no
// second path of the gateway's has to be kept clear of the shop's. Images are
// allowed from where the logo is, and not at all without one.
func pagePolicy(logo, style string) string {
	if logo != "" {
		logo = "; img-src " + logo
	}
	sum := sha256.Sum256([]byte(style))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'" + logo +
		"; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
}

// allow lets pages with a captcha, and no others, have what its widget needs.
func (p *pages) allow(c captcha.Provider) {
	p.widget = p.csp + "; " + c.Policy
	if c.Styles != "" {
		p.widget = strings.Replace(p.widget, "; style-src ", "; style-src "+c.Styles+" ", 1)
	}
}

// pageData is what the templates draw from.
type pageData struct {
	Brand   Brand
	Help    brandHelp
	Style   template.CSS
	Heading string
	Alert   bool   // Message is about trouble
	Message string // what there is to say first

	// FocusField says that there is something to type now.
	FocusField bool

	Login   loginData
	Failure errorView
}

// loginData is what the templates know of a login page.
type loginData struct {
	loginFields
	loginView
}

// Title heads the browser's tab; it is what a screen reader says first.
func (d pageData) Title() string {
	title := d.Heading
	if d.Alert {
		title = "Error: " + title
	}
	if d.Brand.Name != "" {
		title += " – " + d.Brand.Name
	}
	return title
}

// What the templates ask of a view.

func (v loginView) AsksEmail() bool   { return v.Step == stepEmail }
func (v loginView) AsksSecond() bool  { return v.Step == stepSecond }
func (v loginView) AsksCaptcha() bool { return v.Notice == noticeCaptcha }
func (v loginView) CodeSent() bool    { return v.Notice == noticeCodeSent }
func (v loginView) InTrouble() bool   { return v.Notice.isError() }
func (v loginView) Mistyped() bool    { return v.Notice == noticeRejected || v.Notice == noticeBadAddress }

// AtPassword: there is nothing to mend but the password, or so it seems. It is
// never filled in again, so that is where typing goes on.
func (v loginData) AtPassword() bool {
	return v.PasswordField != "" && v.Email != "" && v.Notice == noticeRejected
}

// login answers with the login page. The status is the caller's decision.
func (p *pages) login(w http.ResponseWriter, r *http.Request, status int, v loginView) {
	policy := p.csp
	if v.Captcha != nil {
		policy = p.widget
	}
	body, err := p.outlined(loginData{p.fields, v})
	drawnPage{status, policy, v.Retry, body}.send(w, r, err)
}

func (p *pages) drawLogin(v loginData) ([]byte, error) {
	return p.draw("login.html", pageData{
		Heading:    v.heading(),
		Alert:      v.Notice.isError(),
		Message:    v.message(),
		FocusField: v.Notice != noticeLimited && v.Notice != noticeSignedOut && v.Notice != noticeCaptcha,
		Login:      v,
	})
}

func (v loginView) heading() string {
	switch v.Step {
	case stepCode:
		return "Check your e-mail"
	case stepSecond:
		return "One more step"
	default:
		return "Sign in"
	}
}

// message is the text of the notice.
func (v loginData) message() string {
	switch v.Notice {
	case noticeCodeSent:
		if v.Step == stepEmail {
			return "If an account belongs to that address, a code is on its way."
		}
		return "" // the template says it, with the address
	case noticeRejected:
		if v.Step == stepEmail && v.PasswordField != "" {
			return "That did not work. Check your e-mail address and your password, or have us send you a code."
		}
		if v.Step == stepEmail {
			return "That did not work. Check your e-mail address, and we will send you a new code."
		}
		return "That code did not work. Check it and try again, or send a new code."
	case noticeNotSent:
		return "We could not send you a new code. The newest one that you have may still work. If not, please start again."
	case noticeExpired:
		if v.PasswordField != "" {
			return "This sign-in took too long, or was started in another window. Please start again."
		}
		return "This sign-in took too long, or was started in another window. Please ask for a new code."
	case noticeLimited:
		return "That was one try too many for now. " + tryAgain(v.Retry)
	case noticeUnavailable:
		if v.Step == stepEmail {
			return "We cannot sign you in just now. It is not your fault. " + tryAgain(v.Retry)
		}
		return "We cannot check your code just now, but it is not lost. " + tryAgain(v.Retry)
	case noticeBadAddress:
		return "That does not look like an e-mail address. Please check it and try again."
	case noticeSignedOut:
		return "You are signed out."
	case noticeCaptcha:
		return "There were many sign-ins just now. Please show below that you are a person, then go on."
	default:
		return ""
	}
}

// failure answers with an error page.
func (p *pages) failure(w http.ResponseWriter, r *http.Request, v errorView) {
	if v.Title == "" {
		v.Title = http.StatusText(v.Status)
	}
	if !isPageLink(v.Back) {
		v.Back = ""
	}
	d := pageData{Heading: v.Title, Alert: true, Message: v.Text, Failure: v}
	if v.Retry > 0 {
		d.Message = strings.TrimSpace(v.Text + " " + tryAgain(v.Retry))
	}
	body, err := p.draw("error.html", d)
	drawnPage{v.Status, p.csp, v.Retry, body}.send(w, r, err)
}

// isPageLink holds for paths that stay on this site. Callers have checked
// theirs; a link that a stranger may have had a hand in is checked twice.
func isPageLink(s string) bool {
	return strings.HasPrefix(s, "/") && !strings.HasPrefix(s, "//") && !strings.ContainsFunc(s, func(c rune) bool {
		return c <= ' ' || c == '\\' || c >= 0x7f
	})
}

// tryAgain says when, in words that are still true if read a little later.
func tryAgain(d time.Duration) string {
	switch {
	case d <= 0:
		return "Please try again a little later."
	case d <= 10*time.Second:
		return "Please try again in a few seconds."
	case d <= time.Minute:
		return "Please try again in about 1 minute."
	case d <= 90*time.Minute:
		return fmt.Sprintf("Please try again in about %d minutes.", ceilDiv(d, time.Minute))
	default:
		return fmt.Sprintf("Please try again in about %d hours.", ceilDiv(d, time.Hour))
	}
}

func ceilDiv(d, unit time.Duration) int64 { return int64((d + unit - 1) / unit) }

// draw makes a whole page of a template, so that its length is known and none
// is ever sent by half.
func (p *pages) draw(name string, d pageData) ([]byte, error) {
	d.Brand, d.Help, d.Style = p.brand, p.help, p.style
	var body bytes.Buffer
	err := p.template.ExecuteTemplate(&body, name, d)
	return body.Bytes(), err
}

// drawnPage is ready to be sent.
type drawnPage struct {
	status int
	policy string        // Content-Security-Policy
	retry  time.Duration // 0: not known
	body   []byte
}

// send answers with the page, unless drawing it failed.
func (p drawnPage) send(w http.ResponseWriter, r *http.Request, failed error) {
	if failed != nil {
		http.Error(w, "Something went wrong. Please try again.", http.StatusInternalServerError)
		return
	}
	p.header(w.Header())
	w.WriteHeader(p.status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(p.body) // nobody is left to tell
	}
}

func (p drawnPage) header(h http.Header) {
	h.Set("Content-Length", strconv.Itoa(len(p.body)))
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", p.policy)
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("X-Content-Type-Options", "nosniff")
	// Not "no-referrer": under it browsers post our own form with
	// "Origin: null" (Fetch, "append a request Origin header"), which the
	// cross-site check has to refuse. Other sites learn nothing this way either.
	h.Set("Referrer-Policy", "same-origin")
	if p.retry > 0 {
		h.Set("Retry-After", strconv.FormatInt(ceilDiv(p.retry, time.Second), 10))
	}
}
