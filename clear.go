package kiboauth

import (
	"slices"
	"strings"

	"go.uber.org/zap"
)

// warnOfClear says which lines hold a secret that is no placeholder. Caddy shows
// its configuration in the admin API's /config and in `caddy adapt`, and writes
// it to autosave.json; only placeholders keep secrets out of there. What the
// Caddyfile has as {$NAME} has been replaced before anybody could tell.
func (h *Handler) warnOfClear() {
	lines := map[string][]string{"client": {h.SharedSecret}, "secret": h.Secrets}
	if h.Captcha.Secret != "" {
		lines["captcha.secret"] = []string{h.Captcha.Secret}
	}
	if h.Verify.HMAC != nil {
		lines["verify.hmac"] = h.Verify.HMAC.Keys
	}
	for _, line := range []string{"client", "secret", "verify.hmac", "captcha.secret"} {
		if slices.ContainsFunc(lines[line], func(text string) bool { return !strings.Contains(text, "{") }) {
			h.log.Warn("a secret stands in clear in the configuration, which the admin API shows; write {env.NAME} or {file.PATH}",
				zap.String("line", line))
		}
	}
}
