package kiboauth

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	caddy.RegisterModule((*Handler)(nil))
	caddy.RegisterModule((*MemoryStore)(nil))
	httpcaddyfile.RegisterHandlerDirective("kibo_auth", parseDirective)
	httpcaddyfile.RegisterDirectiveOrder("kibo_auth", httpcaddyfile.After, "forward_auth")
}

func parseDirective(helper httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	h := new(Handler)
	if err := h.UnmarshalCaddyfile(helper.Dispenser); err != nil {
		return nil, err
	}
	return h, nil
}

// UnmarshalCaddyfile reads
//
//	kibo_auth [<matcher>] <api_host|api_url> {
//		client      <client_id> <shared_secret>
//		auth_host   <host|url>
//		kibo_header <name> <value>
//		timeout     <duration>
//		site        <origin...>
//		secret      <key...>
//		login       <path...> { … }
//		logout      <path...> [get]
//		protect     <paths...>
//		public      <paths...>
//		verify      { … }
//		session     { … }
//		store       <backend> { … }
//		identity    <header> <field>
//		forward     bearer|user_claims
//	}
//
// Mistakes are reported with the line they stand on.
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive
	at := places{"kibo_auth": place(d)}
	if !d.Args(&h.APIHost) || d.NextArg() {
		return d.Errf("kibo_auth takes one argument, the API host of the Kibo site: kibo_auth t12345-s67890.sandbox.mozu.com { … }")
	}
	if err := h.parseLines(d, at); err != nil {
		return err
	}
	h.Source = at.of("kibo_auth", "client", "secret", "verify.hmac", "verify.key")
	return at.explain(h.checked())
}

// checked finds mistakes that show without placeholders and without touching h.
func (h *Handler) checked() error {
	whole := *h
	whole.setDefaults()
	return whole.check()
}

func (h *Handler) parseLines(d *caddyfile.Dispenser, at places) error {
	return block(d, options{
		"client":    func(d *caddyfile.Dispenser) error { at.note("client", d); return args(d, &h.ClientID, &h.SharedSecret) },
		"auth_host": func(d *caddyfile.Dispenser) error { at.note("auth_host", d); return args(d, &h.AuthHost) },
		"kibo_header": repeated(func(d *caddyfile.Dispenser) error {
			at.note("kibo_header", d)
			return h.parseKiboHeader(d, at)
		}),
		"timeout":  func(d *caddyfile.Dispenser) error { at.note("timeout", d); return durationArg(d, &h.Timeout) },
		"site":     func(d *caddyfile.Dispenser) error { at.note("site", d); return list(d, &h.Sites) },
		"secret":   func(d *caddyfile.Dispenser) error { at.note("secret", d); return list(d, &h.Secrets) },
		"login":    func(d *caddyfile.Dispenser) error { at.note("login", d); return h.Login.parse(d, at) },
		"logout":   func(d *caddyfile.Dispenser) error { at.note("logout", d); return h.Logout.parse(d) },
		"protect":  func(d *caddyfile.Dispenser) error { at.note("protect", d); return list(d, &h.Protect) },
		"public":   func(d *caddyfile.Dispenser) error { at.note("public", d); return list(d, &h.Public) },
		"verify":   func(d *caddyfile.Dispenser) error { at.note("verify", d); return h.Verify.parse(d, at) },
		"session":  func(d *caddyfile.Dispenser) error { at.note("session", d); return h.Session.parse(d, at) },
		"store":    h.parseStore,
		"identity": repeated(func(d *caddyfile.Dispenser) error { at.note("identity", d); return h.parseIdentity(d, at) }),
		"forward":  func(d *caddyfile.Dispenser) error { at.note("forward", d); return list(d, &h.Forward) },
	})
}

// parseKiboHeader checks each line where it stands: all of them have one name.
func (h *Handler) parseKiboHeader(d *caddyfile.Dispenser, at places) error {
	var name, value string
	if err := args(d, &name, &value); err != nil {
		return err
	}
	name = headerName(name)
	if _, twice := h.KiboHeaders[name]; twice {
		return d.Errf("kibo_header %s stands here twice; keep one", name)
	}
	if h.KiboHeaders == nil {
		h.KiboHeaders = map[string]string{}
	}
	h.KiboHeaders[name] = value
	if p := h.checkKiboHeaders(); p != nil {
		return at.explain(p)
	}
	return nil
}

