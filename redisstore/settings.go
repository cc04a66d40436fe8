package redisstore

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/redis/rueidis"

	"github.com/kiboauth/caddy-kibo-auth/internal/redact"
)

const (
	// bufferSize is what each connection reads and writes at once: a few
	// records. rueidis' own default is half a megabyte.
	bufferSize = 64 << 10
	// Lost notices of a failover are made up for by asking so often.
	askSentinels = 5 * time.Second
	askCluster   = 30 * time.Second
)

// server is what a URL says.
type server struct {
	redact.Hidden

	address            string // host:port
	tls                bool
	username, password string
	database           int
}

// options are the settings with their placeholders resolved, as rueidis takes
// them. Errors name the line and never what it holds: it may be a password.
func (s *Store) options() (rueidis.ClientOption, error) {
	servers, err := s.servers()
	if err != nil {
		return rueidis.ClientOption{}, err
	}
	t := time.Duration(s.Timeout)
	opt := rueidis.ClientOption{
		ClientName:    "caddy-kibo-auth",
		ClientSetInfo: rueidis.DisableClientSetInfo, // unknown before Redis 7.2
		// Redis finds dead connections by PING after KeepAlive without
		// traffic, and gives up on them after ConnWriteTimeout.
		Dialer:              net.Dialer{Timeout: t, KeepAlive: t},
		ConnWriteTimeout:    t,
		ReadBufferEachConn:  bufferSize,
		WriteBufferEachConn: bufferSize,
		RetryDelay:          retryDelay,
		// Without OPTIN every key that is read is tracked, also one that is
		// read behind ASKING while its slot moves: CLIENT CACHING YES holds
		// for the next command only, and that would be ASKING.
		ClientTrackingOptions: []string{"OPTOUT"},
		ClusterOption:         rueidis.ClusterOption{ShardsRefreshInterval: askCluster},
	}
	for _, server := range servers {
		opt.InitAddress = append(opt.InitAddress, server.address)
	}
	if err := s.login(&opt, servers); err != nil {
		return opt, err
	}
	if opt.SelectDB, err = s.database(servers); err != nil {
		return opt, err
	}
	if servers[0].tls {
		if opt.TLSConfig, err = s.TLS.config(); err != nil {
			return opt, fmt.Errorf("tls: %w", err)
		}
	}
	return opt, s.sentinel(&opt)
}

// servers reads the URLs.
func (s *Store) servers() ([]server, error) {
	if len(s.URLs) == 0 {
		return nil, errors.New("there is no URL; give that of a server, such as redis://localhost:6379")
	}
	servers := make([]server, len(s.URLs))
	for i, text := range s.URLs {
		text, err := resolve(text)
		if err == nil {
			servers[i], err = parseURL(text, s.TLS != nil)
		}
		switch {
		case err != nil:
			return nil, fmt.Errorf("url %d: %w", i+1, err)
		case servers[i].tls != servers[0].tls:
			return nil, errors.New("some urls use TLS and some do not; write all of them with rediss:// or all with redis://")
		case s.TLS != nil && !servers[i].tls:
			return nil, fmt.Errorf("url %d says redis://, which is without TLS, but there is a tls block; write rediss://", i+1)
		}
	}
	return servers, nil
}

// parseURL reads redis://[user:password@]host[:port][/db], the same with
// rediss, valkey or valkeys, and host:port (redis-specifications/uri/redis.txt).
func parseURL(text string, withTLS bool) (server, error) {
	if !strings.Contains(text, "://") {
		if strings.ContainsAny(text, "@/") {
			return server{}, errors.New("it is neither host:port nor a URL; write redis:// or rediss:// in front")
		}
		text = map[bool]string{true: "rediss://", false: "redis://"}[withTLS] + text
	}
	u, err := url.Parse(text)
	if err != nil { // its text holds the URL
		return server{}, errors.New("it is not a valid URL; write redis://host:6379, and special characters of a password as %XX or the password on a line of its own")
	}
	var found server
	switch u.Scheme {
	case "rediss", "valkeys":
		found.tls = true
	case "redis", "valkey":
	default:
		return server{}, errors.New("its scheme is unknown; write redis:// or rediss://")
	}
	if u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "" {
		return server{}, errors.New("write it as redis://host:6379 or redis://host:6379/0; options have lines of their own")
	}
	if db := strings.Trim(u.Path, "/"); db != "" {
		if found.database, err = strconv.Atoi(db); err != nil || found.database < 0 {
			return server{}, errors.New("what follows the host is not the number of a database")
		}
	}
	port := u.Port()
	if port == "" {
		port = "6379"
	}
	found.address = net.JoinHostPort(u.Hostname(), port)
	if u.User != nil {
		found.username = u.User.Username()
		found.password, _ = u.User.Password()
	}
	return found, nil
}

