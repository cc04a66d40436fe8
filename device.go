package kiboauth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"time"
)

const (
	// deviceLife is how long a device is known: as long as browsers keep any
	// cookie (RFC 6265bis §5.5).
	deviceLife = 400 * 24 * time.Hour
	// deviceLen is the length of 32 random bytes in unpadded base64url.
	deviceLen = 43
)

// meetDevice finds out by what the browser is known, or makes it known from now
// on. That is no credential: it opens nothing, belongs to the browser and not
// to the customer, and outlives sign-outs. All that it does is to let Kibo see
// that this device has been used before. Two such cookies with different
// values are none.
func (a *attempt) meetDevice(brought string) {
	if a.h.Login.Fingerprint != "" {
		return // nobody looks at it
	}
	if a.device, a.known = brought, isDevice(brought); a.known {
		return
	}
	var random [32]byte
	rand.Read(random[:]) // never fails: crypto/rand ends the process instead
	a.device = base64.RawURLEncoding.EncodeToString(random[:])
	a.h.setDevice(a.w, a.device)
}

func (h *Handler) setDevice(w http.ResponseWriter, device string) {
	http.SetCookie(w, h.Session.Cookie.cookie(h.cookies.device, device, deviceLife))
}

func isDevice(value string) bool {
	_, err := base64.RawURLEncoding.Strict().DecodeString(value)
	return err == nil && len(value) == deviceLen
}

// fingerprint is what Kibo is told of the device: what the line says, or else a
// hash of the cookie, which is different for every shop and leads back to none.
func (a *attempt) fingerprint() string {
	switch line := a.h.Login.Fingerprint; line {
	case fingerprintOff:
		return ""
	case "":
		sum := sha256.Sum256([]byte("caddy-kibo-auth device v1" + a.h.realm + a.device))
		return base64.RawURLEncoding.EncodeToString(sum[:])
	default:
		return a.extra(line)
	}
}
