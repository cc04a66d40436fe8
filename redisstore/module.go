package redisstore

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	kiboauth "github.com/kiboauth/caddy-kibo-auth"

	"github.com/kiboauth/caddy-kibo-auth/internal/redact"
)

func init() { caddy.RegisterModule(new(Store)) }

// Defaults of the settings with the same names.
const (
	defaultPrefix  = "kibo:"
	defaultTimeout = caddy.Duration(time.Second)
	defaultCache   = caddy.Duration(30 * time.Second)
)

// What the gateway does with a session it knows when Redis does not answer.
const (
	serveCached = "serve_cached"
	deny        = "deny"
)

// Store keeps sessions in Redis or Valkey. Gateways with the same settings
// share their sessions; within a process they share the connections, too, which
// outlive a reload. Placeholders in URLs, user names and passwords are resolved
// when connecting, and again when Redis refuses them.
type Store struct {
	redact.Unprinted `json:"-"`

	// URLs are the servers: redis://host[:6379][/db], rediss:// with TLS, or
	// host:port. One server, some nodes of a Cluster, or the Sentinels.
	// Default: none, at least one must be given.
	URLs []string `json:"urls,omitempty"`
	// Username is the ACL user. Default: Redis' user "default".
	Username string `json:"username,omitempty"`
	// Password is the user's password, best given as {env.*} or {file.*}: a
	// literal would stand in the admin API's /config. Default: none.
	Password string `json:"password,omitempty"`
	// TLS says how to connect with TLS, which it also turns on for host:port.
	// Default: off; with rediss://, the system's certificate authorities.
	TLS *TLS `json:"tls,omitempty"`
	// Sentinel makes the URLs those of Sentinels. Default: none.
	Sentinel *Sentinel `json:"sentinel,omitempty"`
	// Cluster insists on a Cluster: a single server is refused. A Cluster is
	// also recognized without. Default: false.
	Cluster bool `json:"cluster,omitempty"`
	// Prefix begins every key. Default: kibo:.
	Prefix string `json:"prefix,omitempty"`
	// Timeout is how long one call may take, connecting included. Default: 1s.
	Timeout caddy.Duration `json:"timeout,omitempty"`
	// Cache is how long a session may be used without asking Redis again while
	// Redis tells of no change: the longest that an ended session can live on
	// if that message is lost. Negative: ask each time. Default: 30s.
	Cache caddy.Duration `json:"cache,omitempty"`
	// OnFailure says what becomes of sessions when Redis does not answer:
	// serve_cached uses those that were confirmed less than Cache ago, deny
	// uses none (503). Default: serve_cached.
	OnFailure string `json:"on_failure,omitempty"`
	// Database is the number of the database; a Cluster has only 0. Default: 0.
	Database int `json:"database,omitempty"`

	client *client
	key    poolKey
}

// TLS are the settings of TLS connections. The server's certificate is always
// verified.
type TLS struct {
	// CA is a PEM file with the certificate authorities to trust.
	// Default: those of the system.
	CA string `json:"ca,omitempty"`
	// Cert is a PEM file with a client certificate. Default: none.
	Cert string `json:"cert,omitempty"`
	// Key is the PEM file with the client certificate's key. Default: none.
	Key string `json:"key,omitempty"`
	// ServerName is the name that certificates must have.
	// Default: the host of each server.
	ServerName string `json:"server_name,omitempty"`
}

// Sentinel names the master that the Sentinels watch.
type Sentinel struct {
	redact.Unprinted `json:"-"`

	// Master is the master's name. Default: none, it must be given.
	Master string `json:"master,omitempty"`
	// Username is the user at the Sentinels. Default: their user "default".
	Username string `json:"username,omitempty"`
	// Password is the password at the Sentinels. Default: none.
	Password string `json:"password,omitempty"`
}

// CaddyModule implements caddy.Module.
func (*Store) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.kibo_auth.stores.redis",
		New: func() caddy.Module { return new(Store) },
	}
}

// pool holds the clients that outlive a reload, by hashes of their settings.
var pool = caddy.NewUsagePool()

