package redisstore

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// UnmarshalCaddyfile reads
//
//	store redis <url...> {
//		username   <name>
//		password   <secret>
//		tls {
//			ca          <file>
//			cert        <file> <key file>
//			server_name <name>
//		}
//		sentinel   <master> {
//			username <name>
//			password <secret>
//		}
//		cluster
//		prefix     <text>
//		timeout    <duration>
//		cache      <duration>|off
//		on_failure serve_cached|deny
//		database   <n>
//	}
func (s *Store) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // "redis"
	if s.URLs = d.RemainingArgs(); len(s.URLs) == 0 {
		return d.Err("redis takes the URL of a server: store redis redis://localhost:6379")
	}
	return block(d, lines{
		"username":   func() error { return args(d, &s.Username) },
		"password":   func() error { return args(d, &s.Password) },
		"tls":        func() error { return s.parseTLS(d) },
		"sentinel":   func() error { return s.parseSentinel(d) },
		"cluster":    func() error { s.Cluster = true; return args(d) },
		"prefix":     func() error { return args(d, &s.Prefix) },
		"timeout":    func() error { return s.parseTimeout(d) },
		"cache":      func() error { return s.parseCache(d) },
		"on_failure": func() error { return s.parseOnFailure(d) },
		"database":   func() error { return s.parseDatabase(d) },
	})
}

func (s *Store) parseTLS(d *caddyfile.Dispenser) error {
	s.TLS = new(TLS)
	if d.NextArg() {
		return d.Errf("tls takes no argument, but has %q; its options go into a block behind it", d.Val())
	}
	return block(d, lines{
		"ca":          func() error { return args(d, &s.TLS.CA) },
		"cert":        func() error { return args(d, &s.TLS.Cert, &s.TLS.Key) },
		"server_name": func() error { return args(d, &s.TLS.ServerName) },
	})
}

func (s *Store) parseSentinel(d *caddyfile.Dispenser) error {
	s.Sentinel = new(Sentinel)
	given := d.RemainingArgs()
	if len(given) != 1 || given[0] == "" {
		return d.Err("sentinel takes one argument, the name of the master that the sentinels watch")
	}
	s.Sentinel.Master = given[0]
	return block(d, lines{
		"username": func() error { return args(d, &s.Sentinel.Username) },
		"password": func() error { return args(d, &s.Sentinel.Password) },
	})
}

func (s *Store) parseTimeout(d *caddyfile.Dispenser) error {
	var text string
	if err := args(d, &text); err != nil {
		return err
	}
	t, err := caddy.ParseDuration(text)
	if err != nil || t <= 0 {
		return d.Errf("timeout: %q is not a duration above zero, such as 1s or 500ms", text)
	}
	s.Timeout = caddy.Duration(t)
	return nil
}

// parseCache keeps off apart from not given.
func (s *Store) parseCache(d *caddyfile.Dispenser) error {
	var text string
	if err := args(d, &text); err != nil {
		return err
	}
	if text == "off" {
		text = "0"
	}
	t, err := caddy.ParseDuration(text)
	if text == "0" {
		t, err = 0, nil
	}
	if err != nil || t < 0 {
		return d.Errf("cache: %q is neither a duration, such as 30s, nor off", text)
	}
	if s.Cache = caddy.Duration(t); t == 0 {
		s.Cache = -1
	}
	return nil
}

func (s *Store) parseOnFailure(d *caddyfile.Dispenser) error {
	if err := args(d, &s.OnFailure); err != nil {
		return err
	}
	if s.OnFailure != serveCached && s.OnFailure != deny {
		return d.Errf("on_failure: %q is neither %s nor %s", s.OnFailure, serveCached, deny)
	}
	return nil
}

func (s *Store) parseDatabase(d *caddyfile.Dispenser) error {
	var text string
	if err := args(d, &text); err != nil {
		return err
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return d.Errf("database: %q is not the number of a database, such as 0 or 3", text)
	}
	s.Database = n
	return nil
}

// lines are the options of a block, by name. Each reads the rest of its line.
type lines map[string]func() error

// block reads a block line by line. Unknown and repeated lines are errors.
func block(d *caddyfile.Dispenser, known lines) error {
	first := map[string]int{}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name, line := d.Val(), d.Line()
		read, ok := known[name]
		switch {
		case !ok && len(known) == 0:
			return d.Errf("no block is expected here, but there is %q", name)
		case !ok:
			return d.Errf("unknown option %q; the options here are: %s", name, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
		case first[name] > 0:
			return d.Errf("%s stands here twice, first on line %d; keep one", name, first[name])
		}
		first[name] = line
		if err := read(); err != nil {
			return err
		}
	}
	return nil
}

// args reads exactly as many arguments as there are targets. What was given is
// not repeated in errors: it may be a password.
func args(d *caddyfile.Dispenser, targets ...*string) error {
	name := d.Val()
	given := d.RemainingArgs()
	if len(given) != len(targets) {
		return d.Errf("%s takes %d argument(s), but has %d", name, len(targets), len(given))
	}
	for i, target := range targets {
		if *target = given[i]; given[i] == "" {
			return d.Errf("%s has an empty argument", name)
		}
	}
	return block(d, lines{})
}