func (l *Login) parse(d *caddyfile.Dispenser, at places) error {
	l.Paths = d.RemainingArgs()
	return block(d, options{
		"fields": func(d *caddyfile.Dispenser) error {
			at.note("login.fields", d)
			return args(d, &l.EmailField, &l.CodeField)
		},
		"require":     func(d *caddyfile.Dispenser) error { return oneOrTwo(d, &l.RequireField, &l.RequireValue) },
		"fingerprint": func(d *caddyfile.Dispenser) error { return args(d, &l.Fingerprint) },
		"region":      func(d *caddyfile.Dispenser) error { return args(d, &l.Region) },
		"remember":    func(d *caddyfile.Dispenser) error { return args(d, &l.RememberField) },
		"return_to":   func(d *caddyfile.Dispenser) error { return list(d, &l.ReturnTo) },
		"success":     func(d *caddyfile.Dispenser) error { at.note("login.success", d); return args(d, &l.Success) },
		"page":        func(d *caddyfile.Dispenser) error { at.note("login.page", d); return args(d, &l.Page) },
		"brand":       func(d *caddyfile.Dispenser) error { at.note("login.brand", d); return l.Brand.parse(d) },
	})
}

func (b *Brand) parse(d *caddyfile.Dispenser) error {
	return onlyBlock(d, options{
		"name":    func(d *caddyfile.Dispenser) error { return args(d, &b.Name) },
		"logo":    func(d *caddyfile.Dispenser) error { return args(d, &b.Logo) },
		"color":   func(d *caddyfile.Dispenser) error { return b.parseColor(d) },
		"support": func(d *caddyfile.Dispenser) error { return args(d, &b.Support) },
	})
}

func (l *Logout) parse(d *caddyfile.Dispenser) error {
	for _, arg := range d.RemainingArgs() {
		if arg == "get" {
			l.Get = true
		} else {
			l.Paths = append(l.Paths, arg)
		}
	}
	return block(d, options{})
}

func (v *Verify) parse(d *caddyfile.Dispenser, at places) error {
	keys := func(line string, k **Keys) option {
		return func(d *caddyfile.Dispenser) error { at.note(line, d); return keysArg(d, k) }
	}
	return onlyBlock(d, options{
		"direct":     func(d *caddyfile.Dispenser) error { return args(d) },
		"hmac":       keys("verify.hmac", &v.HMAC),
		"key":        keys("verify.key", &v.Key),
		"jwks":       func(d *caddyfile.Dispenser) error { at.note("verify.jwks", d); return args(d, &v.JWKS) },
		"algorithms": func(d *caddyfile.Dispenser) error { return list(d, &v.Algorithms) },
		"issuer":     func(d *caddyfile.Dispenser) error { return args(d, &v.Issuer) },
		"audience":   func(d *caddyfile.Dispenser) error { return args(d, &v.Audience) },
		"tenant":     func(d *caddyfile.Dispenser) error { return args(d, &v.Tenant) },
		"site":       func(d *caddyfile.Dispenser) error { return args(d, &v.Site) },
		"leeway":     func(d *caddyfile.Dispenser) error { at.note("verify.leeway", d); return durationArg(d, &v.Leeway) },
		"bearer":     func(d *caddyfile.Dispenser) error { at.note("verify.bearer", d); return flag(d, &v.Bearer) },
	})
}

// parseColor knows why a color can be missing.
func (b *Brand) parseColor(d *caddyfile.Dispenser) error {
	if d.CountRemainingArgs() == 0 {
		return d.Errf("color takes one argument, in quotes, because # starts a comment: color %q", defaultBrandColor)
	}
	return args(d, &b.Color)
}

