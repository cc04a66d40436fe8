package captcha

import (
	"strings"
	"testing"
)

func TestNamed(t *testing.T) {
	for name, field := range map[string]string{
		"turnstile": "cf-turnstile-response", "hcaptcha": "h-captcha-response", "recaptcha": "g-recaptcha-response",
	} {
		p, ok := Named(name)
		if !ok || p.Field != field || p.MaxAnswer < shortAnswer {
			t.Errorf("%s: %+v, want the field %s", name, p, field)
		}
		for _, u := range []string{p.URL, p.Script} {
			if _, err := parseURL(u); err != nil {
				t.Errorf("%s: %s: %v", name, u, err)
			}
		}
		if !strings.HasPrefix(p.Policy, "script-src https://") || !strings.Contains(p.Policy, "; frame-src https://") {
			t.Errorf("%s: policy %q", name, p.Policy)
		}
		for _, loose := range []string{"unsafe", " * ", "http:", "https: ", "data:", "'self'"} {
			if strings.Contains(p.Policy+" "+p.Styles+" ", loose) {
				t.Errorf("%s: policy has %q", name, loose)
			}
		}
	}
	if _, ok := Named("other"); ok {
		t.Error("other is known")
	}
}

func TestCustom(t *testing.T) {
	p, err := Custom("https://captcha.example.com/siteverify", "https://cdn.example.com:8443/api.js?render=auto")
	want := "script-src https://cdn.example.com:8443; frame-src https://cdn.example.com:8443; connect-src https://cdn.example.com:8443"
	if err != nil || p.Policy != want {
		t.Errorf("policy %q, %v; want %q", p.Policy, err, want)
	}
	for _, bad := range []string{
		"", "captcha.example.com", "/siteverify", "http://captcha.example.com/", "ftp://captcha.example.com/", "javascript:alert(1)",
		"https://", "https://user:password@captcha.example.com/", "https://captcha.example.com/#a", "https://a;script-src *", "https://a,b/",
		"https://*.example.com/", "https://a'b/", "http://127.0.0.1.example.com/", "http://localhost.example.com/",
	} {
		if _, err := Custom(bad, ""); err == nil {
			t.Errorf("to verify at %q is accepted", bad)
		}
		if _, err := Custom("https://captcha.example.com/", bad); err == nil && bad != "" {
			t.Errorf("the script %q is accepted", bad)
		}
	}
	for _, good := range []string{"http://127.0.0.1:8080/", "http://localhost/", "http://[::1]:8080/v", "https://[2001:db8::1]/"} {
		if _, err := Custom(good, good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
}
