package attack

import (
	"crypto/tls"
	"fmt"
	"html"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/quic-go/quic-go/http3"
)

// live is the session of a fake.
const live = "Zm9yLXRlc3RzLW9ubHktYW5kLW5vLXNlY3JldC1hdC0"

// A fake is a small gateway with an application in it. It stands up to every
// check but the one it is weak against.
type fake struct {
	weak string // family/name of a check; empty: none

	mu        sync.Mutex
	signedOut bool
	guesses   int
}

// isWeak tells whether a defence is left out.
func (f *fake) isWeak(names ...string) bool { return slices.Contains(names, f.weak) }

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Alt-Svc", `h3=":443"`)
	signedIn := f.signedIn(r)
	f.strip(r)
	if signedIn {
		r.Header.Set("Kibo-Account-Id", "1001")
		f.hopByHop(r)
	}
	switch path := f.path(r); {
	case path == "/login":
		f.login(w, r)
	case path == "/logout":
		f.logout(w, r, signedIn)
	case path == "/":
		_, _ = fmt.Fprintln(w, "shop")
	case path == "/echo":
		f.echo(w, r)
	case signedIn:
		f.account(w, r)
	case f.open(r):
		_, _ = fmt.Fprintln(w, "account of nobody")
	default:
		f.challenge(w, r)
	}
}

// path is what access is decided by: the target as it is.
func (f *fake) path(r *http.Request) string {
	if other := r.Header.Get("X-Original-Url"); other != "" && f.isWeak("paths/names-in-headers") {
		return other
	}
	if f.isWeak("paths/request-targets") {
		path, _, _ := strings.Cut(r.RequestURI, "#")
		return path
	}
	if !strings.HasPrefix(r.RequestURI, "/") {
		return "/account"
	}
	path, _, _ := strings.Cut(r.RequestURI, "?")
	return path
}

// open tells whether a request without a session gets through all the same.
func (f *fake) open(r *http.Request) bool {
	h := r.Header
	switch f.weak {
	case "paths/spellings", "paths/spellings-by-script":
		return r.URL.Path != "/account"
	case "methods/every-method":
		return r.Method != http.MethodGet && r.Method != http.MethodHead
	case "methods/overrides":
		return h.Get("X-Http-Method-Override") == "OPTIONS"
	case "methods/exempt-agents":
		return strings.HasPrefix(h.Get("User-Agent"), "kube-probe")
	case "methods/upgrade":
		return h.Get("Upgrade") != ""
	case "headers/spoofed-identity-http11", "headers/spoofed-identity-http2", "headers/spoofed-identity-http3":
		return h.Get("Kibo-Account-Id") != ""
	case "headers/bearer":
		return h.Get("Authorization") != ""
	case "cookies/made-up":
		_, err := r.Cookie("__Host-kibo")
		return err == nil
	case "framing/hosts":
		return r.Host != "x" && !strings.HasPrefix(r.Host, "127.0.0.1")
	}
	return false
}

// signedIn tells whether the request has the live session, once.
func (f *fake) signedIn(r *http.Request) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.signedOut {
		return false
	}
	var values []string
	for pair := range strings.SplitSeq(strings.Join(r.Header["Cookie"], "; "), ";") {
		name, value, _ := strings.Cut(strings.Trim(pair, " \t"), "=")
		if name == "__Host-kibo" || f.isWeak("cookies/look-alikes") && strings.EqualFold(strings.TrimSpace(name), "__Host-kibo") {
			values = append(values, value)
		}
	}
	if f.isWeak("cookies/tossed") {
		return slices.Contains(values, live)
	}
	values = slices.Compact(values)
	return len(values) == 1 && values[0] == live
}

