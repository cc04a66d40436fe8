package verify

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/kiboauth/caddy-kibo-auth/internal/redact"
)

const (
	// DefaultIssuer is what Kibo writes into iss and aud of every token.
	DefaultIssuer = "https://www.kibocommerce.com"
	// DefaultLeeway is how far Kibo's clock and ours may differ.
	DefaultLeeway = 30 * time.Second

	maxLeeway = time.Minute
)

// Config says what a jwtAccessToken must be. Its zero value is direct mode
// with Kibo's own issuer and audience. At most one of HMACKeys, PublicKeys
// and JWKSURL may be set.
type Config struct {
	redact.Hidden

	// Algorithms pins the signature algorithms. Default: HS256 with HMACKeys;
	// RS256, ES256, ES384, ES512 and EdDSA with PublicKeys or a JWKSURL; in
	// direct mode every signature algorithm of RFC 7518 and RFC 8037, since
	// only the name is looked at.
	Algorithms []string

	// HMACKeys are shared secrets, several during a rotation. Each is at
	// least as long as the hash of every algorithm (RFC 7518 §3.2), so 32
	// bytes for HS256.
	HMACKeys [][]byte
	// PublicKeys are PEM texts of public keys or certificates: RSA from 2048
	// bits, EC on P-256, P-384 or P-521, Ed25519. A certificate only carries
	// its key; its dates and issuer are not looked at.
	PublicKeys [][]byte
	// JWKSURL is where a JSON Web Key Set is published: https, or http on a
	// loopback address.
	JWKSURL string

	// Issuer must equal iss. Default: DefaultIssuer.
	Issuer string
	// Audience must equal aud, or one of its entries. Default: DefaultIssuer.
	Audience string
	// Tenant and Site must equal b.TenantId and b.SiteId of the token's user
	// claims. Default: not checked.
	Tenant, Site string
	// Leeway is allowed on every time in the token. Default: 30s, at most 60s.
	Leeway time.Duration

	// Client fetches the keyset; it follows no redirect and reads at most 512
	// KiB, whatever it is. Default: a client of our own with a timeout of 3s.
	Client *http.Client
	// Backup keeps the last good keyset beyond this process, for a start while
	// its endpoint is down. Default: none.
	Backup Backup
	// OnError hears why a fetch of the keyset came to nothing, at most once
	// per fetch. The error names neither URL nor keys. Default: nobody hears.
	OnError func(error)
}

// Backup keeps one value. An error of either method is as good as no backup.
type Backup interface {
	Load(context.Context) ([]byte, error)
	Store(context.Context, []byte) error
}

// mode is how the signature is judged.
type mode int

const (
	direct mode = iota // not at all
	hmac
	publicKey
	jwks
)

// Check reports the first fault of the configuration. It opens no connection.
func (c Config) Check() error {
	v, err := New(c)
	if err != nil {
		return err
	}
	v.Close()
	return nil
}

func (c Config) mode() (mode, error) {
	m, named := direct, 0
	for _, s := range []struct {
		set  bool
		mode mode
	}{{len(c.HMACKeys) > 0, hmac}, {len(c.PublicKeys) > 0, publicKey}, {c.JWKSURL != "", jwks}} {
		if s.set {
			m = s.mode
			named++
		}
	}
	if named > 1 {
		return direct, errors.New("hmac keys, public keys and a jwks exclude each other: configure one of them")
	}
	return m, nil
}

// algorithms returns the pinned list, sorted and without repetitions.
func (c Config) algorithms(m mode) ([]string, error) {
	for _, alg := range c.Algorithms {
		if err := checkAlgorithm(alg, m); err != nil {
			return nil, err
		}
	}
	algs := slices.Clone(c.Algorithms)
	if len(algs) == 0 {
		algs = defaultAlgorithms(m)
	}
	slices.Sort(algs)
	return slices.Compact(algs), nil
}

func defaultAlgorithms(m mode) []string {
	switch m {
	case hmac:
		return []string{"HS256"}
	case publicKey, jwks:
		return []string{"RS256", "ES256", "ES384", "ES512", "EdDSA"}
	default:
		return knownAlgorithms()
	}
}

func checkAlgorithm(alg string, m mode) error {
	symmetric := strings.HasPrefix(alg, "HS")
	switch {
	case strings.EqualFold(alg, "none"):
		return errors.New(`algorithm "none" is no signature and never accepted`)
	case methods[alg] == nil:
		return fmt.Errorf("unknown algorithm %q: use one of %s", alg, strings.Join(knownAlgorithms(), ", "))
	case symmetric && (m == publicKey || m == jwks):
		return fmt.Errorf("algorithm %s is symmetric: it cannot be combined with public keys or a jwks", alg)
	case !symmetric && m == hmac:
		return fmt.Errorf("algorithm %s needs public keys or a jwks, not hmac keys", alg)
	}
	return nil
}

func (c Config) policy() (policy, error) {
	p := policy{issuer: c.Issuer, audience: c.Audience, tenant: c.Tenant, site: c.Site, leeway: c.Leeway}
	if p.issuer == "" {
		p.issuer = DefaultIssuer
	}
	if p.audience == "" {
		p.audience = DefaultIssuer
	}
	if p.leeway == 0 {
		p.leeway = DefaultLeeway
	}
	switch {
	case p.leeway < 0 || p.leeway > maxLeeway:
		return p, fmt.Errorf("leeway is %s: it must lie between 0s and %s", p.leeway, maxLeeway)
	case p.tenant != "" && !decimal(p.tenant):
		return p, errors.New("tenant must be its number, such as 12345")
	case p.site != "" && !decimal(p.site):
		return p, errors.New("site must be its number, such as 67890")
	}
	return p, nil
}

// checkJWKSURL wants https, because whoever can answer in place of the
// endpoint can sign for every customer.
func checkJWKSURL(raw string) error {
	u, err := url.Parse(raw)
	switch {
	case err != nil: // its text would repeat the URL
		return errors.New("jwks URL does not parse")
	case u.Hostname() == "" || u.User != nil || u.Fragment != "":
		return errors.New("jwks URL needs a host, and neither user nor fragment")
	case u.Scheme == "https", u.Scheme == "http" && loopback(u.Hostname()):
		return nil
	default:
		return errors.New("jwks URL must be https (http only on a loopback address)")
	}
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}
