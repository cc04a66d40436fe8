package kibosim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Switches choose how the simulator behaves. The zero value is the normal Kibo;
// each field departs from it in one way. In JSON, durations are texts such as
// "15m" and names are as in the tags.
type Switches struct {
	// Faults spoil answers, by endpoint name or "*". See [Fault].
	Faults map[string]Fault `json:"faults,omitempty"`

	// OTPOff clears the site setting isEmailOtpLoginAllowed: otp/request and
	// otp/auth are refused.
	OTPOff bool `json:"otp_off"`
	// TwoFAAlways sets the site setting is2FAAlwaysRequired.
	TwoFAAlways bool `json:"two_fa_always"`
	// TwoFANewFingerprint sets is2FARequiredOnFingerprintChange. An empty
	// fingerprint counts as a new one, here and for the region.
	TwoFANewFingerprint bool `json:"two_fa_new_fingerprint"`
	// TwoFANewRegion sets is2FARequiredOnRegionChange.
	TwoFANewRegion bool `json:"two_fa_new_region"`
	// NoBehaviour takes the application's behaviour away: customer calls
	// are answered with 403.
	NoBehaviour bool `json:"no_behaviour"`
	// TokenDurations gives it customer-auth:configure-token-durations: the
	// TTL fields of a password login are honoured instead of ignored.
	TokenDurations bool `json:"token_durations"`

	// UnknownEmail is what otp/request does with an address it does not
	// know: "silent" (200, the default) or "reveal" (404).
	UnknownEmail string `json:"unknown_email,omitempty"`
	// RejectStatus and RejectCode answer a wrong, used, expired or missing
	// code, a wrong password and an unknown user. Default: 401 and
	// INVALID_CREDENTIALS.
	RejectStatus int    `json:"reject_status,omitempty"`
	RejectCode   string `json:"reject_code,omitempty"`
	// LockedStatus and LockedCode answer a locked customer. Default: 401 and
	// ACCOUNT_LOCKED. Status 200 lets the customer in with isLocked true.
	LockedStatus int    `json:"locked_status,omitempty"`
	LockedCode   string `json:"locked_code,omitempty"`
	// OTPOffStatus answers when codes are off for site or customer.
	// Default: 403.
	OTPOffStatus int `json:"otp_off_status,omitempty"`
	// ExpiredRefreshStatus answers an expired refresh token. Default: 404,
	// as for an unknown one.
	ExpiredRefreshStatus int `json:"expired_refresh_status,omitempty"`
	// AppRefresh is what becomes of an application's refresh token: valid
	// for 12 hours (the default), "always" or "never".
	AppRefresh string `json:"app_refresh,omitempty"`

	// AppTokenTTL is the life of new app tokens. Default: 1h.
	AppTokenTTL time.Duration `json:"-"`
	// AccessTTL is the life of new tickets. Default: 15m.
	AccessTTL time.Duration `json:"-"`
	// RefreshTTL is the life of new refresh tokens. Default: 24h.
	RefreshTTL time.Duration `json:"-"`
	// CodeTTL is the life of new codes. Default: 3m.
	CodeTTL time.Duration `json:"-"`
	// CodeTries is how many wrong tries a code survives, less one. Default: 3.
	CodeTries int `json:"code_tries,omitempty"`
	// FixedCode is sent instead of a random code. Default: random digits.
	FixedCode string `json:"fixed_code,omitempty"`

	// RefreshMode is what happens to a refresh token that was used: "rotate"
	// (dead at once, the default), "grace" (dead after 30 s), "static" (the
	// answer has the same one) or "omit" (the answer has none).
	RefreshMode string `json:"refresh_mode,omitempty"`
	// OtherCustomer makes refresh answer with somebody else's ticket.
	OtherCustomer bool `json:"other_customer"`

	// NullTokens sets all three tokens of a ticket to null.
	NullTokens bool `json:"null_tokens"`
	// MissingJWT leaves jwtAccessToken out of the ticket.
	MissingJWT bool `json:"missing_jwt"`
	// HugeAccount fills customerAccount up to 2 MB.
	HugeAccount bool `json:"huge_account"`
	// Dates is the form of a ticket's dates: RFC 3339 with seven fraction
	// digits (the default), "zoneless", "zero" (the .NET zero date) or
	// "epoch_ms" (a number).
	Dates string `json:"dates,omitempty"`
	// Requires2FA makes every first sign-in step answer requires2FA: "bare"
	// without tokens, "with_tokens" with good ones that must not be used.
	Requires2FA string `json:"requires_2fa,omitempty"`
	// JWT spoils jwtAccessToken. See [Sim.Issue] for the variants.
	JWT string `json:"jwt,omitempty"`
}

