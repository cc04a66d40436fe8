package kibosim

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// A load test needs a simulator that is faster than what it tests.
func BenchmarkSignIn(b *testing.B) {
	sim := New(Options{})
	token := func() string {
		w := httptest.NewRecorder()
		r := httptest.NewRequest("POST", appTickets+"/oauth",
			strings.NewReader(`{"client_id":"`+ClientID+`","client_secret":"`+SharedSecret+`","grant_type":"client_credentials"}`))
		r.Header.Set("Content-Type", "application/json")
		sim.ServeHTTP(w, r)
		return answer{body: w.Body.Bytes()}.text("access_token")
	}()
	post := func(path, body string) int {
		r := httptest.NewRequest("POST", authTickets+path, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		sim.ServeHTTP(w, r)
		return w.Code
	}
	sim.Set(func(sw *Switches) { sw.FixedCode = "123456" })
	for b.Loop() {
		post("/otp/request", `{"email":"jane@example.com"}`)
		if got := post("/otp/auth", `{"email":"jane@example.com","otpCode":"123456"}`); got != http.StatusOK {
			b.Fatalf("otp/auth: status %d", got)
		}
	}
}
