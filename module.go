// Package kiboauth is a Caddy plugin that puts sign-in by e-mailed code in
// front of a legacy storefront whose customers live in Kibo Commerce.
//
// The shop's own login form keeps working: the gateway takes the form's post,
// exchanges e-mail and one-time code at Kibo for a ticket, keeps the ticket in
// a session, and lets the upstream know on every later request who is asking,
// through headers that nobody else can set.
package kiboauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/kiboauth/caddy-kibo-auth/internal/kibo"
	"github.com/kiboauth/caddy-kibo-auth/internal/loginform"
	"github.com/kiboauth/caddy-kibo-auth/internal/redact"
	"github.com/kiboauth/caddy-kibo-auth/internal/urlpath"
	"github.com/kiboauth/caddy-kibo-auth/internal/verify"
)

// Handler guards a storefront. It takes login posts, keeps sessions, sends who
// has none to sign in, and tells the upstream who is asking.
type Handler struct {
	redact.Unprinted `json:"-"`

	// APIHost is the API host or URL of the Kibo site, with or without /api,
	// such as t12345-s67890.sandbox.mozu.com. Default: none, it must be given.
	APIHost string `json:"api_host,omitempty"`
	// ClientID is the Kibo application's client ID. Placeholders are resolved
	// at every grant. Default: none, it must be given.
	ClientID string `json:"client_id,omitempty"`
	// SharedSecret is the Kibo application's shared secret, best given as
	// {env.*} or {file.*}: a literal would stand in the admin API's /config.
	// Placeholders are resolved at every grant. Default: none, it must be given.
	SharedSecret string `json:"shared_secret,omitempty"`
	// AuthHost is the host or URL that grants the application its token.
	// Default: home.mozu.com.
	AuthHost string `json:"auth_host,omitempty"`
	// KiboHeaders go with every API call, such as x-vol-tenant and x-vol-site
	// for a host that names only the tenant. Default: none.
	KiboHeaders map[string]string `json:"kibo_headers,omitempty"`
	// Timeout is how long one call to Kibo may take. Default: 10s.
	Timeout caddy.Duration `json:"timeout,omitempty"`
	// Sites are the origins, such as https://shop.example.com, whose pages may
	// post here besides those of the request's own host. Default: none.
	Sites []string `json:"sites,omitempty"`
	// Secrets protect what browsers keep between the steps of a sign-in: the
	// first seals, all open. Each has 32 characters at least; placeholders are
	// resolved at start. Default: one made at first use and kept in Caddy's storage.
	Secrets []string `json:"secrets,omitempty"`
	// Login says which posts are sign-ins. Default: see Login.
	Login Login `json:"login,omitzero"`
	// Logout says how customers sign out. Default: see Logout.
	Logout Logout `json:"logout,omitzero"`
	// Protect are the paths that need a session: exact, or with a wildcard at
	// the start or the end. Default: *, every path.
	Protect []string `json:"protect,omitempty"`
	// Public are paths that need none, also where Protect has them. Identity is
	// still passed on when there is a session. Default: none.
	Public []string `json:"public,omitempty"`
	// Verify says what a ticket's token must be. Default: see Verify.
	Verify Verify `json:"verify,omitzero"`
	// Session says how long sessions last. Default: see SessionConfig.
	Session SessionConfig `json:"session,omitzero"`
	// StoreRaw is where sessions are kept. Default: memory.
	StoreRaw json.RawMessage `json:"store,omitempty" caddy:"namespace=http.kibo_auth.stores inline_key=backend"`
	// Limits bound how often codes are sent and tried. Default: see Limits.
	Limits Limits `json:"limits,omitzero"`
	// Captcha has clients solve a captcha that ask or fail often. Default: none.
	Captcha Captcha `json:"captcha,omitzero"`
	// Identity are the headers that tell the upstream who is asking.
	// Default: Kibo-Account-Id with the account_id.
	Identity []Identity `json:"identity,omitempty"`
	// Forward hands Kibo tokens to the upstream: bearer (the jwtAccessToken as
	// Authorization) and user_claims (the accessToken as x-vol-user-claims).
	// Whoever reads them can call Kibo as the application and the customer.
	// Default: none.
	Forward []string `json:"forward,omitempty"`
	// Source is where lines of the Caddyfile stand whose placeholders are
	// resolved at start, for error messages. Default: none.
	Source map[string]string `json:"source,omitempty"`

	log       *zap.Logger
	realm     string
	shared    *shared
	sessions  *sessions
	storeName string // the same for stores of the same settings
	kibo      *kibo.Client
	verifier  *verify.Verifier
	bearers   *near // verdicts on clients' own tokens; nil: none are taken
	rules     *urlpath.Rules
	form      loginform.Fields
	bodyTime  time.Duration // for the body of a login post
	pages     *pages
	cookies   cookieNames
	keyring   *keyring
	origins   *http.CrossOriginProtection
	limits    *limits // nil: off
	human     *human  // nil: no captchas
	headers   []boundHeader
	reserved  reserved
	pooled    []any // keys to give back to the pool

	flying     *sync.RWMutex // held for reading by flights
	closeStore context.CancelFunc
}

