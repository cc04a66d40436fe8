package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kiboauth/caddy-kibo-auth/internal/kibosim"
)

const (
	// maxCustomers is how many have a loopback address of their own.
	maxCustomers = 50_000
	// firstAccount is the account number of customer 0.
	firstAccount = 100_000
	// codeTimeout is how long a code may be on its way.
	codeTimeout = 20 * time.Second
)

// signInAll signs n customers in at a gateway's counter, step by step as their
// browsers would, and returns their session cookies ("kibo=…").
func signInAll(ctx context.Context, g *gateway, p *peers, n int) ([]string, error) {
	cookies := make([]string, n)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for i := range n {
		p.sim.AddCustomer(kibosim.Customer{AccountID: firstAccount + i, Email: email(i), FirstName: "Customer", LastName: strconv.Itoa(i)})
		group.Go(func() (err error) {
			cookies[i], err = signIn(ctx, g, p, i)
			if err != nil {
				err = fmt.Errorf("signing in customer %d: %w", i, err)
			}
			return err
		})
	}
	return cookies, group.Wait()
}

func email(i int) string { return fmt.Sprintf("customer%d@example.com", i) }

// signIn asks for a code, waits for it to arrive, and sends it in.
func signIn(ctx context.Context, g *gateway, p *peers, i int) (cookie string, err error) {
	client := clientOf(i)
	defer client.CloseIdleConnections()
	pending, err := postLogin(ctx, client, g, "kibo-login", url.Values{"email": {email(i)}}, "")
	if err != nil {
		return "", fmt.Errorf("asking for a code: %w", err)
	}
	select {
	case code := <-p.mailbox(email(i)):
		return postLogin(ctx, client, g, "kibo", url.Values{"email": {email(i)}, "otpCode": {code}}, pending)
	case <-time.After(codeTimeout):
		return "", errors.New("no code came")
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// clientOf gives each customer a loopback address of its own (127.0.0.0/8, RFC
// 1122 §3.2.1.3), so that no limit takes them all for one.
func clientOf(i int) *http.Client {
	own := &net.TCPAddr{IP: net.IPv4(127, 1, byte(i/250), byte(i%250+1))}
	return &http.Client{
		Timeout:       codeTimeout,
		Transport:     &http.Transport{DialContext: (&net.Dialer{LocalAddr: own}).DialContext},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// postLogin sends the login form and returns the cookie that the answer sets.
func postLogin(ctx context.Context, client *http.Client, g *gateway, want string, form url.Values, cookie string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+g.counter+"/login", strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", "application/json")
	if cookie != "" {
		r.Header.Set("Cookie", cookie)
	}
	resp, err := client.Do(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	for _, c := range resp.Cookies() {
		if c.Name == want && c.Value != "" {
			return c.Name + "=" + c.Value, nil
		}
	}
	return "", fmt.Errorf("status %d without the cookie %s", resp.StatusCode, want)
}