// duration is a time.Duration that JSON writes as "15m0s".
type duration time.Duration

func (d duration) MarshalText() ([]byte, error) {
	return []byte(time.Duration(d).String()), nil
}

func (d *duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil || v < 0 {
		return fmt.Errorf("%q is not a duration such as 15m", text)
	}
	*d = duration(v)
	return nil
}

type plainSwitches Switches

// switchesJSON is the JSON form of Switches.
type switchesJSON struct {
	*plainSwitches
	AppTokenTTL duration `json:"app_token_ttl,omitempty"`
	AccessTTL   duration `json:"access_ttl,omitempty"`
	RefreshTTL  duration `json:"refresh_ttl,omitempty"`
	CodeTTL     duration `json:"code_ttl,omitempty"`
}

func (sw *Switches) wire() switchesJSON {
	return switchesJSON{
		(*plainSwitches)(sw),
		duration(sw.AppTokenTTL), duration(sw.AccessTTL), duration(sw.RefreshTTL), duration(sw.CodeTTL),
	}
}

// MarshalJSON implements json.Marshaler.
func (sw Switches) MarshalJSON() ([]byte, error) { return json.Marshal(sw.wire()) }

// UnmarshalJSON implements json.Unmarshaler. Fields that the text does not
// name keep their value; unknown fields are an error. A fault set to null is
// switched off.
func (sw *Switches) UnmarshalJSON(text []byte) error {
	next := *sw
	next.Faults = maps.Clone(sw.Faults) // an error must leave sw as it was
	wire := next.wire()
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&wire); err != nil {
		return err
	}
	next.AppTokenTTL, next.AccessTTL = time.Duration(wire.AppTokenTTL), time.Duration(wire.AccessTTL)
	next.RefreshTTL, next.CodeTTL = time.Duration(wire.RefreshTTL), time.Duration(wire.CodeTTL)
	maps.DeleteFunc(next.Faults, func(_ string, f Fault) bool { return f == Fault{} })
	*sw = next
	return nil
}

// validate says what is wrong with the switches, nil if nothing is.
func (sw *Switches) validate() error {
	for _, word := range []struct {
		name, value string
		allowed     []string
	}{
		{"unknown_email", sw.UnknownEmail, []string{"silent", "reveal"}},
		{"app_refresh", sw.AppRefresh, []string{"always", "never"}},
		{"refresh_mode", sw.RefreshMode, []string{"rotate", "grace", "static", "omit"}},
		{"dates", sw.Dates, []string{"zoneless", "zero", "epoch_ms"}},
		{"requires_2fa", sw.Requires2FA, []string{"bare", "with_tokens"}},
	} {
		if word.value != "" && !slices.Contains(word.allowed, word.value) {
			return fmt.Errorf("%s: %q is none of %q", word.name, word.value, word.allowed)
		}
	}
	for _, status := range []int{sw.RejectStatus, sw.LockedStatus, sw.OTPOffStatus, sw.ExpiredRefreshStatus} {
		if status != 0 && (status < 200 || status > 599) {
			return fmt.Errorf("%d is not a status code", status)
		}
	}
	if err := checkVariant(sw.JWT); err != nil {
		return fmt.Errorf("jwt: %w", err)
	}
	for name, f := range sw.Faults {
		if err := f.validate(name); err != nil {
			return err
		}
	}
	return nil
}

// Set changes switches: f gets the present ones and edits them. Calls that
// have begun finish with the old ones. It panics on values that no switch
// has, because a test with a misspelt fault would prove nothing.
func (s *Sim) Set(f func(*Switches)) {
	err := s.change(func(sw *Switches) error {
		f(sw)
		return nil
	})
	if err != nil {
		panic("kibosim: " + err.Error())
	}
}

// Switches returns a copy of the present switches. The Times of a fault are
// those still to come.
func (s *Sim) Switches() Switches {
	sw := *s.switches.Load()
	sw.Faults = maps.Clone(sw.Faults)
	return sw
}

// change replaces the switches by an edited copy, or by nothing on an error.
func (s *Sim) change(edit func(*Switches) error) error {
	s.switchMu.Lock()
	defer s.switchMu.Unlock()
	var next Switches
	if old := s.switches.Load(); old != nil {
		next = *old
	}
	next.Faults = maps.Clone(next.Faults)
	if next.Faults == nil {
		next.Faults = map[string]Fault{} // so that an edit can simply add one
	}
	if err := edit(&next); err != nil {
		return err
	}
	if err := next.validate(); err != nil {
		return err
	}
	s.switches.Store(&next)
	return nil
}
