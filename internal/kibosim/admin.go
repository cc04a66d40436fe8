package kibosim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

const help = `Simulator of Kibo Commerce. Nothing here is secret or real.

GET   /__sim/switches            the present switches
PATCH /__sim/switches            change some: {"faults":{"otp/auth":{"kind":"html_500","times":1}}}
PUT   /__sim/switches            replace all
POST  /__sim/reset               back to the start: switches, customers, codes, refresh tokens, clock, counters
GET   /__sim/calls               counters by endpoint
POST  /__sim/calls/reset         counters to zero
GET   /__sim/otp?email=          the code that this customer was sent last
GET   /__sim/jwt?email=&variant= a fresh jwtAccessToken
POST  /__sim/clock               {"advance":"15m"}
POST  /__sim/customers           add or replace a customer: {"email":"new@example.com","first_name":"New"}
POST  /__sim/app-tokens/revoke   all app tokens so far become invalid
GET   /__sim/jwks                RSA keys of the variant rs256
POST  /__sim/keys/rotate[?drop=1] new RSA key; with drop the old ones are no longer published

See docs/simulator.md for all switches, faults and variants.

Customers (password of all: ` + FixturePassword + `):
`

// adminMux serves /__sim/, the simulator's own controls.
func (s *Sim) adminMux() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /__sim/{$}", s.adminHelp)
	mux.HandleFunc("GET /__sim/switches", s.adminSwitches)
	mux.HandleFunc("PATCH /__sim/switches", s.adminSwitches)
	mux.HandleFunc("PUT /__sim/switches", s.adminSwitches)
	mux.HandleFunc("GET /__sim/otp", s.adminCode)
	mux.HandleFunc("GET /__sim/jwt", s.adminJWT)
	mux.HandleFunc("POST /__sim/clock", s.adminClock)
	mux.HandleFunc("POST /__sim/customers", s.adminCustomer)
	mux.HandleFunc("GET /__sim/calls", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, s.allCalls())
	})
	mux.HandleFunc("POST /__sim/calls/reset", done(s.ResetCalls))
	mux.HandleFunc("POST /__sim/reset", done(s.Reset))
	mux.HandleFunc("POST /__sim/app-tokens/revoke", done(s.RevokeAppTokens))
	mux.HandleFunc("POST /__sim/keys/rotate", func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, http.StatusOK, map[string]string{"kid": s.RotateKeys(r.URL.Query().Get("drop") == "1")})
	})
	return mux
}

func done(f func()) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		f()
		w.WriteHeader(http.StatusNoContent)
	}
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(v) // a client that has left is no concern of ours
}

func writeError(w http.ResponseWriter, status int, err error) {
	writeJSON(w, status, map[string]string{"error": err.Error()})
}

func (s *Sim) adminHelp(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, help)
	for _, c := range Fixtures() {
		_, _ = fmt.Fprintf(w, "  %-22s %d  %s\n", c.Email, c.AccountID, c.Note)
	}
}

func (s *Sim) allCalls() map[string]int {
	out := map[string]int{}
	for name := range s.calls {
		out[name] = s.Calls(name)
	}
	return out
}

// adminSwitches reads, merges (PATCH) or replaces (PUT) the switches.
func (s *Sim) adminSwitches(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err == nil {
			err = s.change(func(sw *Switches) error {
				if r.Method == http.MethodPut {
					*sw = Switches{}
				}
				return json.Unmarshal(text, sw)
			})
		}
		if err != nil {
			writeError(w, http.StatusBadRequest, err)
			return
		}
	}
	writeJSON(w, http.StatusOK, s.Switches())
}

func (s *Sim) adminCode(w http.ResponseWriter, r *http.Request) {
	code := s.Code(r.URL.Query().Get("email"))
	if code == "" {
		writeError(w, http.StatusNotFound, errors.New("no valid code for this address"))
		return
	}
	writeJSON(w, http.StatusOK, map[string]string{"code": code})
}

func (s *Sim) adminJWT(w http.ResponseWriter, r *http.Request) {
	variant, email := r.URL.Query().Get("variant"), r.URL.Query().Get("email")
	if err := checkVariant(variant); err != nil {
		writeError(w, http.StatusBadRequest, err)
		return
	}
	token := s.Issue(variant, email)
	if token == "" {
		writeError(w, http.StatusNotFound, errors.New("no such customer"))
		return
	}
	writeJSON(w, http.StatusOK, map[string]string{"jwt": token})
}

func (s *Sim) adminClock(w http.ResponseWriter, r *http.Request) {
	var in struct{ Advance duration }
	if !readAdmin(w, r, &in) {
		return
	}
	s.Advance(time.Duration(in.Advance))
	writeJSON(w, http.StatusOK, map[string]string{"now": s.now().Format(time.RFC3339Nano)})
}

func (s *Sim) adminCustomer(w http.ResponseWriter, r *http.Request) {
	var c Customer
	if !readAdmin(w, r, &c) {
		return
	}
	if err := c.validate(); err != nil {
		writeError(w, http.StatusBadRequest, err)
		return
	}
	s.AddCustomer(c)
	writeJSON(w, http.StatusCreated, map[string]any{
		"account_id": s.customers.find(c.Email).AccountID, "user_id": c.UserID(),
	})
}

func readAdmin(w http.ResponseWriter, r *http.Request, v any) bool {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		writeError(w, http.StatusBadRequest, err)
		return false
	}
	return true
}
