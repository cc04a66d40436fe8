package kibosim

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"math/big"
	"time"
)

const (
	defaultCodeTTL   = 3 * time.Minute
	defaultCodeTries = 3
	// secondFactorWindow is how long a passed first factor may wait for the
	// second. Kibo does not document one.
	secondFactorWindow = 10 * time.Minute
)

type codeKind int

const (
	signInCode codeKind = iota
	secondFactorCode
)

// A customer has at most one code of each kind; a new one replaces it.
type codeKey struct {
	user id
	kind codeKind
}

type code struct {
	digits  string // "": used up by wrong tries
	sent    time.Time
	expires time.Time
	tries   int // wrong ones still allowed

	// The rest is for second factors: the visit that waits for it.
	visit visit
	begun time.Time
}

// A visit is what Kibo compares with the last one to spot a new device or
// another region. Both are free texts.
type visit struct{ fingerprint, region string }

// sendCode makes a new code and "mails" it.
func (s *Sim) sendCode(c *call, customer *Customer, kind codeKind, v visit, begun time.Time) {
	fresh := &code{
		digits:  cmp.Or(c.sw.FixedCode, s.o.NewCode()),
		sent:    c.now,
		expires: c.now.Add(cmp.Or(c.sw.CodeTTL, defaultCodeTTL)),
		tries:   cmp.Or(c.sw.CodeTries, defaultCodeTries),
		visit:   v,
		begun:   begun,
	}
	digits := fresh.digits
	s.mu.Lock()
	s.codes[codeKey{customer.userID, kind}] = fresh
	s.mu.Unlock()
	s.o.OnCode(customer.Email, digits)
}

func randomCode() string {
	n, err := rand.Int(rand.Reader, big.NewInt(1_000_000))
	if err != nil {
		panic("kibosim: " + err.Error()) // cannot happen with rand.Reader
	}
	return fmt.Sprintf("%06d", n)
}

// takeCode uses up a code. The reason, for the log only, says why it is not
// accepted.
func (s *Sim) takeCode(c *call, customer *Customer, kind codeKind, digits string) (v visit, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := codeKey{customer.userID, kind}
	k, ok := s.codes[key]
	switch {
	case !ok:
		return visit{}, "no_code"
	case k.digits == "":
		return visit{}, "code_burnt"
	case !c.now.Before(k.expires):
		return visit{}, "code_expired"
	case k.digits != digits:
		if k.tries--; k.tries <= 0 {
			k.digits = ""
		}
		return visit{}, "wrong_code"
	}
	delete(s.codes, key)
	return k.visit, ""
}

// pendingVisit returns the visit that waits for the customer's second factor,
// and when it began.
func (s *Sim) pendingVisit(customer *Customer, now time.Time) (v visit, begun time.Time, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, ok := s.codes[codeKey{customer.userID, secondFactorCode}]
	if !ok || now.Sub(k.begun) > secondFactorWindow {
		return visit{}, time.Time{}, false
	}
	return k.visit, k.begun, true
}

// Code returns the code that a customer would find as the newest in their
// mail, "" if none is valid now.
func (s *Sim) Code(email string) string {
	customer := s.customers.find(email)
	if customer == nil {
		return ""
	}
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	var newest *code
	for _, kind := range []codeKind{signInCode, secondFactorCode} {
		k, ok := s.codes[codeKey{customer.userID, kind}]
		if ok && k.digits != "" && now.Before(k.expires) && (newest == nil || !k.sent.Before(newest.sent)) {
			newest = k
		}
	}
	if newest == nil {
		return ""
	}
	return newest.digits
}
