package kiboauth

import (
	"errors"
	"fmt"
	"math"
	"net/mail"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Brand is what the built-in pages show of the shop.
type Brand struct {
	// Name is the shop's name: it heads the page and ends its title.
	// Default: none; the page is headed "Sign in" only.
	Name string `json:"name,omitempty"`

	// Logo is an image shown in place of the name: a path on this site, which
	// must be reachable without a session, or an https URL. Default: none.
	Logo string `json:"logo,omitempty"`

	// Color paints the button, as #rgb or #rrggbb. Black or white is chosen
	// for the text on it, and links take a shade of it that can be read, so
	// any color will do. Default: #1f5fa8, a calm blue.
	Color string `json:"color,omitempty"`

	// Support is where a customer in trouble finds help: a mailto: or https:
	// URL, an e-mail address, or the text of a phone number. Default: none.
	Support string `json:"support,omitempty"`
}

const (
	defaultBrandColor = "#1f5fa8"
	maxBrandText      = 80 // characters; what fits on two lines of a small phone
)

var (
	brandColorForm = regexp.MustCompile(`^#(?:[0-9A-Fa-f]{3}|[0-9A-Fa-f]{6})$`)

	// A host that can stand in a Content-Security-Policy as it is. What
	// net/url takes for a host may hold ";" and so end the directive.
	brandHostForm = regexp.MustCompile(`^[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{1,5})?$`)

	brandSchemeForm = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*:\S`)
)

// check says what is wrong with b, and how to mend it.
func (b Brand) check() error {
	if err := checkBrandText("name", b.Name); err != nil {
		return err
	}
	if b.Color != "" && !brandColorForm.MatchString(b.Color) {
		return fmt.Errorf("brand color %q is not a color: write #rgb or #rrggbb, for example %s", b.Color, defaultBrandColor)
	}
	if _, err := b.logoSource(); err != nil {
		return err
	}
	_, err := b.help()
	return err
}

func checkBrandText(what, text string) error {
	switch {
	case !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl):
		return fmt.Errorf("brand %s %q holds a line break or another control character: write it on one line, as plain text", what, text)
	case utf8.RuneCountInString(text) > maxBrandText:
		return fmt.Errorf("brand %s has %d characters: shorten it to %d", what, utf8.RuneCountInString(text), maxBrandText)
	case text != "" && strings.TrimSpace(text) == "":
		return fmt.Errorf("brand %s is blank: give it some text or leave the line out", what)
	}
	return nil
}

// logoSource returns the Content-Security-Policy source that the logo is
// loaded from, or "" if there is no logo.
func (b Brand) logoSource() (string, error) {
	if b.Logo == "" {
		return "", nil
	}
	u, err := url.Parse(b.Logo)
	if err != nil || strings.ContainsAny(b.Logo, " \\\"'<>") {
		return "", fmt.Errorf("brand logo %q is not a URL: write a path on this site, such as /logo.svg, or an https URL", b.Logo)
	}
	switch {
	case u.Scheme == "" && u.Host == "" && strings.HasPrefix(u.Path, "/"):
		return "'self'", nil
	case u.Scheme != "https":
		return "", fmt.Errorf("brand logo %q is neither a path on this site nor an https URL: start it with one / or with https://", b.Logo)
	case u.User != nil: // not quoted: it may hold a password
		return "", errors.New("brand logo holds a user name: every customer would see it; publish the image without sign-in")
	case !brandHostForm.MatchString(u.Host):
		return "", fmt.Errorf("brand logo %q has an unusual host: write a plain host name, such as https://cdn.example.com/logo.svg, in punycode if it is not ASCII", b.Logo)
	}
	return "https://" + strings.ToLower(u.Host), nil
}

// brandHelp is the "Need help?" line. Without URL, Text is shown as it is;
// without Text, "Need help?" itself is the link; without both there is no line.
type brandHelp struct{ URL, Text string }

func (b Brand) help() (brandHelp, error) {
	switch u, err := url.Parse(b.Support); {
	case b.Support == "":
		return brandHelp{}, nil
	case isBrandMail(b.Support):
		return brandHelp{URL: "mailto:" + b.Support, Text: b.Support}, nil
	case err == nil && u.Scheme == "mailto" && isBrandMail(u.Opaque):
		return brandHelp{URL: b.Support, Text: u.Opaque}, nil
	case err == nil && u.Scheme == "https" && u.User == nil && brandHostForm.MatchString(u.Host):
		return brandHelp{URL: b.Support}, nil
	case brandSchemeForm.MatchString(b.Support):
		return brandHelp{}, fmt.Errorf("brand support %q cannot be linked: write a mailto: or https: URL, an e-mail address, or a phone number as it is dialled", b.Support)
	}
	return brandHelp{Text: b.Support}, checkBrandText("support", b.Support)
}

// isBrandMail holds for an address that can follow "mailto:" as it is.
func isBrandMail(s string) bool {
	a, err := mail.ParseAddress(s)
	return err == nil && a.Address == s && !strings.ContainsAny(s, "?&%\" ")
}

// style returns the custom properties in which the style sheet expects the
// brand's color. The rest of the palette is in pages/style.css.
func (b Brand) style() string {
	c := parseRGB(defaultBrandColor)
	if b.Color != "" {
		c = parseRGB(b.Color)
	}
	return fmt.Sprintf(":root{--brand:%s;--on-brand:%s;--accent-light:%s;--accent-dark:%s}\n",
		c, c.textOn(), c.readableOn(lightGround, black), c.readableOn(darkGround, white))
}

// rgb is a color of sRGB.
type rgb [3]uint8

var (
	black = rgb{}
	white = rgb{255, 255, 255}

	// The grounds that links stand on: --page in light and --card in dark
	// mode, those of each pair on which contrast is the lower.
	lightGround = parseRGB("#f4f6f8")
	darkGround  = parseRGB("#1b2027")
)

// legible is the contrast that WCAG 2.2 (1.4.3, level AA) asks of text.
const legible = 4.5

// parseRGB reads what brandColorForm has let through.
func parseRGB(s string) (c rgb) {
	if len(s) == len("#rgb") {
		s = string([]byte{'#', s[1], s[1], s[2], s[2], s[3], s[3]})
	}
	for i := range c {
		n, _ := strconv.ParseUint(s[1+2*i:3+2*i], 16, 8)
		c[i] = uint8(n)
	}
	return c
}

func (c rgb) String() string { return fmt.Sprintf("#%02x%02x%02x", c[0], c[1], c[2]) }

// textOn returns black or white, whichever can be read on c. One of them has
// a contrast of at least 4.58, whatever c is.
func (c rgb) textOn() rgb {
	if c.contrast(white) >= legible {
		return white
	}
	return black
}

// readableOn mixes just as much of toward into c as makes it legible on ground.
func (c rgb) readableOn(ground, toward rgb) rgb {
	for step := range 20 {
		if m := c.mix(toward, float64(step)/20); m.contrast(ground) >= legible {
			return m
		}
	}
	return toward
}

func (c rgb) mix(d rgb, part float64) (m rgb) {
	for i := range m {
		m[i] = uint8(math.Round(float64(c[i])*(1-part) + float64(d[i])*part))
	}
	return m
}

// contrast is the ratio that WCAG 2.2 defines, from 1 to 21.
func (c rgb) contrast(d rgb) float64 {
	a, b := c.luminance(), d.luminance()
	return (max(a, b) + 0.05) / (min(a, b) + 0.05)
}

// luminance is WCAG 2.2's relative luminance, from 0 to 1.
func (c rgb) luminance() float64 {
	var lin [3]float64
	for i, v := range c {
		if s := float64(v) / 255; s <= 0.04045 {
			lin[i] = s / 12.92
		} else {
			lin[i] = math.Pow((s+0.055)/1.055, 2.4)
		}
	}
	return 0.2126*lin[0] + 0.7152*lin[1] + 0.0722*lin[2]
}
