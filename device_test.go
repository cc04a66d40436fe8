package kiboauth

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/kiboauth/caddy-kibo-auth/internal/kibo"
	"github.com/kiboauth/caddy-kibo-auth/internal/redact"
	"github.com/kiboauth/caddy-kibo-auth/internal/verify"
)

const dev = "device@example.com" // whom Kibo asks for a second factor on a new device

// A browser that has been used before needs no second factor, and keeps being
// known after signing out. Another one does.
func TestDeviceIsKnownAgain(t *testing.T) {
	g := newGateway(t, withPassword)
	o := g.passwordPost(dev, right, "")
	device := g.wantDevice(o)
	o = g.codePost(dev, g.mailed(), o.kept())
	cookie := g.wantSignedIn(o, "1009", "password+2fa")
	out := g.serve(post(t, "/logout", nil, "Cookie", cookie+"; "+device))
	if out.cookie(g.cookies.device) != nil || out.cookie(g.cookies.session) == nil {
		t.Errorf("signing out answers with cookies %v", out.Result().Cookies())
	}
	o = g.passwordPost(dev, right, device)
	g.wantSignedIn(o, "1009", "password")
	if g.wantDevice(o) != device {
		t.Error("signing in does not keep the device for another while")
	}
	kept, code := g.firstStep(dev, "Cookie", device)
	g.wantSignedIn(g.codePost(dev, code, kept+"; "+device), "1009", "code")
	if o = g.passwordPost(dev, right, ""); o.cookie(g.cookies.session) != nil || g.wantDevice(o) == device {
		t.Error("another browser is taken for the first")
	}
}

// wantDevice returns the device that the answer gives the browser.
func (g *gateway) wantDevice(o outcome) string {
	g.t.Helper()
	c := o.cookie(g.cookies.device)
	if c == nil {
		g.t.Fatalf("cookies %v, want a device", o.Result().Cookies())
	}
	if !isDevice(c.Value) || c.MaxAge != 400*24*3600 || !c.HttpOnly || !c.Secure || c.Path != "/" || c.Domain != "" || c.SameSite != http.SameSiteLaxMode {
		g.t.Errorf("cookie %v", c)
	}
	return c.Name + "=" + c.Value
}

// fingerprints records what Kibo is told of the device.
func (g *gateway) fingerprints() *[]string {
	told := new([]string)
	g.seen = func(_ *http.Request, body string) {
		var said map[string]any
		if json.Unmarshal([]byte(body), &said) == nil && (said["otpCode"] != nil || said["password"] != nil) {
			text, _ := said["fingerprint"].(string)
			*told = append(*told, text)
		}
	}
	return told
}

func TestFingerprint(t *testing.T) {
	const browser = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	for _, tt := range []struct{ name, line, want string }{
		{"default", "", "a hash"},
		{"off", "off", ""},
		{"form field", "device_id", "from the form"},
		{"placeholder", "{http.request.header.X-Device}", "from a header"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newGateway(t, withPassword, func(h *Handler) { h.Login.Fingerprint = tt.line })
			told := g.fingerprints()
			device := g.cookies.device + "=" + browser
			kept, code := g.firstStep(jane, "Cookie", device)
			form := url.Values{"email": {jane}, "device_id": {"from the form"}, "off": {"from the form"}, "otpCode": {code}}
			o := g.serve(post(t, "/login", form, "Cookie", kept+"; "+device, "X-Device", "from a header"))
			form.Del("otpCode")
			form.Set("password", right)
			p := g.serve(post(t, "/login", form, "Cookie", device, "X-Device", "from a header"))
			if o.cookie(g.cookies.session) == nil || p.cookie(g.cookies.session) == nil || len(*told) != 2 || (*told)[0] != (*told)[1] {
				t.Fatalf("status %d and %d, Kibo was told %q; want the same twice", o.Code, p.Code, *told)
			}
			got := (*told)[0]
			if tt.line == "" {
				a := &attempt{h: &Handler{realm: testRealm}, device: browser}
				if other := a.fingerprint(); other != "hPD7yK8vdGsYoif8Uords_mslLhBGaiGQfPXIYonCFE" || len(got) != deviceLen || got == other || got == browser {
					t.Errorf("here %q, in another realm %q; want two hashes, and the second for ever", got, other)
				}
			} else if got != tt.want {
				t.Errorf("Kibo is told %q, want %q", got, tt.want)
			}
			if set := o.cookie(g.cookies.device) != nil; set != (tt.line == "") {
				t.Errorf("a device is set: %v, want %v", set, tt.line == "")
			}
		})
	}
}

