package kiboauth

import (
	"cmp"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/kiboauth/caddy-kibo-auth/internal/captcha"
	"github.com/kiboauth/caddy-kibo-auth/internal/redact"
)

// Captcha has a client solve a captcha before Kibo is asked, once it has asked
// for many codes or given many wrong ones. It is a hurdle more and lifts no limit.
type Captcha struct {
	redact.Unprinted `json:"-"`

	// Provider is turnstile, hcaptcha, recaptcha (version 2), or the verify URL
	// of a service that is compatible with Turnstile. Default: none, no captcha
	// is ever asked for.
	Provider string `json:"provider,omitempty"`
	// SiteKey is the public key of the widget. Placeholders are resolved at
	// start. Default: none, it must be given.
	SiteKey string `json:"site_key,omitempty"`
	// Secret is the secret key of the widget, best given as {env.*} or {file.*}:
	// a literal would stand in the admin API's /config. Placeholders are resolved
	// at every call. Default: none, it must be given.
	Secret string `json:"secret,omitempty"`
	// After is how often one client, or all strangers to one account, may ask for
	// codes or give wrong ones until a captcha is asked for, written as a limit
	// is; 0 asks always. Default: 3/15m.
	After string `json:"after,omitempty"`
	// OnFailure says what to do when the provider cannot be asked: closed
	// refuses the post, open lets it through to the limits. Default: closed.
	OnFailure string `json:"on_failure,omitempty"`
	// Script is the URL of the script that draws the widget, where Provider is a
	// URL. Default: that of the provider.
	Script string `json:"script,omitempty"`
	// Field is the form field that the widget fills in. Default: that of the
	// provider; cf-turnstile-response where Provider is a URL.
	Field string `json:"field,omitempty"`
	// Timeout is how long one call may take, at most 5s. Default: 5s.
	Timeout caddy.Duration `json:"timeout,omitempty"`
}

const (
	captchaAfter  = "3/15m"
	captchaAlways = "0"

	failClosed = "closed"
	failOpen   = "open"
)

func (c *Captcha) setDefaults() {
	if c.Provider == "" {
		return
	}
	c.After = cmp.Or(c.After, captchaAfter)
	c.OnFailure = cmp.Or(c.OnFailure, failClosed)
	c.Timeout = cmp.Or(c.Timeout, caddy.Duration(captcha.MaxTimeout))
	if p, err := c.provider(); err == nil {
		c.Field = cmp.Or(c.Field, p.Field)
	}
}

func (c *Captcha) provider() (captcha.Provider, error) {
	if p, ok := captcha.Named(c.Provider); ok {
		return p, nil
	}
	return captcha.Custom(c.Provider, c.Script)
}

var captchaNames = []string{"turnstile", "hcaptcha", "recaptcha"}

func (h *Handler) checkCaptcha() *problem {
	c := &h.Captcha
	if *c == (Captcha{}) {
		return nil
	}
	if p := c.checkProvider(h.Login.Page); p != nil {
		return p
	}
	_, err := c.after()
	switch {
	case h.Limits.Off:
		return &problem{"captcha", "goes by what the limits count, and limit off lifts them", "take one of the two lines away"}
	case c.SiteKey == "":
		return &problem{"captcha", "the site key is missing", "add a line: site_key {env.CAPTCHA_SITE_KEY}"}
	case c.Secret == "":
		return &problem{"captcha", "the secret key is missing", "add a line: secret {env.CAPTCHA_SECRET}"}
	case err != nil:
		return &problem{"captcha.after", err.Error(), "write how often within which time: 3/15m, or 0 for always"}
	case c.OnFailure != failClosed && c.OnFailure != failOpen:
		return &problem{"captcha.on_failure", fmt.Sprintf("%q is not known", c.OnFailure), "write closed (refuse) or open (let through to the limits)"}
	case slices.Contains([]string{h.Login.EmailField, h.Login.CodeField, h.Login.PasswordField}, c.Field):
		return &problem{"captcha.field", fmt.Sprintf("%q is a field of the sign-in form", c.Field), "name the field that the widget fills in"}
	case c.Timeout < 0 || time.Duration(c.Timeout) > captcha.MaxTimeout:
		return &problem{"captcha.timeout", fmt.Sprintf("%s is not between 0 and %s", time.Duration(c.Timeout), captcha.MaxTimeout), "a customer waits for it; give 5s or less"}
	}
	return nil
}

func (c *Captcha) checkProvider(page string) *problem {
	named := slices.Contains(captchaNames, c.Provider)
	if !named && !strings.Contains(c.Provider, "://") {
		return &problem{"captcha", fmt.Sprintf("%q is no provider%s", c.Provider, didYouMean(c.Provider, captchaNames)), "write " + strings.Join(captchaNames, ", ") + ", or the URL to verify at"}
	}
	if named && c.Script != "" {
		return &problem{"captcha.script", "is for a verify URL of your own", "take it away: " + c.Provider + " has a script"}
	}
	if _, err := captcha.Custom(c.Provider, ""); !named && err != nil {
		return &problem{"captcha", "the verify URL cannot be used: " + err.Error(), "write one like https://captcha.example.com/siteverify"}
	}
	if !named && c.Script == "" && page == pageBuiltin {
		return &problem{"captcha", "the script that draws the widget is missing", "add a line: script https://captcha.example.com/api.js"}
	}
	if _, err := c.provider(); err != nil {
		return &problem{"captcha.script", err.Error(), "write one like https://captcha.example.com/api.js"}
	}
	return nil
}

// after is the rate from which a captcha is asked for; a count of 0 is always.
func (c *Captcha) after() (rate, error) {
	if c.After == captchaAlways {
		return rate{per: time.Minute}, nil
	}
	return parseRate(c.After)
}

func (c *Captcha) parse(d *caddyfile.Dispenser, at places) error {
	c.Provider = captchaNames[0]
	if d.NextArg() {
		c.Provider = d.Val()
	}
	if d.NextArg() {
		return d.Errf("captcha takes one provider at most; its options go into a block behind it")
	}
	line := func(name string, target *string) option {
		return func(d *caddyfile.Dispenser) error { at.note("captcha."+name, d); return args(d, target) }
	}
	return block(d, options{
		"site_key":   line("site_key", &c.SiteKey),
		"secret":     line("secret", &c.Secret),
		"after":      line("after", &c.After),
		"on_failure": line("on_failure", &c.OnFailure),
		"script":     line("script", &c.Script),
		"field":      line("field", &c.Field),
		"timeout":    func(d *caddyfile.Dispenser) error { at.note("captcha.timeout", d); return durationArg(d, &c.Timeout) },
	})
}

// siteHosts are the hosts of origins, in lower case and without port.
func siteHosts(origins []string) (hosts []string) {
	for _, origin := range origins {
		if u, err := url.Parse(origin); err == nil {
			hosts = append(hosts, strings.ToLower(u.Hostname()))
		}
	}
	return hosts
}

// hostOf is the host of a Host header, in the same way.
func hostOf(header string) string {
	if host, _, err := net.SplitHostPort(header); err == nil {
		header = host
	}
	return strings.ToLower(strings.Trim(strings.TrimSuffix(header, "."), "[]"))
}