// boundHeader is an identity header ready for use.
type boundHeader struct {
	name  string
	field field
}

// CaddyModule implements caddy.Module.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.kibo_auth",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision resolves placeholders, fills defaults and joins what outlives
// reloads. It opens no connection.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.log, h.flying = ctx.Logger(), new(sync.RWMutex)
	h.setDefaults()
	if err := h.check(); err != nil {
		return places(h.Source).explain(err)
	}
	for _, step := range []func(caddy.Context) error{
		provisionMetrics, h.provisionKibo, h.provisionVerifier, h.provisionLogin, h.provisionIdentity, h.provisionStore, h.provisionCaptcha,
	} {
		if err := step(ctx); err != nil {
			return places(h.Source).explain(err)
		}
	}
	h.warnOfClear()
	h.warnOfOneAddress(ctx)
	running.LoadOrStore(h, h)
	return nil
}

// provisionKibo joins the client of these settings. What its app token was
// granted for is part of the key; a changed secret makes a new client.
func (h *Handler) provisionKibo(caddy.Context) error {
	if _, _, err := appCredentials(h.ClientID, h.SharedSecret); err != nil {
		return &problem{"client", err.Error(), setPlaceholder}
	}
	id, secret := h.ClientID, h.SharedSecret
	config := kibo.Config{
		APIURL: h.APIHost, AuthURL: h.AuthHost, Timeout: time.Duration(h.Timeout), Header: http.Header{},
		Credentials: func() (string, string, error) { return appCredentials(id, secret) },
		OnState:     noteState,
		OnCall:      countCall,
	}
	for name, value := range h.KiboHeaders {
		config.Header.Set(name, value)
	}
	api, err := kibo.ParseURL(h.APIHost) // check has parsed it before
	if err != nil {
		return err
	}
	h.realm = realmOf(api.String(), h.KiboHeaders)
	client, err := fromPool(h, clientKey(digest(h.APIHost, h.AuthHost, id, secret, h.Timeout, h.KiboHeaders)), func() (caddy.Destructor, error) {
		c, err := kibo.New(config)
		return pooledClient{c}, err
	})
	if err != nil {
		return fmt.Errorf("making the client for Kibo: %w", err)
	}
	h.kibo = client.(pooledClient).Client
	common, err := fromPool(h, sharedKey(h.realm), func() (caddy.Destructor, error) { return newShared(), nil })
	if err != nil {
		return err
	}
	h.shared = common.(*shared)
	return nil
}

// logOfTheDay is for what outlives the handler that began it.
func logOfTheDay() *zap.Logger { return caddy.Log().Named("http.handlers.kibo_auth") }

// noteState notes when Kibo is left alone because its answers fail, and when
// that is over. Two lines an outage, not one a call.
func noteState(host string, open bool) {
	if open {
		metricOutages.WithLabelValues(host).Inc()
		logOfTheDay().Warn("Kibo does not answer; it is left alone for some seconds at a time", zap.String("host", host))
		return
	}
	logOfTheDay().Info("Kibo answers again", zap.String("host", host))
}

// provisionVerifier joins the verifier of these settings, so that a reload
// fetches no keys anew.
func (h *Handler) provisionVerifier(ctx caddy.Context) error {
	config, err := h.Verify.config()
	if err != nil {
		return err
	}
	config.OnError = func(err error) { logOfTheDay().Warn("fetching keys", zap.Error(err)) }
	config.Backup = keyBackup{ctx.Storage(), fmt.Sprintf("kibo_auth/keys/%x", digest(config.JWKSURL))}
	verifier, err := fromPool(h, verifierKey(digest(config.Algorithms, config.HMACKeys, config.PublicKeys, config.JWKSURL,
		config.Issuer, config.Audience, config.Tenant, config.Site, config.Leeway)), func() (caddy.Destructor, error) {
		v, err := verify.New(config)
		return pooledVerifier{v}, err
	})
	if err != nil {
		return &problem{h.Verify.line(), err.Error(), seeVerify}
	}
	h.verifier = verifier.(pooledVerifier).Verifier
	if h.Verify.Bearer {
		h.bearers = newNear()
	}
	return nil
}

// keyBackup keeps the last good key set in Caddy's storage.
type keyBackup struct {
	storage certmagic.Storage
	name    string
}

func (b keyBackup) Load(ctx context.Context) ([]byte, error) { return b.storage.Load(ctx, b.name) }

func (b keyBackup) Store(ctx context.Context, text []byte) error {
	return b.storage.Store(ctx, b.name, text)
}

