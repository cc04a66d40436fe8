// Command flood shows what the limits do under a flood of sign-ins: so many a
// second, from a thousand addresses, against ten thousand made-up e-mails, half
// of them requests for codes and half passwords. Meanwhile customers sign in,
// one on a browser that has done so before and one on a new one.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/kiboauth/caddy-kibo-auth"
	"github.com/kiboauth/caddy-kibo-auth/internal/kibosim"
)

// config trusts this machine as a proxy, so that a flood may come from anywhere.
const config = `{
	admin off
	persist_config off
	auto_https off
	storage file_system %q
	log {
		output discard
	}
	servers {
		trusted_proxies static 127.0.0.1/32
	}
}
http://127.0.0.1:%s {
	bind 127.0.0.1
	kibo_auth %s {
		client %s %s
		auth_host %[3]s
		login {
			password password
		}
	}
	respond OK
}
`

const (
	customer  = "jane@example.com"
	addresses = 1000
	emails    = 10000
)

func main() {
	rate := flag.Int("rate", 200, "posts a second")
	port := flag.String("port", "18080", "a free port of this machine")
	length := flag.Duration("for", 20*time.Second, "how long the flood lasts")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *rate, *port, *length); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, rate int, port string, length time.Duration) error {
	folder, err := os.MkdirTemp("", "kibo-flood-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	codes := make(chan string, 1)
	f := &flood{url: "http://127.0.0.1:" + port + "/login", codes: codes}
	f.sim = kibosim.New(kibosim.Options{OnCode: func(email, code string) {
		if email == customer {
			codes <- code
		}
	}})
	kibo := httptest.NewServer(f.sim)
	defer kibo.Close()
	text := fmt.Sprintf(config, folder, port, kibo.URL, kibosim.ClientID, kibosim.SharedSecret)
	json, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), nil)
	if err != nil {
		return err
	}
	if err := caddy.Load(json, true); err != nil {
		return err
	}
	defer caddy.Stop()
	return f.show(ctx, rate, length)
}

// flood is one run.
type flood struct {
	url    string
	sim    *kibosim.Sim
	codes  <-chan string
	device string // of the customer's browser, once it is known
	said   [600]atomic.Int64
	lost   atomic.Int64
}

// show has the customer sign in before and during the flood, and tells what came
// of it.
func (f *flood) show(ctx context.Context, rate int, length time.Duration) error {
	status, err := f.signIn(ctx)
	if err != nil || status != http.StatusSeeOther {
		return fmt.Errorf("signing in before the flood: %d, %w", status, err)
	}
	f.sim.ResetCalls()
	ctx, end := context.WithTimeout(ctx, length)
	defer end()
	fmt.Printf("%6s %9s %9s %9s  %s\n", "second", "codes", "passwords", "heap", "answers so far")
	var posts sync.WaitGroup
	begun, next := time.Now(), time.Duration(0)
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	for i := 0; ctx.Err() == nil; i++ {
		if at := time.Since(begun); at >= next {
			next += length / 5
			f.report(at)
		}
		if i == rate*int(length/time.Second)/2 {
			posts.Go(func() { f.customers(ctx) })
		}
		posts.Go(func() { f.attack(ctx, i) })
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	posts.Wait()
	f.report(time.Since(begun))
	return nil
}

func (f *flood) report(at time.Duration) {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	var answers []string
	for status := range f.said {
		if n := f.said[status].Load(); n > 0 {
			answers = append(answers, fmt.Sprintf("%d: %d", status, n))
		}
	}
	fmt.Printf("%6.1f %9d %9d %6d MB  %s, no answer: %d\n", at.Seconds(), f.sim.Calls("otp/request"), f.sim.Calls("password"),
		m.HeapAlloc>>20, strings.Join(answers, ", "), f.lost.Load())
}

// attack is one post of the flood.
func (f *flood) attack(ctx context.Context, i int) {
	form := url.Values{"email": {fmt.Sprintf("made-up-%d@example.com", i*7919%emails)}}
	if i%2 == 1 {
		form.Set("password", "guess")
	}
	from := i * 104729 % addresses
	r, err := f.post(ctx, form, fmt.Sprintf("198.51.%d.%d", from/250, from%250), "")
	if err != nil {
		f.lost.Add(1)
		return
	}
	f.said[r.StatusCode].Add(1)
}

// customers sign in while the flood goes on.
func (f *flood) customers(ctx context.Context) {
	began := time.Now()
	status, err := f.signIn(ctx)
	fmt.Printf("       a known browser, by code: %d %v in %s\n", status, err, time.Since(began).Round(time.Millisecond))
	began = time.Now()
	r, err := f.post(ctx, url.Values{"email": {"john@example.com"}, "password": {kibosim.FixturePassword}}, "203.0.113.1", "")
	if err != nil {
		fmt.Printf("       a new browser, by password: %v\n", err)
		return
	}
	fmt.Printf("       a new browser, by password: %d in %s\n", r.StatusCode, time.Since(began).Round(time.Millisecond))
	if r, err = f.post(ctx, url.Values{"email": {"zoe@example.com"}}, "203.0.113.2", ""); err == nil {
		fmt.Printf("       a new browser asks for a code: %d\n", r.StatusCode)
	}
}

// signIn signs the customer in by code, and keeps the device.
func (f *flood) signIn(ctx context.Context) (status int, err error) {
	r, err := f.post(ctx, url.Values{"email": {customer}}, "192.0.2.1", f.device)
	if err != nil || r.StatusCode != http.StatusOK {
		return 0, errors.Join(err, errors.New("no code"))
	}
	kept := f.device
	for _, c := range r.Cookies() {
		kept += "; " + c.Name + "=" + c.Value
	}
	select {
	case code := <-f.codes:
		r, err = f.post(ctx, url.Values{"email": {customer}, "otpCode": {code}}, "192.0.2.1", kept)
	case <-time.After(10 * time.Second):
		err = errors.New("no code was mailed")
	}
	if err != nil {
		return 0, err
	}
	for _, c := range r.Cookies() {
		if strings.HasSuffix(c.Name, "-device") {
			f.device = c.Name + "=" + c.Value
		}
	}
	return r.StatusCode, nil
}

// client follows nothing, so that an answer is the gateway's.
var client = &http.Client{
	Transport:     &http.Transport{MaxIdleConnsPerHost: 1000},
	Timeout:       30 * time.Second,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func (f *flood) post(ctx context.Context, form url.Values, from, cookies string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(context.WithoutCancel(ctx), http.MethodPost, f.url, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", "text/html")
	r.Header.Set("X-Forwarded-For", from)
	r.Header.Set("Cookie", cookies)
	answer, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, answer.Body)
	return answer, err
}
