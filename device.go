package kiboauth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
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
// that this device has been used before, and to spare customers on it the
// limits that strangers can fill; for that a proof goes behind it once somebody
// has signed in. Two such cookies with different values are none.
func (a *attempt) meetDevice(brought string) {
	if a.h.Login.Fingerprint != "" && a.h.limits == nil {
		return // nobody looks at it
	}
	device, proof, _ := strings.Cut(brought, ".")
	if a.known = isDevice(device); a.known {
		a.device, a.proof = device, proof
		return
	}
	var random [32]byte
	rand.Read(random[:]) // never fails: crypto/rand ends the process instead
	a.device = base64.RawURLEncoding.EncodeToString(random[:])
	if a.h.Login.Fingerprint == "" { // else nobody looks at it before there is a proof
		a.h.setDevice(a.w, a.device)
	}
}

// keepDevice keeps a device known for another while after an account has signed
// in on it, with the proof of that.
func (a *attempt) keepDevice(ctx context.Context, email string) {
	h := a.h
	if h.limits != nil {
		if keys, err := h.keyring.ready(ctx); err == nil {
			h.setDevice(a.w, a.device+"."+deviceProof(keys[0].limit, h.realm, a.device, email))
			return
		}
	}
	if a.known && h.Login.Fingerprint == "" {
		h.setDevice(a.w, a.device)
	}
}

// deviceProof shows that an account has signed in on a device. It cannot be
// made without the gateway's secret, nor moved to another account.
func deviceProof(key []byte, realm, device, email string) string {
	return base64.RawURLEncoding.EncodeToString(keyedHash(key, "device", realm, device, email))
}

// setDevice takes the place of what the same answer has set before.
func (h *Handler) setDevice(w http.ResponseWriter, device string) {
	header := w.Header()
	header["Set-Cookie"] = slices.DeleteFunc(header["Set-Cookie"], func(line string) bool { return strings.HasPrefix(line, h.cookies.device+"=") })
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
