// Command attack tries a deployment of the gateway as an attacker would, from
// the outside, and says what came of it.
//
//	go run ./cmd/attack -target http://127.0.0.1:8080 [flags]
//
// It attacks this machine only, unless it is told twice. It exits with 1 if a
// check failed, and with 2 if nothing could be tried.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/kiboauth/caddy-kibo-auth/internal/attack"
)

// The exit codes.
const (
	passed = iota
	failed
	unusable
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	cancel()
	os.Exit(code)
}

// run is the whole command.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return passed
	}
	if err == nil {
		err = o.readSession(stdin)
	}
	if err != nil {
		fmt.Fprintln(stderr, "attack:", err)
		return unusable
	}
	r := &report{w: stdout, json: o.json}
	if err := attack.Run(ctx, o.target, o.only, r.add); err != nil {
		fmt.Fprintln(stderr, "attack:", err)
		return unusable
	}
	return r.end()
}

// options are the command line.
type options struct {
	target                    attack.Target
	only, session, identities string
	remote, json              bool
}

func parse(args []string, stderr io.Writer) (*options, error) {
	o := new(options)
	fs := o.flags(stderr)
	base := fs.String("target", "", "`address` of the deployment, such as http://127.0.0.1:8080")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	var err error
	switch o.target.Base, err = url.Parse(strings.TrimSuffix(*base, "/")); {
	case fs.NArg() > 0:
		return nil, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	case *base == "":
		return nil, errors.New("-target is missing; -help tells more")
	case err != nil || o.target.Base.Host == "" || o.target.Base.Path != "" || o.target.Base.User != nil:
		return nil, errors.New("-target: want a scheme and a host, such as https://shop.example.com")
	case o.remote != (o.target.Owned != ""):
		return nil, errors.New("-remote and -i-own go together: the host of other people is not yours to attack")
	case o.target.Rate <= 0 || o.target.Timeout <= 0:
		return nil, errors.New("-rate and -timeout: want more than nothing")
	}
	for name := range strings.SplitSeq(o.identities, ",") {
		o.target.Identity = append(o.target.Identity, strings.TrimSpace(name))
	}
	return o, o.checkPaths()
}

func (o *options) flags(stderr io.Writer) *flag.FlagSet {
	fs := flag.NewFlagSet("attack", flag.ContinueOnError)
	fs.SetOutput(stderr)
	t := &o.target
	fs.StringVar(&t.Login, "login", "/login", "`path` of the sign-in form")
	fs.StringVar(&t.Logout, "logout", "/logout", "`path` that signs out")
	fs.StringVar(&t.Protected, "protected", "/account", "`path` that needs a session")
	fs.StringVar(&t.Public, "public", "/", "`path` that does not")
	fs.StringVar(&t.Echo, "echo", "", "public `path` whose answer shows the headers that the application got, to see what arrives there; no default")
	fs.StringVar(&t.Email, "email-field", "email", "`name` of the form's field for the address")
	fs.StringVar(&t.Code, "code-field", "otpCode", "`name` of the form's field for the code")
	fs.BoolVar(&t.ShopForm, "shop-form", false, "the shop draws the sign-in form, not the gateway")
	fs.StringVar(&t.Cookie, "cookie", "__Host-kibo", "`name` of the session cookie")
	fs.StringVar(&o.session, "session", "", "`file` with the value of a live session cookie, - for the standard input; runs the checks that need one. The session may end by that")
	fs.StringVar(&o.identities, "identity", "Kibo-Account-Id", "`names` of the identity headers, with commas")
	fs.StringVar(&o.only, "only", "", "one `family` of checks, or one check as family/name: "+strings.Join(attack.Families(), ", "))
	fs.BoolVar(&t.Send, "send", false, "also the checks that make the gateway ask Kibo for codes: three, for made-up addresses under example.com, which nobody has. About ten wrong codes are counted for this client")
	fs.BoolVar(&o.json, "json", false, "print JSON, a result a line, with all failures")
	fs.DurationVar(&t.Timeout, "timeout", attack.DefaultTimeout, "how long to wait for one answer")
	fs.Float64Var(&t.Rate, "rate", attack.DefaultRate, fmt.Sprintf("requests a second; at most %d for other machines", attack.RemoteRate))
	fs.BoolVar(&t.InsecureTLS, "insecure-tls", false, "take any certificate; on this machine only")
	fs.BoolVar(&o.remote, "remote", false, "the target is another machine; needs -i-own as well")
	fs.StringVar(&t.Owned, "i-own", "", "the target's `host` once more, to say that you may attack it")
	return fs
}

func (o *options) checkPaths() error {
	t := &o.target
	for name, path := range map[string]string{"login": t.Login, "logout": t.Logout, "protected": t.Protected, "public": t.Public, "echo": t.Echo} {
		if path == "" && name == "echo" {
			continue
		}
		if !strings.HasPrefix(path, "/") || strings.ContainsAny(path, " ?#\r\n") {
			return fmt.Errorf("-%s %q: want a path such as /account", name, path)
		}
	}
	if len(t.Protected) < 2 || t.Protected[1] < 'a' || t.Protected[1] > 'z' {
		return fmt.Errorf("-protected %q: want a slash and a lower-case letter first", t.Protected)
	}
	return nil
}

// maxSession is longer than any session cookie.
const maxSession = 4 << 10

// readSession reads the session's cookie from a file: arguments can be seen by
// everybody on the machine. Name and value may be given together.
func (o *options) readSession(stdin io.Reader) error {
	if o.session == "" {
		return nil
	}
	from := stdin
	if o.session != "-" {
		f, err := os.Open(o.session)
		if err != nil {
			return errors.New("-session: want the name of a file that can be read, or -")
		}
		defer f.Close()
		from = f
	}
	text, err := io.ReadAll(io.LimitReader(from, maxSession))
	if err != nil {
		return fmt.Errorf("reading the session: %w", err)
	}
	o.target.Session = strings.TrimPrefix(string(bytes.TrimSpace(text)), o.target.Cookie+"=")
	if len(o.target.Session) < 16 || strings.ContainsAny(o.target.Session, " ;,\r\n") {
		return errors.New("-session: there is no cookie's value in it")
	}
	return nil
}
