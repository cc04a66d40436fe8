package kibo

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// ParseURL turns what an operator writes for one of Kibo's hosts into the base
// URL of its API, which ends in exactly one /api without a trailing slash (the
// "servers" entry of Kibo's OpenAPI specifications).
//
// raw is a host ("t1-s2.sandbox.mozu.com"), a host with a port, or a URL, with
// or without /api. Without a scheme it is https. Plain http is for loopback
// hosts only, as the shared secret would travel in clear. User information, a
// query, a fragment or any other path is an error.
func ParseURL(raw string) (*url.URL, error) {
	s := strings.TrimSpace(raw)
	switch {
	case s == "":
		return nil, errors.New("host or URL is missing")
	case strings.Contains(s, "@"): // first of all: later errors may quote what they were given
		return nil, errors.New("user information does not belong into the URL of Kibo")
	case strings.ContainsAny(s, "?#"):
		return nil, fmt.Errorf("%q: a query or fragment does not belong into the URL of Kibo", s)
	}
	if !strings.Contains(s, "://") {
		s = "https://" + s
	}
	u, err := url.Parse(s)
	if err != nil {
		return nil, fmt.Errorf("%q is not a URL: %w", raw, cause(err))
	}
	if err := checkURL(u); err != nil {
		return nil, fmt.Errorf("%q: %w", raw, err)
	}
	return &url.URL{Scheme: u.Scheme, Host: strings.ToLower(u.Host), Path: "/api"}, nil
}

func checkURL(u *url.URL) error {
	switch {
	case u.Hostname() == "":
		return errors.New("host is missing")
	case strings.Contains(u.Hostname(), "%"):
		return errors.New("an IPv6 zone does not belong into the URL of Kibo")
	case strings.HasSuffix(u.Host, ":"):
		return errors.New("port is missing after the colon")
	case u.Path != "" && u.Path != "/" && u.Path != "/api" && u.Path != "/api/":
		return fmt.Errorf("path must be /api or nothing, not %s", u.Path)
	case u.Scheme != "https" && u.Scheme != "http":
		return fmt.Errorf("scheme must be https, not %s", u.Scheme)
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return errors.New("plain http is for loopback hosts only; write https")
	}
	if p := u.Port(); p != "" {
		if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 {
			return fmt.Errorf("port %s is out of range", p)
		}
	}
	return nil
}

func loopback(host string) bool {
	host = strings.ToLower(host)
	if host == "localhost" || strings.HasSuffix(host, ".localhost") { // RFC 6761 section 6.3
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// cause takes the URL off an error of net/url.
func cause(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}
