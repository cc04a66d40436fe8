package attack

import (
	"strings"
	"testing"
)

// letters is what is left of a name when nothing but letters and digits counts.
func letters(name string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(separators, r) {
			return -1
		}
		return r
	}, strings.ToLower(name))
}

func TestHeaderSpellings(t *testing.T) {
	for _, name := range []string{"Kibo-Account-Id", "X-Customer-Email", "Remote-User", "REMOTE_USER", "User", "X.Y"} {
		got := HeaderSpellings(name)
		if len(got) < 60 || got[0] != name {
			t.Errorf("%s: %d spellings, the first is %q; want 60 or more, itself first", name, len(got), got[0])
		}
		known := map[string]bool{}
		for _, s := range got {
			if known[s] {
				t.Errorf("%s: %q is there twice", name, s)
			}
			known[s] = true
			if bare := strings.ReplaceAll(letters(s), "http", ""); bare != letters(name) {
				t.Errorf("%s: %q is another name", name, s)
			}
			if !isToken(s) {
				t.Errorf("%s: %q is no header name", name, s)
			}
		}
	}
}

// isToken is RFC 9110 §5.6.2.
func isToken(s string) bool {
	for _, r := range s {
		if !(r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || strings.ContainsRune(separators, r)) {
			return false
		}
	}
	return s != ""
}

// TestHeaderSpellingsHaveTheKnownOnes: each of these has once got through a
// real gateway.
func TestHeaderSpellingsHaveTheKnownOnes(t *testing.T) {
	known := map[string]bool{}
	for _, s := range HeaderSpellings("Kibo-Account-Id") {
		known[s] = true
	}
	for _, s := range []string{
		"kibo-account-id", "KIBO-ACCOUNT-ID", "Kibo_Account_Id", "Kibo_Account-Id", "Kibo-Account_Id", "kibo.account.id",
		"HTTP_KIBO_ACCOUNT_ID", "Kibo~Account~Id", "Kibo--Account--Id", "-Kibo-Account-Id", "Kibo-Account-Id_",
	} {
		if !known[s] {
			t.Errorf("%q is missing", s)
		}
	}
}