// keysArg reads an algorithm and the keys for it.
func keysArg(d *caddyfile.Dispenser, target **Keys) error {
	name := d.Val()
	given := d.RemainingArgs()
	if len(given) < 2 {
		return d.Errf("%s takes an algorithm and at least one key, but has %s", name, plural(len(given), "argument"))
	}
	*target = &Keys{Algorithm: given[0], Keys: given[1:]}
	return block(d, options{})
}

func (s *SessionConfig) parse(d *caddyfile.Dispenser, at places) error {
	duration := func(line string, t *caddy.Duration) option {
		return func(d *caddyfile.Dispenser) error { at.note("session."+line, d); return durationArg(d, t) }
	}
	return onlyBlock(d, options{
		"cookie":   func(d *caddyfile.Dispenser) error { at.note("session.cookie", d); return s.Cookie.parse(d) },
		"lifetime": duration("lifetime", &s.Lifetime),
		"idle":     duration("idle", &s.Idle),
		"remember": duration("remember", &s.Remember),
		"refresh":  duration("refresh", &s.Refresh),
	})
}

func (c *Cookie) parse(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		c.Name = d.Val()
	}
	if d.NextArg() {
		return d.Errf("cookie takes one name at most; options such as domain go into a block behind it")
	}
	return block(d, options{
		"domain":    func(d *caddyfile.Dispenser) error { return args(d, &c.Domain) },
		"path":      func(d *caddyfile.Dispenser) error { return args(d, &c.Path) },
		"same_site": func(d *caddyfile.Dispenser) error { return args(d, &c.SameSite) },
		"insecure":  func(d *caddyfile.Dispenser) error { return flag(d, &c.Insecure) },
	})
}

// parseIdentity checks each line where it stands: all of them have one name.
func (h *Handler) parseIdentity(d *caddyfile.Dispenser, at places) error {
	var id Identity
	if err := args(d, &id.Header, &id.Field); err != nil {
		return err
	}
	h.Identity = append(h.Identity, id)
	if p := h.checkIdentity(); p != nil {
		return at.explain(p)
	}
	return nil
}

// storeNamespace is where stores register.
const storeNamespace = "http.kibo_auth.stores"

func (h *Handler) parseStore(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.Errf("store takes the name of a store: store memory")
	}
	name := d.Val()
	if _, err := caddy.GetModule(storeNamespace + "." + name); err != nil {
		var known []string
		for _, m := range caddy.GetModules(storeNamespace) {
			known = append(known, m.ID.Name())
		}
		return d.Errf("there is no store %q in this build%s; it has: %s", name, didYouMean(name, known), strings.Join(known, ", "))
	}
	store, err := caddyfile.UnmarshalModule(d, storeNamespace+"."+name)
	if err != nil {
		return err
	}
	h.StoreRaw = caddyconfig.JSONModuleObject(store, "backend", name, nil)
	return nil
}

// An option reads the rest of one line. options are the lines of a block.
type (
	option  func(*caddyfile.Dispenser) error
	options map[string]option
)

// errRepeatable marks, while a line is read, that it may come again.
var errRepeatable = errors.New("may be repeated")

// repeated makes an option that may stand on several lines.
func repeated(o option) option {
	return func(d *caddyfile.Dispenser) error {
		if err := o(d); err != nil {
			return err
		}
		return errRepeatable
	}
}

// block reads a block line by line. Unknown and repeated lines are errors.
func block(d *caddyfile.Dispenser, known options) error {
	first := map[string]int{}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name, line := d.Val(), d.Line()
		read, ok := known[name]
		switch {
		case !ok && len(known) == 0:
			return d.Errf("no block is expected here, but there is %q", name)
		case !ok:
			names := slices.Sorted(maps.Keys(known))
			return d.Errf("unknown option %q%s; the options here are: %s", name, didYouMean(name, names), strings.Join(names, ", "))
		case first[name] > 0:
			return d.Errf("%s stands here twice, first on line %d; keep one", name, first[name])
		}
		err := read(d)
		switch {
		case errors.Is(err, errRepeatable):
		case err != nil:
			return err
		default:
			first[name] = line
		}
	}
	return nil
}

