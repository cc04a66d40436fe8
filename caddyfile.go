package kiboauth

import (
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
//		logout      <path...> [get] [everywhere]
//		protect     <paths...>
//		public      <paths...>
//		verify      { … }
//		session     { … }
//		store       <backend> { … }
//		limit       send|verify account|client|total <n>/<duration>...
//		limit       nodes <n>
//		limit       floor <duration>
//		limit       off
//		captcha     [<provider>] { … }
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
	h.Source = at.of("kibo_auth", "client", "secret", "store", "verify.hmac", "verify.key", "captcha.site_key", "captcha.secret")
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
		"store":    func(d *caddyfile.Dispenser) error { at.note("store", d); return h.parseStore(d) },
		"limit":    repeated(func(d *caddyfile.Dispenser) error { return h.Limits.parse(d, at) }),
		"captcha":  func(d *caddyfile.Dispenser) error { at.note("captcha", d); return h.Captcha.parse(d, at) },
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
		"password": func(d *caddyfile.Dispenser) error {
			at.note("login.password", d)
			return args(d, &l.PasswordField)
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
		switch arg {
		case "get":
			l.Get = true
		case "everywhere":
			l.Everywhere = true
		default:
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
		"cookie":           func(d *caddyfile.Dispenser) error { at.note("session.cookie", d); return s.Cookie.parse(d) },
		"lifetime":         duration("lifetime", &s.Lifetime),
		"idle":             duration("idle", &s.Idle),
		"remember":         duration("remember", &s.Remember),
		"refresh":          duration("refresh", &s.Refresh),
		"grace":            duration("grace", &s.Grace),
		"max_per_customer": func(d *caddyfile.Dispenser) error { return intArg(d, &s.MaxPerCustomer) },
		"control":          func(d *caddyfile.Dispenser) error { at.note("session.control", d); return args(d, &s.ControlHeader) },
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
		return d.Errf("store takes the name of a store: store memory, store file <path>, or store redis <url>")
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
