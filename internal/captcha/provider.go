// Package captcha asks a captcha provider whether a person has solved what its
// widget showed. It speaks the siteverify call that Turnstile, hCaptcha and
// reCAPTCHA have in common, and knows what a page needs for each widget.
package captcha

import (
	"errors"
	"net/netip"
	"net/url"
	"strings"
)

// Action is what a widget of ours says the answer is for. Turnstile hands it
// back, so that an answer to another form of the shop's is told apart.
const Action = "sign_in"

// A Provider is what differs between the services.
type Provider struct {
	// URL is asked whether an answer is good.
	URL string
	// Script draws the widget; Class is how it finds where.
	Script, Class string
	// Field is the form field that the widget fills in.
	Field string
	// MaxAnswer is the longest answer in bytes that is worth a question.
	MaxAnswer int
	// Policy are the sources that the widget needs, as directives of a
	// Content-Security-Policy, but for styles, which are in Styles.
	Policy, Styles string
}

// Longest answers. Turnstile documents 2048 characters; hCaptcha's have been
// seen with more than 4000, and Google documents no bound.
const (
	shortAnswer = 2048
	longAnswer  = 8192
)

const (
	cloudflare = "https://challenges.cloudflare.com"
	hcaptcha   = "https://hcaptcha.com https://*.hcaptcha.com"
	google     = "https://www.google.com/recaptcha/"
)

// Named returns a provider that is known by name. Addresses and policies are
// those of the providers' own documentation:
// developers.cloudflare.com/turnstile/reference/content-security-policy,
// docs.hcaptcha.com and developers.google.com/recaptcha/docs/faq.
func Named(name string) (Provider, bool) {
	switch name {
	case "turnstile":
		return Provider{
			URL: cloudflare + "/turnstile/v0/siteverify", Script: cloudflare + "/turnstile/v0/api.js",
			Class: "cf-turnstile", Field: "cf-turnstile-response", MaxAnswer: shortAnswer,
			Policy: "script-src " + cloudflare + "; frame-src " + cloudflare,
		}, true
	case "hcaptcha":
		return Provider{
			URL: "https://api.hcaptcha.com/siteverify", Script: "https://js.hcaptcha.com/1/api.js",
			Class: "h-captcha", Field: "h-captcha-response", MaxAnswer: longAnswer,
			Policy: "script-src " + hcaptcha + "; frame-src " + hcaptcha + "; connect-src " + hcaptcha, Styles: hcaptcha,
		}, true
	case "recaptcha":
		return Provider{
			URL: "https://www.google.com/recaptcha/api/siteverify", Script: google + "api.js",
			Class: "g-recaptcha", Field: "g-recaptcha-response", MaxAnswer: longAnswer,
			Policy: "script-src " + google + " https://www.gstatic.com/recaptcha/; frame-src " + google + " https://recaptcha.google.com/recaptcha/",
		}, true
	}
	return Provider{}, false
}

// Custom returns a provider that is compatible with Turnstile. Its widget may
// use whatever comes from where the script does; script is "" if there is none.
func Custom(verify, script string) (Provider, error) {
	if _, err := parseURL(verify); err != nil {
		return Provider{}, err
	}
	p := Provider{URL: verify, Script: script, Class: "cf-turnstile", Field: "cf-turnstile-response", MaxAnswer: shortAnswer}
	if script == "" {
		return p, nil
	}
	u, err := parseURL(script)
	if err != nil {
		return Provider{}, err
	}
	origin := u.Scheme + "://" + u.Host
	p.Policy = "script-src " + origin + "; frame-src " + origin + "; connect-src " + origin
	return p, nil
}

// parseURL reads the URL of a verify call or of a script. Neither may travel in
// clear, but on this machine.
func parseURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Hostname() == "":
		return nil, errors.New("it is no URL")
	case u.User != nil || u.Fragment != "":
		return nil, errors.New("user information and fragments do not belong into this URL")
	case strings.ContainsFunc(u.Host, func(c rune) bool { return c <= ' ' || c >= 0x7f || strings.ContainsRune(`;,'"*`, c) }):
		return nil, errors.New("its host cannot be one") // and would end up in a policy
	case u.Scheme == "https", u.Scheme == "http" && loopback(u.Hostname()):
		return u, nil
	}
	return nil, errors.New("it must be https; plain http is for loopback hosts only")
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}
