package kiboauth

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/kiboauth/caddy-kibo-auth/internal/captcha"
	"github.com/kiboauth/caddy-kibo-auth/internal/loginform"
)

// Rates of what goes with a captcha.
var (
	// captchaTries bounds the answers of one client that the provider refuses,
	// so that nobody can have it asked without end.
	captchaTries = rate{20, 15 * time.Minute}
	// captchaOnce is how long an answer is remembered: longer than it lives,
	// which is five minutes with Turnstile and two elsewhere.
	captchaOnce = rate{1, 10 * time.Minute}
	// captchaSpared is how many codes may be tried for one captcha that was
	// solved to have the code sent: as often as Kibo lets one code be wrong.
	captchaSpared = rate{3, pendingLife}
)

// human is what a handler needs to ask for captchas. nil: none is asked for.
type human struct {
	verifier *captcha.Verifier
	widget   widget
	always   bool
	open     bool // when the provider cannot be asked
	hosts    []string
	limits   *limits
	log      func() *zap.Logger

	score, tries, once, spared *counter
	warning                    onceAMinute
}

// widget is what a page, or a script, needs to draw one.
type widget struct {
	Provider string `json:"provider"`
	SiteKey  string `json:"site_key"`
	Script   string `json:"script,omitempty"`
	Field    string `json:"field"`
	Action   string `json:"action"`
	Class    string `json:"-"`
}

// newHuman makes it; the counters are as those of the limits.
func (h *Handler) newHuman(p captcha.Provider, counters maker) (*human, error) {
	c := &h.Captcha
	key, err := resolve(c.SiteKey)
	if err != nil {
		return nil, &problem{"captcha.site_key", err.Error(), setPlaceholder}
	}
	if _, err := resolve(c.Secret); err != nil {
		return nil, &problem{"captcha.secret", err.Error(), setPlaceholder}
	}
	secret := c.Secret
	u := &human{
		verifier: captcha.New(p, func() (string, error) { return resolve(secret) }, time.Duration(c.Timeout)),
		widget:   widget{c.Provider, key, p.Script, c.Field, captcha.Action, p.Class},
		open:     c.OnFailure == failOpen, hosts: siteHosts(h.Sites), limits: h.limits, log: func() *zap.Logger { return h.log },
	}
	after, err := c.after()
	if err != nil {
		return nil, err
	}
	if u.always = after.count == 0; u.always {
		after.count = 1
	}
	var errs [4]error
	u.score, errs[0] = counters.counter("captcha score", after)
	u.tries, errs[1] = counters.counter("captcha tries", captchaTries)
	u.once, errs[2] = counters.counter("captcha once", captchaOnce)
	u.spared, errs[3] = counters.counter("captcha spared", captchaSpared)
	return u, errors.Join(errs[:]...)
}

// provisionCaptcha comes after the limits, with whose counters it counts.
func (h *Handler) provisionCaptcha(caddy.Context) (err error) {
	if h.Captcha.Provider == "" {
		return nil
	}
	provider, err := h.Captcha.provider() // check has made it before
	if err != nil {
		return err
	}
	if h.human, err = h.newHuman(provider, h.limits.maker); err != nil {
		return err
	}
	h.pages.allow(provider)
	return nil
}

// solution is what one post brings to show that a person sent it.
type solution struct {
	answer string
	ip     string
	host   string
	// spare names the sign-in for which a captcha has been solved; "": none.
	spare string
}

func (a *attempt) solution() solution {
	if a.h.human == nil {
		return solution{}
	}
	return solution{answer: a.form.Extra[a.h.Captcha.Field], ip: clientIP(a.r), host: hostOf(a.r.Host)}
}

// spared adds that a captcha has been solved to have this sign-in's code sent.
func (s solution) spared(p *pending) solution {
	if p.Solved == solvedCaptcha {
		s.spare = p.Nonce
	}
	return s
}

// scoreSpots are where a visitor's posts are counted: a known device's own, or
// those of the client, and then those of all strangers to the account.
func (u *human) scoreSpots(v *visitor) []spot {
	account := accountSpot(u.score, v, false)
	if v.device != "" {
		return []spot{account}
	}
	return []spot{{u.score, clients, scopeClient, []string{v.client}}, account}
}

