package attack

import (
	"net/url"
	"strings"
	"testing"
)

// unique fails on what is listed twice, or on a list that is too short.
func unique(t *testing.T, list []string, least int) {
	t.Helper()
	seen := map[string]bool{}
	for _, s := range list {
		if seen[s] {
			t.Errorf("%q is listed twice", s)
		}
		seen[s] = true
	}
	if len(list) < least {
		t.Errorf("%d entries, want %d at least", len(list), least)
	}
	t.Logf("%d entries", len(list))
}

func TestPathsFitIntoARequestLine(t *testing.T) {
	for _, protected := range []string{"/account", "/account/secret.html", "/konto"} {
		all := Paths(protected)
		unique(t, all, 150)
		for _, target := range all {
			if target == "" || strings.ContainsAny(target, " \r\n") {
				t.Errorf("%q cannot be sent", target)
			}
		}
	}
}

func TestEverySpellingFamilyHasItsOwn(t *testing.T) {
	for i, spell := range spellings {
		if got := spell("/account"); len(got) < 4 {
			t.Errorf("family %d has %d targets", i, len(got))
		}
	}
	for i, l := range lures {
		if got := l("shop.example"); len(got) < 4 {
			t.Errorf("lure %d has %d payloads", i, len(got))
		}
	}
}

// TestRedirectsLeaveTheSite: by net/url alone, which is easier to please than
// browsers are, a good part must lead away, or the list has no teeth.
func TestRedirectsLeaveTheSite(t *testing.T) {
	all := Redirects("shop.example")
	unique(t, all, 300)
	base, _ := url.Parse("https://shop.example/login")
	away := 0
	for _, payload := range all {
		if dest, err := base.Parse(payload); err == nil && dest.Scheme+dest.Host != base.Scheme+base.Host {
			away++
		}
	}
	if away < 100 {
		t.Errorf("only %d of %d payloads leave the site, by net/url", away, len(all))
	}
}
