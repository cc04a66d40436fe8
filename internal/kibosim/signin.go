package kibosim

import (
	"net/http"
	"time"
)

// Upper bounds of the TTL fields, as a tenant would configure them.
const (
	maxAccessMinutes  = 60
	maxRefreshMinutes = 30 * 24 * 60
)

// otpRequest sends a code by mail. A customer who does not exist is not
// revealed, unless the switch says so.
func (s *Sim) otpRequest(c *call) reply {
	var in struct{ Email string }
	if rp, ok := c.decode(&in); !ok {
		return rp
	}
	if in.Email == "" {
		return c.missing("email")
	}
	customer := s.customers.find(in.Email)
	switch {
	case c.sw.OTPOff, customer != nil && customer.NoOTP:
		return c.otpOff()
	case customer == nil && c.sw.UnknownEmail == "reveal":
		return c.fail(http.StatusNotFound, "Customer", "ITEM_NOT_FOUND", "Item not found: customer", "unknown_email")
	case customer == nil:
		return reply{status: http.StatusOK, reason: "unknown_email"}
	}
	s.sendCode(c, customer, signInCode, visit{}, time.Time{})
	return reply{status: http.StatusOK, reason: "code_sent"}
}

// otpAuth exchanges a code for a ticket.
func (s *Sim) otpAuth(c *call) reply {
	var in struct{ Email, OTPCode, Fingerprint, Region string }
	if rp, ok := c.decode(&in); !ok {
		return rp
	}
	switch {
	case in.Email == "":
		return c.missing("email")
	case in.OTPCode == "":
		return c.missing("otpCode")
	case c.sw.OTPOff:
		return c.otpOff()
	}
	customer := s.customers.find(in.Email)
	switch {
	case customer == nil:
		return c.reject("unknown_email")
	case c.turnsAway(customer):
		return c.lockedOut()
	}
	if _, reason := s.takeCode(c, customer, signInCode, in.OTPCode); reason != "" {
		return c.reject(reason)
	}
	return s.firstFactorPassed(c, customer, visit{in.Fingerprint, in.Region}, ttls{})
}

// password exchanges user name and password for a ticket.
func (s *Sim) password(c *call) reply {
	var in struct {
		Username, Password, Fingerprint, Region string
		AuthTicketTTLMinutes                    *int
		RefreshTokenTTLMinutes                  *int
	}
	if rp, ok := c.decode(&in); !ok {
		return rp
	}
	switch {
	case in.Username == "":
		return c.missing("username")
	case in.Password == "":
		return c.missing("password")
	}
	life, rp, ok := c.ticketLife(in.AuthTicketTTLMinutes, in.RefreshTokenTTLMinutes)
	if !ok {
		return rp
	}
	customer := s.customers.find(in.Username)
	switch {
	case customer == nil:
		return c.reject("unknown_user")
	case c.turnsAway(customer):
		return c.lockedOut()
	case customer.Password == "" || customer.Password != in.Password:
		return c.reject("wrong_password")
	}
	return s.firstFactorPassed(c, customer, visit{in.Fingerprint, in.Region}, life)
}

// turnsAway says whether a locked customer is kept out.
func (c *call) turnsAway(customer *Customer) bool {
	return customer.Locked && c.sw.LockedStatus != http.StatusOK
}

// ttls are lifetimes that a call asks for; zero is the tenant's default.
type ttls struct{ access, refresh time.Duration }

// ticketLife reads the TTL fields of a password login, which count only for an
// application with the behaviour for them.
func (c *call) ticketLife(access, refresh *int) (ttls, reply, bool) {
	if !c.sw.TokenDurations {
		return ttls{}, reply{}, true
	}
	var life ttls
	if access != nil {
		if *access < 1 || *access > maxAccessMinutes {
			return life, c.missing("authTicketTtlMinutes"), false
		}
		life.access = time.Duration(*access) * time.Minute
	}
	if refresh != nil {
		if *refresh < 1 || *refresh > maxRefreshMinutes {
			return life, c.missing("refreshTokenTtlMinutes"), false
		}
		life.refresh = time.Duration(*refresh) * time.Minute
	}
	return life, reply{}, true
}

