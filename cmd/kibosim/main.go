// Command kibosim serves a simulated Kibo Commerce tenant, for developing and
// testing a storefront without a sandbox. Codes are printed instead of mailed.
//
//	kibosim [-listen 127.0.0.1:8085] [-tls [-cert-out file]]
//	        [-client-id id] [-secret secret] [-public] [-v]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/kiboauth/caddy-kibo-auth/internal/kibosim"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "kibosim:", err)
		os.Exit(1)
	}
}

// options are the command line.
type options struct {
	listen, certOut      string
	clientID, secret     string
	tls, public, verbose bool
}

func parse(args []string, stderr io.Writer) (o options, err error) {
	fs := flag.NewFlagSet("kibosim", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.StringVar(&o.listen, "listen", "127.0.0.1:8085", "`address` to listen on")
	fs.BoolVar(&o.tls, "tls", false, "serve HTTPS with a certificate made for this run")
	fs.StringVar(&o.certOut, "cert-out", "", "with -tls: write the certificate to this `file`, for clients to trust")
	fs.StringVar(&o.clientID, "client-id", kibosim.ClientID, "application `id`")
	fs.StringVar(&o.secret, "secret", kibosim.SharedSecret, "application's shared `secret`")
	fs.BoolVar(&o.public, "public", false, "allow an address that other machines can reach")
	fs.BoolVar(&o.verbose, "v", false, "log every call")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	switch {
	case fs.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	case o.certOut != "" && !o.tls:
		return o, errors.New("-cert-out needs -tls")
	case !o.public && !loopback(o.listen):
		return o, fmt.Errorf("%s can be reached by other machines, and the simulator shows its codes to anyone; use -public if that is meant", o.listen)
	}
	return o, nil
}

// loopback says whether only this machine can reach an address.
func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return true // listening will say better what is wrong
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// run serves until ctx ends.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	log := slog.New(slog.DiscardHandler)
	if o.verbose {
		log = slog.New(slog.NewTextHandler(stderr, nil))
	}
	sim := kibosim.New(kibosim.Options{
		ClientID: o.clientID, Secret: o.secret, Log: log,
		OnCode: func(email, code string) {
			fmt.Fprintf(stdout, "%s  code %s for %s\n", time.Now().Format(time.TimeOnly), code, email)
		},
	})
	ln, err := net.Listen("tcp", o.listen)
	if err != nil {
		return err
	}
	scheme := "http"
	if o.tls {
		if ln, err = secure(ln, o.certOut); err != nil {
			return err
		}
		scheme = "https"
	}
	greet(stdout, scheme+"://"+ln.Addr().String(), o)
	return serve(ctx, ln, sim)
}

func serve(ctx context.Context, ln net.Listener, h http.Handler) error {
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		// A call that hangs by a fault must not hold up the end.
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(ln) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return srv.Shutdown(grace)
}

func greet(w io.Writer, base string, o options) {
	fmt.Fprintf(w, `Simulated Kibo at %[1]s (API under /api; controls and help at %[1]s/__sim/)

  tenant %[2]s, site %[3]s
  client id      %[4]s
  shared secret  %[5]s

Customers (codes are printed here):
`, base, kibosim.Tenant, kibosim.Site, o.clientID, o.secret)
	for _, c := range kibosim.Fixtures() {
		fmt.Fprintf(w, "  %-22s %s\n", c.Email, c.Note)
	}
	fmt.Fprintf(w, `
Caddyfile:

	kibo_auth %[1]s {
		auth_host %[1]s
		client %[2]s %[3]s
	}
`, base, o.clientID, o.secret)
	if o.certOut != "" {
		fmt.Fprintf(w, "\nStart Caddy with SSL_CERT_FILE=%s to trust the certificate.\n", o.certOut)
	}
	fmt.Fprintln(w)
}
