package kibosim

import (
	"encoding/json"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestSwitchesOverHTTP(t *testing.T) {
	c := newClient(t)
	path := "/__sim/switches"
	c.wantStatus(c.do("PATCH", path, `{"otp_off":true,"access_ttl":"2m","faults":{"oauth":{"kind":"drip","delay":"5ms"}}}`), 200)
	c.wantStatus(c.do("PATCH", path, `{"refresh_mode":"grace","faults":{"graphql":{"kind":"html_500","times":3,"after":true}}}`), 200)
	want := Switches{
		OTPOff: true, AccessTTL: 2 * time.Minute, RefreshMode: "grace",
		Faults: map[string]Fault{
			"oauth":   {Kind: "drip", Delay: 5 * time.Millisecond},
			"graphql": {Kind: "html_500", Times: 3, After: true},
		},
	}
	if got := c.sim.Switches(); !reflect.DeepEqual(got, want) {
		t.Errorf("after two PATCHes: %+v, want %+v", got, want)
	}
	var read Switches
	if err := json.Unmarshal(c.do("GET", path, "").body, &read); err != nil || !reflect.DeepEqual(read, want) {
		t.Errorf("GET: %+v (%v), want %+v", read, err, want)
	}
	c.wantStatus(c.do("PATCH", path, `{"faults":{"oauth":null}}`), 200)
	if got := c.sim.Switches().Faults; len(got) != 1 {
		t.Errorf("faults after one was set to null: %v", got)
	}
	c.wantStatus(c.do("PUT", path, `{"dates":"zero"}`), 200)
	if got := c.sim.Switches(); got.Dates != "zero" || got.OTPOff || len(got.Faults) != 0 {
		t.Errorf("after PUT: %+v", got)
	}
}

func TestSenselessSwitchesAreRefused(t *testing.T) {
	for _, body := range []string{
		``, `null,`, `[]`, `{"otp_of":true}`, `{"refresh_mode":"sometimes"}`, `{"unknown_email":"shout"}`,
		`{"dates":"x"}`, `{"requires_2fa":"x"}`, `{"app_refresh":"x"}`, `{"jwt":"rs256,x"}`, `{"jwt":","}`,
		`{"reject_status":42}`, `{"access_ttl":"soon"}`, `{"access_ttl":"-1m"}`, `{"access_ttl":900}`,
		`{"faults":{"otp/auht":{"kind":"hang"}}}`, `{"faults":{"*":{"kind":"hangs"}}}`,
		`{"faults":{"*":{"kind":"hang","time":1}}}`, `{"faults":{"*":{"kind":"hang","times":-1}}}`,
		`{"faults":{"other":{"kind":"hang"}}}`,
	} {
		c := newClient(t)
		c.sim.Set(func(sw *Switches) { sw.Faults["oauth"] = Fault{Kind: "drip"} })
		before := c.sim.Switches()
		a := c.do("PATCH", "/__sim/switches", body)
		if a.status != http.StatusBadRequest || a.text("error") == "" {
			t.Errorf("PATCH %s: status %d, body %s", body, a.status, a.body)
		}
		if got := c.sim.Switches(); !reflect.DeepEqual(got, before) {
			t.Errorf("PATCH %s changed the switches to %+v", body, got)
		}
	}
}

func TestAdminEndpoints(t *testing.T) {
	c := newClient(t)
	code := c.sendCode("jane@example.com")
	tests := []struct {
		name, method, path, body string
		status                   int
		contains                 string
	}{
		{"help", "GET", "/__sim/", "", 200, "jane@example.com"},
		{"code", "GET", "/__sim/otp?email=jane@example.com", "", 200, code},
		{"no code", "GET", "/__sim/otp?email=john@example.com", "", 404, "error"},
		{"nobody's code", "GET", "/__sim/otp?email=nobody@example.com", "", 404, "error"},
		{"calls", "GET", "/__sim/calls", "", 200, `"otp/request": 1`},
		{"counters to zero", "POST", "/__sim/calls/reset", "", 204, ""},
		{"token", "GET", "/__sim/jwt?email=jane@example.com", "", 200, `"jwt": "ey`},
		{"spoilt token", "GET", "/__sim/jwt?email=jane@example.com&variant=garbage", "", 200, "not.a.token"},
		{"no such variant", "GET", "/__sim/jwt?email=jane@example.com&variant=x", "", 400, "error"},
		{"nobody's token", "GET", "/__sim/jwt?email=x@example.com", "", 404, "error"},
		{"clock", "POST", "/__sim/clock", `{"advance":"15m"}`, 200, "now"},
		{"clock backwards", "POST", "/__sim/clock", `{"advance":"-15m"}`, 400, "error"},
		{"clock, no JSON", "POST", "/__sim/clock", `15m`, 400, "error"},
		{"code after the clock", "GET", "/__sim/otp?email=jane@example.com", "", 404, "error"},
		{"customer", "POST", "/__sim/customers", `{"email":"new@example.com","first_name":"New"}`, 201, `"account_id": 2000`},
		{"customer replaced", "POST", "/__sim/customers", `{"email":"NEW@example.com","locked":true}`, 201, `"account_id": 2000`},
		{"customer without address", "POST", "/__sim/customers", `{"first_name":"New"}`, 400, "error"},
		{"customer with a misspelt field", "POST", "/__sim/customers", `{"mail":"new@example.com"}`, 400, "error"},
		{"app tokens", "POST", "/__sim/app-tokens/revoke", "", 204, ""},
		{"reset", "POST", "/__sim/reset", "", 204, ""},
		{"wrong method", "GET", "/__sim/reset", "", 405, ""},
		{"unknown", "GET", "/__sim/nothing", "", 404, ""},
	}
	for _, tt := range tests { // in this order, on one simulator
		a := c.do(tt.method, tt.path, tt.body)
		if a.status != tt.status || !strings.Contains(string(a.body), tt.contains) {
			t.Errorf("%s: status %d, body %s; want %d with %q", tt.name, a.status, a.body, tt.status, tt.contains)
		}
	}
	c.wantStatus(c.do("GET", authTickets+"/anonymousshopper", ""), http.StatusUnauthorized) // revoked above
}

func FuzzSwitches(f *testing.F) {
	f.Add(`{"otp_off":true,"access_ttl":"2m","faults":{"oauth":{"kind":"drip","delay":"5ms"}}}`)
	f.Add(`{"faults":{"*":null}}`)
	f.Add(`{"jwt":"rs256,exp_past","code_tries":-1}`)
	f.Fuzz(func(t *testing.T, text string) {
		var sw, again Switches
		if json.Unmarshal([]byte(text), &sw) != nil || sw.validate() != nil {
			return
		}
		out, err := json.Marshal(sw)
		if err != nil {
			t.Fatalf("%q is accepted but not written: %v", text, err)
		}
		if err := json.Unmarshal(out, &again); err != nil {
			t.Fatalf("%q is written as %s, which is not read: %v", text, out, err)
		}
		if len(sw.Faults) == 0 { // absent and empty mean the same
			sw.Faults, again.Faults = nil, nil
		}
		if !reflect.DeepEqual(sw, again) {
			t.Errorf("%q is read as %+v, but after writing as %+v", text, sw, again)
		}
	})
}