func (f *fake) strip(r *http.Request) {
	if f.isWeak("cookies/kept-from-application") {
		return
	}
	var kept []string
	for pair := range strings.SplitSeq(strings.Join(r.Header["Cookie"], "; "), ";") {
		if name, _, _ := strings.Cut(strings.Trim(pair, " \t"), "="); name != "__Host-kibo" {
			kept = append(kept, strings.TrimSpace(pair))
		}
	}
	if !f.isWeak("cookies/made-up") {
		r.Header.Set("Cookie", strings.Join(kept, "; "))
	}
	if strings.HasPrefix(f.weak, "headers/spoofed") || f.isWeak("headers/other-url", "paths/names-in-headers") {
		return
	}
	for name := range r.Header {
		folded := strings.Map(func(r rune) rune {
			if 'a' <= r && r <= 'z' || '0' <= r && r <= '9' {
				return r
			}
			return -1
		}, strings.ToLower(name))
		for _, ours := range []string{"kiboaccountid", "remoteuser", "xvol", "xoriginalurl", "xrewriteurl"} {
			if strings.Contains(folded, ours) {
				delete(r.Header, name)
			}
		}
	}
}

// hopByHop does what a proxy does with Connection.
func (f *fake) hopByHop(r *http.Request) {
	if !f.isWeak("headers/connection-names-ours") {
		return
	}
	for name := range strings.SplitSeq(r.Header.Get("Connection"), ",") {
		r.Header.Del(strings.TrimSpace(name))
	}
}

func (f *fake) echo(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm() // reads to the end, after which there are trailers
	body := make([]byte, 100)
	for {
		if _, err := r.Body.Read(body); err != nil {
			break
		}
	}
	_ = r.Header.Write(w)
	if f.isWeak("headers/trailers") {
		_ = r.Trailer.Write(w)
	}
}

func (f *fake) challenge(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("If-None-Match") != "" && f.isWeak("caching/conditional") {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	if len(r.Header.Get("Cookie")) > 5000 && f.isWeak("cookies/flood") {
		http.Error(w, "out of room", http.StatusInternalServerError)
		return
	}
	if !f.isWeak("caching/challenge") {
		w.Header().Set("Cache-Control", "no-store")
	}
	f.setCookie(w, "__Host-kibo", -1)
	navigates := r.Method == http.MethodGet && r.Header.Get("Upgrade") == "" && strings.Contains(r.Header.Get("Accept"), "text/html")
	if navigates {
		location := "/login"
		if host := r.Header.Get("X-Forwarded-Host"); host != "" && f.isWeak("redirects/challenge") {
			location = "http://" + host + location
		}
		w.Header().Set("Location", location+"?return_to=%2Faccount")
		w.WriteHeader(http.StatusSeeOther)
		return
	}
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Content-Type", "application/problem+json")
	if f.isWeak("pages/errors-for-scripts") {
		w.Header().Set("Content-Type", "text/html")
	}
	w.WriteHeader(http.StatusUnauthorized)
	_, _ = fmt.Fprintln(w, "{}")
}

func (f *fake) setCookie(w http.ResponseWriter, name string, age int) {
	http.SetCookie(w, &http.Cookie{
		Name: name, Value: "x", Path: "/", MaxAge: age, Secure: true, HttpOnly: !f.isWeak("cookies/attributes"), SameSite: http.SameSiteLaxMode,
	})
}

// elsewhere tells whether the request comes from another site.
func (f *fake) elsewhere(r *http.Request, check string) bool {
	if f.isWeak(check) {
		return false
	}
	own := r.Header.Get("Sec-Fetch-Site") == "same-origin"
	from := r.Header.Get("Sec-Fetch-Site") + r.Header.Get("Origin") + r.Header.Get("Referer")
	return !own && from != ""
}

func (f *fake) login(w http.ResponseWriter, r *http.Request) {
	post := r.Method == http.MethodPost
	email, code := r.PostFormValue("email"), r.PostFormValue("otpCode")
	if f.isWeak("methods/credentials-in-url") {
		email, code = r.FormValue("email"), r.FormValue("otpCode")
		post = code != ""
	}
	switch {
	case !post || email == "":
		f.page(w, http.StatusOK, r.FormValue("return_to"), "")
	case f.elsewhere(r, "csrf/sign-in"):
		f.page(w, http.StatusForbidden, "", "")
	case code == "":
		f.setCookie(w, "__Host-kibo-login", 0)
		f.page(w, http.StatusOK, "", email)
	default:
		f.reject(w, email)
	}
}

func (f *fake) reject(w http.ResponseWriter, email string) {
	f.mu.Lock()
	f.guesses++
	limited := f.guesses > 10 && !f.isWeak("limit/wrong-codes")
	f.mu.Unlock()
	if f.isWeak("methods/credentials-in-url") {
		f.setCookie(w, "__Host-kibo", 0)
	}
	if f.isWeak("oracle/codes") {
		w.Header().Set("X-Seen", email)
	}
	if limited {
		w.Header().Set("Retry-After", "60")
		f.page(w, http.StatusTooManyRequests, "", email)
		return
	}
	f.page(w, http.StatusUnauthorized, "", email)
}

func (f *fake) page(w http.ResponseWriter, status int, target, email string) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	if !f.isWeak("pages/headers") {
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'")
	}
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	if !f.isWeak("caching/challenge") {
		h.Set("Cache-Control", "no-store")
	}
	w.WriteHeader(status)
	if target != "/account" && !f.isWeak("redirects/sign-in-page") {
		target = ""
	}
	if !f.isWeak("pages/reflection") {
		email = html.EscapeString(email)
	}
	_, _ = fmt.Fprintf(w, `<form method="post"><input name="email" value="%s"><input name="return_to" value="%s"></form>`, email, html.EscapeString(target))
}

