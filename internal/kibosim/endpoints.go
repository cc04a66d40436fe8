package kibosim

import (
	"fmt"
	"net/http"
	"slices"
)

// Counters that are no endpoint of Kibo.
const (
	other      = "other"       // any path that the simulator does not know
	elsewhere  = "elsewhere"   // target of the fault "redirect"
	withCookie = "with_cookie" // calls that carried a Cookie header
)

const (
	authTickets = "/api/commerce/customer/authtickets"
	appTickets  = "/api/platform/applications/authtickets"
)

// An endpoint answers one path. Its name is what counters and faults use.
type endpoint struct {
	name, method string
	customer     bool // needs an app token, the behaviour and the right site
	handle       func(*call) reply
}

// endpoints maps each path, without trailing slash, to its endpoint.
func (s *Sim) endpoints() map[string]endpoint {
	return map[string]endpoint{
		appTickets + "/oauth":             {"oauth", http.MethodPost, false, s.oauth},
		authTickets:                       {"password", http.MethodPost, true, s.password},
		authTickets + "/otp/request":      {"otp/request", http.MethodPost, true, s.otpRequest},
		authTickets + "/otp/auth":         {"otp/auth", http.MethodPost, true, s.otpAuth},
		authTickets + "/2fa/request":      {"2fa/request", http.MethodPost, true, s.secondFactorRequest},
		authTickets + "/2fa/auth":         {"2fa/auth", http.MethodPost, true, s.secondFactorAuth},
		authTickets + "/refresh":          {"refresh", http.MethodPut, true, s.refresh},
		authTickets + "/anonymousshopper": {"anonymousshopper", http.MethodGet, true, s.anonymousShopper},
		"/graphql":                        {"graphql", http.MethodPost, false, s.graphql},
		"/__sim/jwks":                     {"jwks", http.MethodGet, false, s.jwks},
		"/__sim/elsewhere":                {elsewhere, "", false, func(*call) reply { return jsonReply(http.StatusOK, struct{}{}) }},
	}
}

// endpointNames are the names that a fault can be aimed at.
func endpointNames() []string {
	return []string{
		"oauth", "otp/request", "otp/auth", "2fa/request", "2fa/auth",
		"password", "refresh", "anonymousshopper", "graphql", "jwks",
	}
}

func counterNames() []string {
	return append(endpointNames(), other, elsewhere, withCookie)
}

// Calls returns how often an endpoint was called, faults included. Besides the
// names in the documentation of [Fault] there are "other" (unknown paths),
// "elsewhere" (redirects that were followed) and "with_cookie" (calls of any
// kind that carried a cookie). It panics on another name, because a test that
// counts a misspelt endpoint would prove nothing.
func (s *Sim) Calls(name string) int {
	n, ok := s.calls[name]
	if !ok {
		panic(fmt.Sprintf("kibosim: no endpoint is called %q", name))
	}
	return int(n.Load())
}

// ResetCalls sets all counters to zero.
func (s *Sim) ResetCalls() {
	for _, n := range s.calls {
		n.Store(0)
	}
}

func isEndpoint(name string) bool { return slices.Contains(endpointNames(), name) }