// login fills in who we are.
func (s *Store) login(opt *rueidis.ClientOption, servers []server) error {
	for i, server := range servers {
		switch {
		case server.username == "" && server.password == "":
		case s.Sentinel != nil:
			return fmt.Errorf("url %d has a user or password, but does it belong to the sentinels or to redis? Write username and password on lines of their own", i+1)
		case s.Username != "" || s.Password != "":
			return fmt.Errorf("url %d has a user or password, and so have the lines username and password; keep the lines", i+1)
		case opt.Password != "" && (opt.Username != server.username || opt.Password != server.password):
			return fmt.Errorf("url %d has another user or password than those before; write username and password on lines of their own", i+1)
		default:
			opt.Username, opt.Password = server.username, server.password
		}
	}
	if s.Username == "" && s.Password == "" {
		return nil
	}
	return resolveAll("", &opt.Username, s.Username, &opt.Password, s.Password)
}

// resolveAll resolves a user name and a password.
func resolveAll(where string, username *string, rawUsername string, password *string, rawPassword string) (err error) {
	if *username, err = resolve(rawUsername); err != nil {
		return fmt.Errorf("%susername: %w", where, err)
	}
	if *password, err = resolve(rawPassword); err != nil {
		return fmt.Errorf("%spassword: %w", where, err)
	}
	if *username != "" && *password == "" {
		return fmt.Errorf("%susername has no password beside it; add the line password", where)
	}
	return nil
}

// database finds the number that the line and the URLs agree on.
func (s *Store) database(servers []server) (int, error) {
	n := s.Database
	for i, server := range servers {
		switch {
		case server.database == 0 || server.database == n:
		case n == 0:
			n = server.database
		default:
			return 0, fmt.Errorf("url %d names another database than the line database or the urls before; keep one", i+1)
		}
	}
	switch {
	case n < 0:
		return 0, errors.New("database is negative; give the number of a database, such as 0")
	case n > 0 && (s.Cluster || s.Sentinel == nil && len(servers) > 1):
		return 0, errors.New("database: a cluster has only database 0; leave the number out")
	}
	return n, nil
}

// sentinel fills in what the Sentinels need.
func (s *Store) sentinel(opt *rueidis.ClientOption) error {
	if s.Sentinel == nil {
		return nil
	}
	opt.Sentinel = rueidis.SentinelOption{
		Dialer:                  opt.Dialer,
		TLSConfig:               opt.TLSConfig,
		MasterSet:               s.Sentinel.Master,
		TopologyRefreshInterval: askSentinels,
	}
	return resolveAll("sentinel: ", &opt.Sentinel.Username, s.Sentinel.Username, &opt.Sentinel.Password, s.Sentinel.Password)
}

// config reads the files. There is no way to leave verification out.
func (t *TLS) config() (*tls.Config, error) {
	if t == nil {
		t = new(TLS)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CA != "" {
		text, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, fmt.Errorf("ca: %w; check the path, and that the user that runs Caddy may read it", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, errors.New("ca: there is no certificate in the file; it must be in PEM form")
		}
	}
	if t.Cert != "" || t.Key != "" {
		pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
		if err != nil {
			return nil, fmt.Errorf("cert: %w; give the PEM files of the certificate and of its key", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// resolve replaces placeholders, and fails on unknown and empty ones. Only names
// that are surely no part of a password are shown.
func resolve(text string) (string, error) {
	resolved, err := caddy.NewReplacer().ReplaceOrErr(text, true, true)
	switch {
	case err == nil:
		return resolved, nil
	case strings.Contains(err.Error(), "{env.") || strings.Contains(err.Error(), "{file."):
		return "", fmt.Errorf("%w; set the variable, or write the file, for the user that runs Caddy", err)
	default:
		return "", errors.New(`it has a placeholder that is unknown or empty; write {env.NAME} or {file.PATH}, and a brace that is meant itself as \{`)
	}
}