// config resolves placeholders in keys.
func (v *Verify) config() (verify.Config, error) {
	c := verify.Config{
		Algorithms: v.Algorithms, JWKSURL: v.JWKS, Issuer: v.Issuer, Audience: v.Audience,
		Tenant: v.Tenant, Site: v.Site, Leeway: time.Duration(v.Leeway),
	}
	for line, source := range map[string]*Keys{"verify.hmac": v.HMAC, "verify.key": v.Key} {
		if source == nil {
			continue
		}
		if len(c.Algorithms) == 0 {
			c.Algorithms = []string{source.Algorithm}
		}
		for _, text := range source.Keys {
			key, err := resolve(text)
			if err != nil {
				return c, &problem{line, err.Error(), setPlaceholder}
			}
			if source == v.HMAC {
				c.HMACKeys = append(c.HMACKeys, []byte(key))
			} else {
				c.PublicKeys = append(c.PublicKeys, []byte(key))
			}
		}
	}
	return c, nil
}

func (h *Handler) provisionLogin(ctx caddy.Context) (err error) {
	if h.rules, err = urlpath.NewRules(h.Protect, h.Public); err != nil { // check has read them before
		return err
	}
	if h.pages, err = newPages(h.Login.Brand, h.Login.fields()); err != nil {
		return err
	}
	if h.keyring, err = newKeyring(ctx, h.Secrets); err != nil {
		return err
	}
	h.cookies = newCookieNames(h.Session.Cookie.Name)
	h.origins = http.NewCrossOriginProtection()
	for _, site := range h.Sites {
		if err := h.origins.AddTrustedOrigin(site); err != nil {
			return &problem{"site", err.Error(), "write scheme and host only: https://shop.example.com"}
		}
	}
	h.form, h.bodyTime = h.Login.formFields(), loginBodyTime
	if h.Captcha.Field != "" {
		h.form.Extra = append(h.form.Extra, h.Captcha.Field)
	}
	return nil
}

func (h *Handler) provisionIdentity(caddy.Context) error {
	for _, id := range h.Identity {
		for f, name := range fieldNames {
			if name == id.Field {
				h.headers = append(h.headers, boundHeader{headerName(id.Header), field(f)})
			}
		}
	}
	for _, what := range h.Forward {
		switch what {
		case forwardBearer:
			h.headers = append(h.headers, boundHeader{"Authorization", fieldBearer})
		case forwardUserClaims:
			h.headers = append(h.headers, boundHeader{headerName("x-vol-user-claims"), fieldAccessToken})
		}
	}
	h.reserved = newReserved(h.headers)
	return nil
}

func (h *Handler) provisionStore(ctx caddy.Context) error {
	if h.StoreRaw == nil {
		h.StoreRaw = json.RawMessage(`{"backend":"memory"}`)
	}
	h.storeName = digest(h.StoreRaw)
	ctx, h.closeStore = caddy.NewContext(ctx) // so that it is cleaned up when we say so
	store, err := ctx.LoadModule(h, "StoreRaw")
	if err != nil {
		return &problem{"store", err.Error(), "see the store section of docs/configuration.md"}
	}
	if _, shared := store.(Locker); shared && len(h.Secrets) == 0 {
		return &problem{
			"store", "sessions in a store that several gateways share need a secret that all of them have",
			"make one with: caddy kibo-auth keygen, and add on every gateway: secret {file./run/secrets/kibo_auth}",
		}
	}
	counters, _ := store.(Counters)
	if h.limits, err = newLimits(h.Limits, h.realm, h.shared.counts, counters); err != nil {
		return fmt.Errorf("making the limits: %w", err)
	}
	h.sessions = newSessions(store.(Store), h.keyring, h.realm)
	h.shared.watch.join(h)
	keepConns(ctx)
	return nil
}

// Cleanup gives back to the pool what Provision took, once flights are over: a
// new ticket that Kibo has sent must reach the store, for the old one is dead.
func (h *Handler) Cleanup() error {
	_, _ = running.Delete(h) // has no destructor that could fail
	h.flying.Lock()
	defer h.flying.Unlock()
	if h.sessions != nil {
		h.shared.watch.part(h)
		h.sessions.stop()
	}
	var errs []error
	for _, key := range h.pooled {
		_, err := pool.Delete(key)
		errs = append(errs, err)
	}
	h.pooled = nil
	if h.closeStore != nil {
		h.closeStore()
	}
	if h.human != nil {
		h.human.verifier.Close()
	}
	return errors.Join(errs...)
}

// setPlaceholder mends what resolve finds.
const setPlaceholder = "set the variable, or write the file, for the user that runs Caddy"

// resolve replaces placeholders, and fails on unknown and empty ones.
func resolve(text string) (string, error) {
	return caddy.NewReplacer().ReplaceOrErr(text, true, true)
}

// appCredentials are resolved anew at every grant, so that a changed secret file
// is picked up without a reload.
func appCredentials(id, secret string) (string, string, error) {
	id, err := resolve(id)
	if err != nil {
		return "", "", err
	}
	secret, err = resolve(secret)
	return id, secret, err
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyfile.Unmarshaler       = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