// firstFactorPassed answers with a ticket, or asks for the second factor.
func (s *Sim) firstFactorPassed(c *call, customer *Customer, v visit, life ttls) reply {
	if !s.needsSecondFactor(c, customer, v) {
		return s.signedIn(c, customer, v, life)
	}
	s.sendCode(c, customer, secondFactorCode, v, c.now)
	if c.sw.Requires2FA == "with_tokens" {
		return s.newTicket(c, customer, life, true)
	}
	return s.halfTicket(c, customer)
}

func (s *Sim) signedIn(c *call, customer *Customer, v visit, life ttls) reply {
	if c.comparesVisits(customer) { // else nobody ever looks at it
		s.mu.Lock()
		s.visits[customer.userID] = v
		s.mu.Unlock()
	}
	return s.newTicket(c, customer, life, false)
}

func (c *call) comparesVisits(customer *Customer) bool {
	return c.sw.TwoFANewFingerprint || c.sw.TwoFANewRegion ||
		customer.TwoFA == "new_fingerprint" || customer.TwoFA == "new_region"
}

func (s *Sim) needsSecondFactor(c *call, customer *Customer, v visit) bool {
	if c.sw.Requires2FA != "" || c.sw.TwoFAAlways || customer.TwoFA == "always" {
		return true
	}
	s.mu.Lock()
	last := s.visits[customer.userID]
	s.mu.Unlock()
	device := c.sw.TwoFANewFingerprint || customer.TwoFA == "new_fingerprint"
	region := c.sw.TwoFANewRegion || customer.TwoFA == "new_region"
	return device && (v.fingerprint == "" || v.fingerprint != last.fingerprint) ||
		region && (v.region == "" || v.region != last.region)
}

// secondFactorRequest sends the second factor again. Kibo documents no body,
// so the user may be named in the body, the query or the claims header.
func (s *Sim) secondFactorRequest(c *call) reply {
	customer := s.secondFactorUser(c)
	if customer == nil {
		return c.missing("userId")
	}
	v, begun, ok := s.pendingVisit(customer, c.now)
	if !ok {
		return c.reject("no_first_factor")
	}
	s.sendCode(c, customer, secondFactorCode, v, begun)
	return reply{status: http.StatusOK, reason: "code_sent"}
}

func (s *Sim) secondFactorUser(c *call) *Customer {
	var in struct{ UserID string }
	if len(c.body) > 0 {
		if _, ok := c.decode(&in); !ok {
			return nil
		}
	}
	if in.UserID == "" {
		in.UserID = c.r.URL.Query().Get("userId")
	}
	if user, ok := parseID(in.UserID); ok {
		return s.customers.findUser(user)
	}
	if access, ok := s.sealer.open(c.r.Header.Get("x-vol-user-claims")); ok {
		return s.customers.findUser(access.user)
	}
	return nil
}

// secondFactorAuth exchanges user ID and second code for a ticket.
func (s *Sim) secondFactorAuth(c *call) reply {
	var in struct{ UserID, OTPCode string }
	if rp, ok := c.decode(&in); !ok {
		return rp
	}
	switch {
	case in.UserID == "":
		return c.missing("userId")
	case in.OTPCode == "":
		return c.missing("otpCode")
	}
	user, _ := parseID(in.UserID)
	customer := s.customers.findUser(user)
	switch {
	case customer == nil:
		return c.reject("unknown_user")
	case c.turnsAway(customer):
		return c.lockedOut()
	}
	v, reason := s.takeCode(c, customer, secondFactorCode, in.OTPCode)
	if reason != "" {
		return c.reject(reason)
	}
	return s.signedIn(c, customer, v, ttls{})
}