// Without anybody who looks at it there is no such cookie, but one that is there
// stays away from the shop all the same.
func TestNoDeviceWithoutUse(t *testing.T) {
	g := newGateway(t, withPassword, func(h *Handler) { h.Login.Fingerprint = fingerprintOff })
	for _, o := range []outcome{g.serve(post(t, "/login", url.Values{"email": {jane}})), g.passwordPost(jane, right, ""), g.passwordPost(jane, "wrong", "")} {
		if c := o.cookie(g.cookies.device); c != nil {
			t.Errorf("cookie %v, want none", c)
		}
	}
	cookie := g.wantSignedIn(g.passwordPost(jane, right, ""), "1001", "password")
	o := g.open(cookie + "; a=1; " + g.cookies.device + "=x")
	if got := o.upstream.Header.Get("Cookie"); got != "a=1" {
		t.Errorf("the shop gets %q, want a=1", got)
	}
}

// What is no device of ours, or two, is none: the browser gets a new one.
func TestTossedDevice(t *testing.T) {
	g := newGateway(t, withPassword)
	name := g.cookies.device + "="
	a, b := name+strings.Repeat("A", deviceLen), name+strings.Repeat("B", deviceLen-1)+"A"
	for what, cookies := range map[string]string{
		"none": "", "two": a + "; " + b, "empty": name, "short": a[:len(a)-1], "long": a + "A", "other alphabet": a[:len(a)-2] + "+A",
		"loose bits": name + strings.Repeat("A", deviceLen-1) + "B", "quoted": name + `"` + strings.Repeat("A", deviceLen-2) + `"`,
	} {
		o := g.passwordPost(jane, "wrong", cookies)
		g.wantRefused(o)
		if fresh := g.wantDevice(o); strings.Contains(cookies, fresh) {
			t.Errorf("%s: the browser is given what it brought", what)
		}
	}
	for what, cookies := range map[string]string{"one": a, "twice the same": a + "; " + a} {
		if o := g.passwordPost(jane, "wrong", cookies); o.cookie(g.cookies.device) != nil {
			t.Errorf("%s: a known browser is given another device", what)
		}
	}
}

// The device goes neither to the shop, nor into logs, nor does the shop set it;
// and another site cannot have one set.
func TestDeviceLeaks(t *testing.T) {
	g := newGateway(t, withPassword, func(h *Handler) { h.Public = []string{"/public/*"} })
	device := g.wantDevice(g.passwordPost(jane, "wrong", ""))
	cookie := g.wantSignedIn(g.passwordPost(jane, right, device), "1001", "password")
	_, value, _ := strings.Cut(device, "=")
	for _, target := range []string{"/public/a", "/account", "/login?x"} {
		r := request(t, http.MethodPut, target, page("Cookie", "a=1; "+device+"; b=2; "+cookie)...)
		o := g.serveTo(r, func(w http.ResponseWriter, _ *http.Request) error {
			w.Header()["Set-Cookie"] = []string{device + "evil", "c=3", strings.ToUpper(g.cookies.device) + "=evil", "=" + device}
			w.WriteHeader(http.StatusNotFound)
			return nil
		})
		if got := o.upstream.Header["Cookie"]; len(got) != 1 || got[0] != "a=1; b=2" {
			t.Errorf("%s: the shop gets %q", target, got)
		}
		if got := o.Header()["Set-Cookie"]; len(got) != 1 || got[0] != "c=3" {
			t.Errorf("%s: the shop sets %q", target, got)
		}
	}
	if o := g.passwordPost(jane, right, "", "Sec-Fetch-Site", "cross-site"); o.Header()["Set-Cookie"] != nil {
		t.Errorf("another site has %q set", o.Header()["Set-Cookie"])
	}
	for _, entry := range g.logs.All() {
		for _, f := range entry.Context {
			if strings.Contains(f.String, value) {
				t.Errorf("the device is logged in %q", entry.Message)
			}
		}
	}
}

// A bearer's own token says nothing of how somebody signed in.
func TestAssuranceOfABearer(t *testing.T) {
	s := new(Session)
	s.pack(testRealm, customerOf(&kibo.Ticket{JWT: redact.New("token")}, &verify.Claims{AccountID: "1"}))
	if got := s.plain(fieldAssurance); got != "" {
		t.Errorf("assurance %q, want none", got)
	}
}