// pass lets a post go on to Kibo, or says what keeps it: errCaptcha, if a
// captcha must be solved first. back takes back what was counted, when the post
// turns out to be a customer's or Kibo to be away. solved tells that a captcha
// has been solved just now. It is to be called after the limits.
func (u *human) pass(ctx context.Context, v *visitor, p solution) (back undo, solved bool, err error) {
	if u == nil {
		return nil, false, nil
	}
	if !u.always {
		if back, err = u.limits.take(ctx, v, u.scoreSpots(v)); err == nil {
			return back, false, nil
		}
	}
	if p.spare != "" {
		if _, err = u.limits.take(ctx, v, []spot{{u.spared, captchas, scopeClient, []string{p.spare}}}); err == nil {
			return nil, false, nil // tries of a code stay counted, whatever comes of them
		}
	}
	switch err = u.check(ctx, v, p); {
	case err == nil:
		return nil, true, nil
	case errors.Is(err, captcha.ErrUnavailable) && u.open:
		u.warn("the captcha provider cannot be asked; posts go on to the limits", err)
		return nil, false, nil
	}
	return nil, false, err
}

// seem is pass for a post of which nothing will come: it looks the same to who
// brings no answer, and the provider is not asked.
func (u *human) seem(ctx context.Context, v *visitor, p solution) error {
	if u == nil || u.verifier.Plausible(p.answer) || !u.asks(ctx, v) {
		return nil
	}
	return errCaptcha
}

// check has the provider say whether the answer is good. Each is looked at
// once; refused ones count against the client.
func (u *human) check(ctx context.Context, v *visitor, p solution) error {
	if !u.verifier.Plausible(p.answer) {
		u.log().Info("captcha asked for", zap.String("account_hash", v.hash()), zap.Bool("known_device", v.device != ""))
		return errCaptcha
	}
	back, err := u.limits.take(ctx, v, []spot{{u.tries, clients, scopeClient, []string{v.client}}})
	if err != nil {
		u.log().Info("captcha not looked at, because of a limit", zap.String("account_hash", v.hash()))
		return err
	}
	if _, err := u.limits.take(ctx, v, []spot{{u.once, captchas, scopeClient, []string{p.answer}}}); err != nil {
		return fmt.Errorf("%w: it has been given before", errCaptcha)
	}
	err = u.verifier.Verify(ctx, p.answer, p.ip, append([]string{p.host}, u.hosts...))
	if errors.Is(err, captcha.ErrRefused) {
		u.log().Info("captcha refused", zap.String("account_hash", v.hash()), zap.Error(err))
		return errCaptcha
	}
	back.do(ctx)
	if err != nil && !u.open {
		u.warn("the captcha provider cannot be asked; posts that need it are refused", err)
	}
	return err
}

// warn tells once a minute.
func (u *human) warn(what string, err error) {
	if u.warning.due() {
		u.log().Warn(what, zap.Error(err))
	}
}

// asks tells whether the next post of a visitor would need a captcha, and
// counts nothing.
func (u *human) asks(ctx context.Context, v *visitor) bool {
	if u == nil || u.always {
		return u != nil
	}
	for _, s := range u.scoreSpots(v) {
		if s.full(ctx, s.shelf, u.limits.key(v, s)) {
			return true
		}
	}
	return false
}

// widget is what the page must draw, since the next post would need a captcha,
// or the last one did; nil if nothing.
func (a *attempt) widget(what notice) *widget {
	u := a.h.human
	switch {
	case u == nil:
		return nil
	case what == noticeCodeSent && u.verifier.Plausible(a.solution().answer):
		return nil // where a limit sent nothing, the page must not show that nobody looked at it
	case what == noticeCaptcha || u.always && (a.pending == nil || a.pending.Solved != solvedCaptcha):
		return &u.widget
	case a.pending != nil && a.pending.Solved == solvedCaptcha:
		return nil // asked for when the tries that it spares are over
	}
	email := loginform.NormalEmail(a.form.Email)
	if a.pending != nil {
		email = a.pending.Email
	}
	who, err := a.visitor(a.r.Context(), email)
	if err != nil || !u.asks(a.r.Context(), who) {
		return nil
	}
	return &u.widget
}
