package kiboauth

import (
	"regexp"
	"strings"
	"testing"
)

func TestBrandCheck(t *testing.T) {
	tests := []struct {
		name  string
		brand Brand
		want  string // part of the error; "" if there is none
	}{
		{"nothing", Brand{}, ""},
		{"all of it", Brand{Name: "Harbour Supply Co.", Logo: "/logo.svg", Color: "#06c", Support: "help@example.com"}, ""},
		{"name in another script", Brand{Name: "متجر الميناء"}, ""},
		{"name with line break", Brand{Name: "a\nb"}, "one line"},
		{"name not UTF-8", Brand{Name: "a\xff"}, "plain text"},
		{"name too long", Brand{Name: strings.Repeat("é", 81)}, "shorten it to 80"},
		{"name blank", Brand{Name: "  "}, "blank"},
		{"color short", Brand{Color: "#FFF"}, ""},
		{"color long", Brand{Color: "#Ab12fF"}, ""},
		{"color by name", Brand{Color: "blue"}, "#rrggbb"},
		{"color with alpha", Brand{Color: "#11223344"}, "#rrggbb"},
		{"color that ends the rule", Brand{Color: "#fff}body{display:none"}, "#rrggbb"},
		{"color and a line", Brand{Color: "#fff\n"}, "#rrggbb"},
		{"logo elsewhere", Brand{Logo: "https://cdn.example.com:8443/a/logo.png?v=2"}, ""},
		{"logo without TLS", Brand{Logo: "http://cdn.example.com/logo.png"}, "https://"},
		{"logo relative", Brand{Logo: "logo.png"}, "start it with one /"},
		{"logo of no scheme", Brand{Logo: "//cdn.example.com/logo.png"}, "start it with one /"},
		{"logo with backslash", Brand{Logo: `/\cdn.example.com/logo.png`}, "not a URL"},
		{"logo as script", Brand{Logo: "javascript:alert(1)"}, "https://"},
		{"logo as data", Brand{Logo: "data:image/png;base64,AAAA"}, "https://"},
		{"logo with password", Brand{Logo: "https://a:b@example.com/logo.png"}, "user name"},
		{"logo whose host ends the policy", Brand{Logo: "https://a;script-src/logo.png"}, "unusual host"},
		{"logo from any host", Brand{Logo: "https://*/logo.png"}, "unusual host"},
		{"logo from an IDN", Brand{Logo: "https://bücher.example/logo.png"}, "punycode"},
		{"support by URL", Brand{Support: "https://example.com/help?a=b#c"}, ""},
		{"support by mail URL", Brand{Support: "mailto:help@example.com?subject=Sign-in"}, ""},
		{"support by phone", Brand{Support: "+1 (555) 010-0100"}, ""},
		{"support in words", Brand{Support: "Phone: 555 0100, Mon–Fri"}, ""},
		{"support without TLS", Brand{Support: "http://example.com/help"}, "cannot be linked"},
		{"support as script", Brand{Support: "javascript:alert(1)"}, "cannot be linked"},
		{"support too long", Brand{Support: strings.Repeat("5", 81)}, "shorten"},
		{"support on two lines", Brand{Support: "555\n0100"}, "one line"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.brand.check()
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("check of %+v: %v, want no error", tt.brand, err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("check of %+v: %v, want an error with %q", tt.brand, err, tt.want)
			}
			if _, got := newPages(tt.brand, testFields()); (got == nil) != (err == nil) {
				t.Errorf("newPages: error %v, but check: %v", got, err)
			}
		})
	}
}

func TestBrandHelp(t *testing.T) {
	tests := []struct {
		support string
		want    brandHelp
	}{
		{"", brandHelp{}},
		{"help@example.com", brandHelp{"mailto:help@example.com", "help@example.com"}},
		{"mailto:help@example.com?subject=Hi", brandHelp{"mailto:help@example.com?subject=Hi", "help@example.com"}},
		{"https://example.com/help", brandHelp{"https://example.com/help", ""}},
		{"555 0100", brandHelp{"", "555 0100"}},
	}
	for _, tt := range tests {
		got, err := Brand{Support: tt.support}.help()
		if err != nil || got != tt.want {
			t.Errorf("help for %q = %+v, %v, want %+v", tt.support, got, err, tt.want)
		}
	}
}

// Any color has to give a page that can be read, in both modes.
func TestBrandColorIsAlwaysLegible(t *testing.T) {
	for r := 0; r < 256; r += 17 {
		for g := 0; g < 256; g += 17 {
			for b := 0; b < 256; b += 17 {
				c := rgb{uint8(r), uint8(g), uint8(b)}
				if got := c.contrast(c.textOn()); got < legible {
					t.Errorf("%s on %s has contrast %.2f, want %v", c.textOn(), c, got, legible)
				}
				if got := c.readableOn(lightGround, black).contrast(lightGround); got < legible {
					t.Errorf("link of %s has contrast %.2f in light mode, want %v", c, got, legible)
				}
				if got := c.readableOn(darkGround, white).contrast(darkGround); got < legible {
					t.Errorf("link of %s has contrast %.2f in dark mode, want %v", c, got, legible)
				}
			}
		}
	}
}

func TestContrast(t *testing.T) {
	tests := []struct {
		a, b     string
		min, max float64
	}{
		{"#000", "#fff", 21, 21},
		{"#fff", "#fff", 1, 1},
		{"#777777", "#fff", 4.47, 4.49}, // the best-known near miss
		{"#f00", "#fff", 3.99, 4.00},
	}
	for _, tt := range tests {
		if got := parseRGB(tt.a).contrast(parseRGB(tt.b)); got < tt.min || got > tt.max {
			t.Errorf("contrast of %s and %s = %.3f, want %.2f to %.2f", tt.a, tt.b, got, tt.min, tt.max)
		}
	}
}

// WCAG 2.2: 4.5 for text (1.4.3), 3 for the edges of fields (1.4.11).
func TestPaletteContrast(t *testing.T) {
	sheet, err := pageFiles.ReadFile("pages/style.css")
	if err != nil {
		t.Fatal(err)
	}
	modes := strings.SplitN(string(sheet), "@media (prefers-color-scheme: dark)", 3)
	tests := []struct {
		front, ground string
		want          float64
	}{
		{"ink", "page", 4.5},
		{"ink", "card", 4.5},
		{"soft", "page", 4.5},
		{"soft", "card", 4.5},
		{"bad", "bad-tint", 4.5},
		{"good", "good-tint", 4.5},
		{"bad", "card", 3},
		{"edge", "card", 3},
	}
	for i, mode := range []string{"light", "dark"} {
		palette := paletteOf(modes[i])
		for _, tt := range tests {
			front, ground := palette[tt.front], palette[tt.ground]
			if got := front.contrast(ground); got < tt.want {
				t.Errorf("%s mode: %s %s on %s %s has contrast %.2f, want %v", mode, tt.front, front, tt.ground, ground, got, tt.want)
			}
		}
	}
	if got := paletteOf(modes[0])["page"]; got != lightGround {
		t.Errorf("lightGround is %s, but --page is %s", lightGround, got)
	}
	if got := paletteOf(modes[1])["card"]; got != darkGround {
		t.Errorf("darkGround is %s, but --card is %s", darkGround, got)
	}
}

func paletteOf(css string) map[string]rgb {
	palette := map[string]rgb{}
	for _, m := range regexp.MustCompile(`--([a-z-]+): (#[0-9a-f]+);`).FindAllStringSubmatch(css, -1) {
		palette[m[1]] = parseRGB(m[2])
	}
	return palette
}
