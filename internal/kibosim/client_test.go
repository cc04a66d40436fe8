package kibosim

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// A client talks to a Sim over a real connection, as the gateway does.
type client struct {
	t     *testing.T
	sim   *Sim
	base  string
	http  *http.Client
	token string // app token
}

func newClient(t *testing.T) *client {
	t.Helper()
	sim := New(Options{})
	srv := httptest.NewServer(sim)
	t.Cleanup(srv.Close)
	c := &client{t: t, sim: sim, base: srv.URL, http: srv.Client()}
	c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.token = c.appToken()
	sim.ResetCalls()
	return c
}

// An answer is a response with its body read.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// field returns a member of a JSON object, nil if there is none.
func (a answer) field(name string) any {
	var m map[string]any
	if json.Unmarshal(a.body, &m) != nil {
		return nil
	}
	return m[name]
}

func (a answer) text(name string) string {
	s, _ := a.field(name).(string)
	return s
}

// code is the effective error code: at the top, else in the first item.
func (a answer) code() string {
	var e struct {
		ErrorCode string
		Items     []struct{ ErrorCode string }
	}
	if json.Unmarshal(a.body, &e) == nil && e.ErrorCode == "" && len(e.Items) > 0 {
		return e.Items[0].ErrorCode
	}
	return e.ErrorCode
}

func (c *client) request(method, path, body string, header ...string) *http.Request {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.base+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return req
}

// try sends a request and reads the whole answer; header holds pairs.
func (c *client) try(method, path, body string, header ...string) (answer, error) {
	c.t.Helper()
	resp, err := c.http.Do(c.request(method, path, body, header...))
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	read, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, read}, err
}

func (c *client) do(method, path, body string, header ...string) answer {
	c.t.Helper()
	a, err := c.try(method, path, body, header...)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

func (c *client) post(path string, body map[string]any, header ...string) answer {
	c.t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		c.t.Fatal(err)
	}
	return c.do(http.MethodPost, path, string(text), header...)
}

func (c *client) wantStatus(a answer, want int) {
	c.t.Helper()
	if a.status != want {
		c.t.Fatalf("status = %d, want %d; body %.300s", a.status, want, a.body)
	}
}

func (c *client) appToken() string {
	c.t.Helper()
	a := c.post(appTickets+"/oauth", oauthBody())
	c.wantStatus(a, http.StatusOK)
	return a.text("access_token")
}

func oauthBody() map[string]any {
	return map[string]any{"client_id": ClientID, "client_secret": SharedSecret, "grant_type": "client_credentials"}
}

// sendCode asks for a code and returns it.
func (c *client) sendCode(email string) string {
	c.t.Helper()
	c.wantStatus(c.post(authTickets+"/otp/request", map[string]any{"email": email}), http.StatusOK)
	return c.sim.Code(email)
}

func (c *client) exchange(email, code string) answer {
	c.t.Helper()
	return c.post(authTickets+"/otp/auth", map[string]any{
		"email": email, "otpCode": code, "fingerprint": "device-1", "region": "US-TX",
	})
}

// signIn signs a customer in by code and returns the ticket.
func (c *client) signIn(email string) answer {
	c.t.Helper()
	a := c.exchange(email, c.sendCode(email))
	c.wantStatus(a, http.StatusOK)
	return a
}

func (c *client) refresh(token string) answer {
	c.t.Helper()
	return c.do(http.MethodPut, authTickets+"/refresh?refreshToken="+token, "")
}

func (a answer) isJSON() bool { return json.Valid(a.body) && len(bytes.TrimSpace(a.body)) > 0 }