func (f *fake) logout(w http.ResponseWriter, r *http.Request, signedIn bool) {
	switch {
	case r.Method != http.MethodPost && !f.isWeak("csrf/sign-out-by-image"):
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	case f.elsewhere(r, "csrf/sign-out") && !f.isWeak("csrf/sign-out-signed-in", "csrf/sign-out-by-image"):
		w.WriteHeader(http.StatusForbidden)
		return
	}
	f.mu.Lock()
	f.signedOut = f.signedOut || signedIn
	f.mu.Unlock()
	target := "/"
	if to := r.URL.Query().Get("return_to"); f.isWeak("redirects/sign-out") {
		target = (&url.URL{Path: "/"}).String()
		if to != "" && !strings.ContainsAny(to, "\r\n") {
			target = to
		}
	}
	w.Header()["Location"] = []string{target}
	w.WriteHeader(http.StatusSeeOther)
}

func (f *fake) account(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != "" && f.elsewhere(r, "csrf/websocket") {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	w.Header().Set("Cache-Control", "private, no-store")
	if f.isWeak("caching/signed-in-pages") || f.isWeak("caching/deception") && strings.HasSuffix(r.URL.Path, ".css") {
		w.Header().Set("Cache-Control", "public, max-age=60")
	}
	_, _ = fmt.Fprintln(w, "account of 1001")
}

// serve runs a fake over HTTP/1.1 and HTTP/2, with TLS over HTTP/3 as well.
func serve(t *testing.T, f *fake, secure bool) Target {
	t.Helper()
	srv := httptest.NewUnstartedServer(f)
	srv.EnableHTTP2 = secure
	if !secure {
		srv.Config.Protocols = new(http.Protocols)
		srv.Config.Protocols.SetHTTP1(true)
		srv.Config.Protocols.SetUnencryptedHTTP2(true)
		srv.Start()
	} else {
		srv.StartTLS()
		serveHTTP3(t, f, srv)
	}
	t.Cleanup(srv.Close)
	return targetAt(t, srv.URL)
}

// serveHTTP3 serves on the UDP port of the same number.
func serveHTTP3(t *testing.T, f *fake, srv *httptest.Server) {
	t.Helper()
	conn, err := net.ListenPacket("udp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	over3 := &http3.Server{Handler: f, TLSConfig: http3.ConfigureTLSConfig(&tls.Config{Certificates: srv.TLS.Certificates})}
	done := make(chan struct{})
	go func() { defer close(done); _ = over3.Serve(conn) }()
	t.Cleanup(func() { _ = over3.Close(); _ = conn.Close(); <-done })
}

func targetAt(t *testing.T, base string) Target {
	t.Helper()
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	return Target{
		Base: u, Login: "/login", Logout: "/logout", Protected: "/account", Public: "/", Echo: "/echo", Email: "email", Code: "otpCode",
		Cookie: "__Host-kibo", Session: live, Identity: []string{"Kibo-Account-Id"}, Send: true, InsecureTLS: true, Rate: 100_000,
	}
}
