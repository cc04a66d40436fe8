package captcha

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// What a caller can do about an answer that is not good.
var (
	// ErrRefused: the provider says no, or the answer cannot be one. The
	// customer must solve another.
	ErrRefused = errors.New("captcha is not solved")
	// ErrUnavailable: the provider cannot be asked, whatever the answer is.
	ErrUnavailable = errors.New("captcha provider cannot be asked")
	// ErrBusy: too many questions are under way. Whoever lets customers pass
	// when the provider is away must not do so here: strangers can cause it.
	ErrBusy = errors.New("too many captchas are being checked")
)

const (
	dialTimeout = 2 * time.Second
	idleTimeout = 55 * time.Second
	// MaxTimeout is the longest that one call may take.
	MaxTimeout = 5 * time.Second
	// places bounds the calls at a time.
	places  = 64
	maxHead = 16 << 10 // of the provider's answer, in bytes
	maxBody = 16 << 10 // the same
)

// A Verifier asks one provider. It may be used by many at a time.
type Verifier struct {
	url       string
	secret    func() (string, error)
	timeout   time.Duration
	maxAnswer int
	transport *http.Transport
	door      chan struct{}
}

// New returns a Verifier. The secret is asked for at each call, so that a file
// that has been replaced counts at once; its errors must not hold it. A timeout
// of zero is MaxTimeout. No connection is made before the first call.
func New(p Provider, secret func() (string, error), timeout time.Duration) *Verifier {
	if timeout <= 0 || timeout > MaxTimeout {
		timeout = MaxTimeout
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &Verifier{
		url: p.URL, secret: secret, timeout: timeout, maxAnswer: p.MaxAnswer, door: make(chan struct{}, places),
		transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}).DialContext,
			Protocols:              protocols,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
			MaxConnsPerHost:        places,
			MaxIdleConnsPerHost:    places,
			IdleConnTimeout:        idleTimeout,
			MaxResponseHeaderBytes: maxHead,
			DisableCompression:     true,
		},
	}
}

// Close lets go of idle connections.
func (v *Verifier) Close() { v.transport.CloseIdleConnections() }

// Plausible tells whether an answer is worth a question: not empty, not too
// long, and visible ASCII. Providers answer others with an error page, which
// must not pass for an outage.
func (v *Verifier) Plausible(answer string) bool {
	return answer != "" && len(answer) <= v.maxAnswer &&
		!strings.ContainsFunc(answer, func(c rune) bool { return c <= ' ' || c >= 0x7f })
}

// Verify asks the provider once about an answer that a client brought; nil
// means that it is good. It must have been solved on one of the hosts (lower
// case, without port), as far as the provider tells. There is no second try: an
// answer works only once, and whether the provider has counted the first nobody
// can tell.
func (v *Verifier) Verify(ctx context.Context, answer, clientIP string, hosts []string) error {
	if !v.Plausible(answer) {
		return ErrRefused
	}
	select {
	case v.door <- struct{}{}:
		defer func() { <-v.door }()
	default:
		return ErrBusy
	}
	secret, err := v.secret()
	if err != nil {
		return fmt.Errorf("%w: its secret: %w", ErrUnavailable, err)
	}
	form := url.Values{"secret": {secret}, "response": {answer}}
	if clientIP != "" {
		form.Set("remoteip", clientIP)
	}
	said, err := v.call(ctx, form)
	if err != nil {
		return err
	}
	return said.judge(hosts)
}

// A verdict is what the providers answer. Of what else they tell nothing is
// needed here.
type verdict struct {
	Success  *bool    `json:"success"`
	Hostname string   `json:"hostname"`
	Action   string   `json:"action"`
	Codes    []string `json:"error-codes"`
}

// call makes the question. The transport is used without an http.Client, so no
// redirect is followed, and no error holds more than the host. It sends a POST
// anew only where not a byte of the first has been written.
func (v *Verifier) call(ctx context.Context, form url.Values) (*verdict, error) {
	ctx, cancel := context.WithTimeout(ctx, v.timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, v.url, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", "application/json")
	resp, err := v.transport.RoundTrip(r)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	defer resp.Body.Close()
	return read(resp)
}

// read takes a verdict from any status that brings one. Without one a client's
// error is laid to the client: Google answers overlong captchas with a page.
func read(resp *http.Response) (*verdict, error) {
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	said := new(verdict)
	switch {
	case resp.StatusCode >= 500, resp.StatusCode == http.StatusTooManyRequests, resp.StatusCode/100 == 3:
		return nil, fmt.Errorf("%w: status %d", ErrUnavailable, resp.StatusCode)
	case err == nil && len(text) <= maxBody && json.Unmarshal(text, said) == nil && said.Success != nil:
		if *said.Success && resp.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("%w: success with status %d", ErrUnavailable, resp.StatusCode)
		}
		return said, nil
	case resp.StatusCode == http.StatusUnauthorized, resp.StatusCode == http.StatusForbidden:
		return nil, fmt.Errorf("%w: status %d", ErrUnavailable, resp.StatusCode)
	case resp.StatusCode/100 == 4:
		return nil, fmt.Errorf("%w: status %d", ErrRefused, resp.StatusCode)
	case err != nil:
		return nil, fmt.Errorf("%w: reading its answer: %w", ErrUnavailable, err)
	}
	return nil, fmt.Errorf("%w: its answer cannot be read", ErrUnavailable)
}

// faults are the error codes that no client can cause. The others are
// about the answer: sitekey-secret-mismatch, for one, is what somebody else's
// widget leads to.
var faults = []string{"missing-input-secret", "invalid-input-secret", "internal-error"}

// notProvided is what hCaptcha says in place of a host when it is busy.
const notProvided = "not-provided"

func (s *verdict) judge(hosts []string) error {
	host := strings.TrimSuffix(strings.ToLower(s.Hostname), ".")
	switch {
	case !*s.Success && slices.ContainsFunc(s.Codes, func(c string) bool { return slices.Contains(faults, c) }):
		return fmt.Errorf("%w: it does not take the secret, or has a fault of its own", ErrUnavailable)
	case !*s.Success:
		return ErrRefused
	case host != "" && host != notProvided && !slices.Contains(hosts, host):
		return fmt.Errorf("%w: it was solved on another host", ErrRefused)
	case s.Action != "" && s.Action != Action:
		return fmt.Errorf("%w: it was solved for something else", ErrRefused)
	}
	return nil
}
