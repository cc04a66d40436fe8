// Package filestore keeps sessions in a file of this machine, so that they
// outlive the process: restarts, crashes, power cuts. The file is a bbolt
// database; one process at a time can have it open.
//
//	store file /var/lib/caddy/sessions.db
package filestore

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	kiboauth "github.com/kiboauth/caddy-kibo-auth"
)

// defaultMaxSessions bounds the file: at 3 to 4 kB a session, a million take
// some 4 GB of disk.
const defaultMaxSessions = 1_000_000

func init() {
	caddy.RegisterModule(new(Store))
}

// Store keeps sessions in a file. They outlive the process: a sign-in is
// answered when its session is on the disk. All sites of a process that name
// the same file share it; other processes can not use it meanwhile.
//
// The file is opened when the first session is looked for. It is made with
// mode 0600, and its directory, if there is none, with 0700; a file that others
// may read or write is narrowed to 0600. If the file is moved away or another is
// put in its place by renaming, that is noticed within seconds and the file of
// that name is used from then on. To write over a file that is in use damages it.
type Store struct {
	// Path is the file, absolute or relative to the working directory of the
	// process. Placeholders are resolved at start. Default: none, it must be given.
	Path string `json:"path,omitempty"`
	// MaxSessions is the most sessions that the file keeps. When they are
	// reached, nobody can sign in (503) until some have ended: a live session
	// is never thrown out. If several sites set it for one file, the highest
	// counts. Default: 1000000.
	MaxSessions int `json:"max_sessions,omitempty"`

	*file
}

// CaddyModule implements caddy.Module.
func (*Store) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.kibo_auth.stores.file",
		New: func() caddy.Module { return new(Store) },
	}
}

// UnmarshalCaddyfile reads
//
//	store file <path> {
//		max_sessions <n>
//	}
func (s *Store) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // "file"
	given := d.RemainingArgs()
	if len(given) != 1 || given[0] == "" {
		return d.Errf("store file takes one argument, the path of the file, but has %q", given)
	}
	s.Path = given[0]
	first := 0
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		switch name := d.Val(); {
		case name != "max_sessions":
			return d.Errf("unknown option %q; the options here are: max_sessions", name)
		case first > 0:
			return d.Errf("max_sessions stands here twice, first on line %d; keep one", first)
		}
		first = d.Line()
		if err := s.unmarshalMax(d); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) unmarshalMax(d *caddyfile.Dispenser) error {
	given := d.RemainingArgs()
	if len(given) != 1 {
		return d.Errf("max_sessions takes one argument, but has %d", len(given))
	}
	n, err := strconv.Atoi(given[0])
	if err != nil || n <= 0 {
		return d.Errf("max_sessions: %q is not a number above zero", given[0])
	}
	s.MaxSessions = n
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		return d.Errf("no block is expected here, but there is %q", d.Val())
	}
	return nil
}

// pool holds the files of this process. Old and new configuration share them
// while both live: a file can be opened only once.
var pool = caddy.NewUsagePool()

// Provision joins the file that this process has already, or notes it. It
// does not touch the disk.
func (s *Store) Provision(caddy.Context) error {
	if s.MaxSessions < 0 {
		return errors.New("max_sessions is negative; give the number of sessions to keep")
	}
	if s.MaxSessions == 0 {
		s.MaxSessions = defaultMaxSessions
	}
	path, err := absolute(s.Path)
	if err != nil {
		return err
	}
	shared, _, err := pool.LoadOrNew(path, func() (caddy.Destructor, error) { return newFile(path), nil })
	if err != nil {
		return err
	}
	s.file = shared.(*file)
	s.limitTo(s, s.MaxSessions)
	return nil
}

// absolute resolves placeholders and makes one name of the many of a path.
func absolute(text string) (string, error) {
	if text == "" {
		return "", errors.New("the session file has no path; write: store file /var/lib/caddy/sessions.db")
	}
	path, err := caddy.NewReplacer().ReplaceOrErr(text, true, true)
	if err != nil {
		return "", fmt.Errorf("path of the session file: %w", err)
	}
	if path, err = filepath.Abs(path); err != nil {
		return "", fmt.Errorf("path of the session file: %w", err)
	}
	return path, nil
}

// Cleanup leaves the shared file; the last one out closes it.
func (s *Store) Cleanup() error {
	if s.file == nil {
		return nil
	}
	s.limitTo(s, 0)
	_, err := pool.Delete(s.path)
	return err
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Store)(nil)
	_ caddy.CleanerUpper    = (*Store)(nil)
	_ caddyfile.Unmarshaler = (*Store)(nil)
	_ kiboauth.Store        = (*Store)(nil)
	_ kiboauth.Cacher       = (*Store)(nil)
	_ kiboauth.Sizer        = (*Store)(nil)
)