// args reads exactly as many arguments as there are targets.
func args(d *caddyfile.Dispenser, targets ...*string) error {
	name := d.Val()
	given := d.RemainingArgs()
	if len(given) != len(targets) {
		return d.Errf("%s takes %s, but has %s", name, plural(len(targets), "argument"), plural(len(given), "argument"))
	}
	for i, target := range targets {
		if *target = given[i]; given[i] == "" {
			return d.Errf("%s has an empty argument", name)
		}
	}
	return block(d, options{})
}

// oneOrTwo reads one argument and perhaps a second.
func oneOrTwo(d *caddyfile.Dispenser, first, second *string) error {
	name := d.Val()
	given := d.RemainingArgs()
	switch len(given) {
	case 1:
		*first = given[0]
	case 2:
		*first, *second = given[0], given[1]
	default:
		return d.Errf("%s takes one or two arguments, but has %s", name, plural(len(given), "argument"))
	}
	return block(d, options{})
}

// onlyBlock reads a line that has nothing but a block.
func onlyBlock(d *caddyfile.Dispenser, known options) error {
	name := d.Val()
	if given := d.RemainingArgs(); len(given) > 0 {
		return d.Errf("%s takes no argument, but has %q; its options go into a block behind it", name, given[0])
	}
	return block(d, known)
}

// list reads one argument or more.
func list(d *caddyfile.Dispenser, target *[]string) error {
	name := d.Val()
	if *target = d.RemainingArgs(); len(*target) == 0 {
		return d.Errf("%s takes at least one argument", name)
	}
	return block(d, options{})
}

// flag reads a bare word.
func flag(d *caddyfile.Dispenser, target *bool) error {
	*target = true
	return args(d)
}

func durationArg(d *caddyfile.Dispenser, target *caddy.Duration) error {
	var text string
	name := d.Val()
	if err := args(d, &text); err != nil {
		return err
	}
	t, err := caddy.ParseDuration(text)
	if err != nil || t <= 0 {
		return d.Errf("%s: %q is not a duration above zero, such as 90s, 15m or 24h", name, text)
	}
	*target = caddy.Duration(t)
	return nil
}

func intArg(d *caddyfile.Dispenser, target *int) error {
	var text string
	name := d.Val()
	if err := args(d, &text); err != nil {
		return err
	}
	n, err := strconv.Atoi(text)
	if err != nil || n <= 0 {
		return d.Errf("%s: %q is not a number above zero", name, text)
	}
	*target = n
	return nil
}

// places remembers where lines stand, for mistakes that show only later.
type places map[string]string

func place(d *caddyfile.Dispenser) string { return d.File() + ":" + strconv.Itoa(d.Line()) }

func (p places) note(line string, d *caddyfile.Dispenser) { p[line] = place(d) }

// of returns the places of some lines, nil if there are none.
func (p places) of(lines ...string) map[string]string {
	var some map[string]string
	for _, line := range lines {
		if at, ok := p[line]; ok {
			if some == nil {
				some = map[string]string{}
			}
			some[line] = at
		}
	}
	return some
}

// find returns where a line stands, or the block around it.
func (p places) find(line string) string {
	for {
		if at, ok := p[line]; ok {
			return at
		}
		dot := strings.LastIndexByte(line, '.')
		if dot < 0 {
			return p["kibo_auth"]
		}
		line = line[:dot]
	}
}

// explain puts file and line in front of a mistake.
func (p places) explain(err error) error {
	if mistake, ok := errors.AsType[*problem](err); ok {
		if at := p.find(mistake.line); at != "" {
			return fmt.Errorf("%s: %w", at, err)
		}
	}
	return err
}

func plural(n int, what string) string {
	switch n {
	case 0:
		return "no " + what
	case 1:
		return "one " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

// didYouMean names the known word nearest to what was written, if it is near.
func didYouMean(written string, known []string) string {
	best, distance := "", len(written)/2+1
	for _, word := range known {
		if n := editDistance(written, word); n < distance {
			best, distance = word, n
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %q?)", best)
}

// editDistance counts the letters to insert, delete or change (Levenshtein).
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