type poolKey [sha256.Size]byte

// Provision fills defaults, checks all settings and joins the client that other
// stores with the same settings use. It opens no connection.
func (s *Store) Provision(ctx caddy.Context) error {
	s.setDefaults()
	if err := s.check(); err != nil {
		return fmt.Errorf("store redis: %w", err)
	}
	set := *s
	set.Cache, set.OnFailure = 0, "" // applied here, no part of the connection
	text, err := json.Marshal(set)
	if err != nil {
		return err
	}
	s.key = sha256.Sum256(text)
	shared, _, err := pool.LoadOrNew(s.key, func() (caddy.Destructor, error) { return newClient(set), nil })
	if err != nil {
		return err
	}
	s.client = shared.(*client)
	s.client.log.Store(ctx.Logger())
	if s.inClear() {
		ctx.Logger().Warn("a password stands in clear in the configuration, which the admin API shows; write {env.NAME} or {file.PATH}")
	}
	return nil
}

// inClear tells whether a password is no placeholder.
func (s *Store) inClear() bool {
	passwords := []string{s.Password}
	if s.Sentinel != nil {
		passwords = append(passwords, s.Sentinel.Password)
	}
	for _, text := range s.URLs {
		if user, _, ok := strings.Cut(text, "@"); ok {
			passwords = append(passwords, user)
		}
	}
	return slices.ContainsFunc(passwords, func(p string) bool { return p != "" && !strings.Contains(p, "{") })
}

func (s *Store) setDefaults() {
	s.Prefix = cmp.Or(s.Prefix, defaultPrefix)
	s.Timeout = cmp.Or(s.Timeout, defaultTimeout)
	s.Cache = cmp.Or(s.Cache, defaultCache)
	s.OnFailure = cmp.Or(s.OnFailure, serveCached)
}

// check says what is wrong with the settings, and how to mend it.
func (s *Store) check() error {
	switch {
	case s.Timeout < 0:
		return errors.New("timeout is negative; give a duration such as 1s")
	case strings.ContainsAny(s.Prefix, "{}"):
		return errors.New("prefix has a brace, which has a meaning of its own in keys, and is no placeholder here; write the prefix itself, kibo: for example")
	case s.OnFailure != serveCached && s.OnFailure != deny:
		return fmt.Errorf("on_failure is %q; it can be %s or %s", s.OnFailure, serveCached, deny)
	case s.Sentinel != nil && s.Sentinel.Master == "":
		return errors.New("sentinel has no name; give the one that the sentinels watch, such as mymaster")
	case s.Sentinel != nil && s.Cluster:
		return errors.New("sentinel and cluster exclude each other; keep the line that fits your servers")
	}
	_, err := s.options()
	return err
}

// Cleanup leaves the shared client; the last one out closes its connections.
func (s *Store) Cleanup() error {
	if s.client == nil {
		return nil
	}
	_, err := pool.Delete(s.key)
	return err
}

// CacheFor implements kiboauth.Cacher. Without the server's word on changes,
// every use must be confirmed.
func (s *Store) CacheFor() (fresh, stale time.Duration) {
	if s.Cache <= 0 {
		return 0, 0
	}
	if s.client.tracking.Load() {
		fresh = time.Duration(s.Cache)
	}
	if s.OnFailure == serveCached {
		stale = time.Duration(s.Cache)
	}
	return fresh, stale
}

// Watch implements kiboauth.Cacher.
func (s *Store) Watch(changed func(*kiboauth.Key)) (stop func()) { return s.client.watch(changed) }

// Interface guards
var (
	_ kiboauth.Store        = (*Store)(nil)
	_ kiboauth.Cacher       = (*Store)(nil)
	_ kiboauth.Locker       = (*Store)(nil)
	_ kiboauth.Counters     = (*Store)(nil)
	_ caddy.Provisioner     = (*Store)(nil)
	_ caddy.CleanerUpper    = (*Store)(nil)
	_ caddyfile.Unmarshaler = (*Store)(nil)
	_ caddy.Destructor      = (*client)(nil)
)
