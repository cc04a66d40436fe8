// Command demo shows code sign-in on one machine, without an account and
// without installing anything: a simulated Kibo, a small old shop, and the
// gateway in front of it.
//
//	go run ./cmd/demo
//
// The codes that Kibo would send by e-mail appear in the terminal.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/kiboauth/caddy-kibo-auth/internal/kibosim"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// run is the whole command. It returns when ctx ends.
func run(ctx context.Context, args []string, stdout io.Writer) error {
	var o options
	flags := flag.NewFlagSet("demo", flag.ExitOnError)
	flags.StringVar(&o.Listen, "listen", "127.0.0.1:8080", "loopback `address` of the gateway")
	flags.BoolVar(&o.UpstreamForm, "upstream-form", false, "let the shop draw the sign-in form")
	flags.BoolVar(&o.Password, "password", false, "let passwords open accounts, too")
	_ = flags.Parse(args) // exits by itself
	if o.Password && o.UpstreamForm {
		return errors.New("-password and -upstream-form: the shop's own form has no second field; choose one of them")
	}
	out := &screen{w: stdout}
	o.OnCode = out.code
	d, err := startDemo(o)
	if err != nil {
		return err
	}
	out.welcome(d, o)
	<-ctx.Done()
	out.print("\n  Closing the shop.\n")
	return d.stop()
}

// screen writes to the terminal, one text at a time.
type screen struct {
	mu sync.Mutex
	w  io.Writer
}

func (s *screen) print(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.w, format, args...)
}

// code shows a code as it is "sent".
func (s *screen) code(email, code string) {
	s.print("  Mail to %s: your code is %s\n", email, code)
}

func (s *screen) welcome(d *demo, o options) {
	form := "the gateway's own page; -upstream-form shows the shop's"
	if o.UpstreamForm {
		form = "the shop's own form, drawn by the shop"
	}
	s.print(`
  Harbour Supply Co. is open: an old shop with code sign-in in front of it.

  Shop          %s
  Sign in as    jane@example.com, john@example.com or zoe@example.com
  Sign-in form  %s%s
  Behind it     the old shop, http://%s
                a simulated Kibo, %s/__sim/

  Put something into the cart and go to checkout, or open "Your account".
  The mail with your code arrives here. Ctrl-C closes the shop.

`, d.URL, form, passwordNote(o.Password), d.Shop, d.Simulator)
}

func passwordNote(on bool) string {
	if !on {
		return ""
	}
	return "\n  Password      " + kibosim.FixturePassword
}
