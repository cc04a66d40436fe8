package kiboauth

import (
	"net/url"
	"strings"
	"testing"

	"golang.org/x/net/http/httpguts"
)

// isSeparator tells what stands between the words of a header's name.
func isSeparator(c rune) bool {
	return (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z')
}

// cgiName is a header's name as CGI (RFC 3875 §4.1.18) and those who follow it
// loosely have it: what fold is held against. That a name ends in a separator is
// left to see.
func cgiName(name string) string {
	words := strings.FieldsFunc(name, isSeparator)
	for len(words) > 1 && strings.EqualFold(words[0], "http") {
		words = words[1:]
	}
	folded := strings.ToLower(strings.Join(words, "_"))
	if name == "" || isSeparator(rune(name[len(name)-1])) {
		folded += "_"
	}
	return folded
}

// FuzzReserved: a name is reserved exactly if a server may take it for one that
// is ours.
func FuzzReserved(f *testing.F) {
	for _, name := range append(spoofs, harmless...) {
		f.Add(name)
	}
	f.Add(strings.Repeat("k", 300))
	f.Add("http_" + strings.Repeat("X-Long-", 40))
	r := newReserved([]boundHeader{{"Shop-User", 0}, {"Http-Customer", 0}})
	f.Fuzz(func(t *testing.T, name string) {
		folded := cgiName(name)
		_, want := r.names[strings.TrimSuffix(folded, "_")]
		want = want || strings.HasPrefix(folded, "kibo_")
		if got := r.has(name); got != want {
			t.Errorf("has(%q) = %v, want %v", name, got, want)
		}
	})
}

// FuzzEncodeField: whatever an account holds stands in a header as it may, and
// comes back as it was, as far as it fits.
func FuzzEncodeField(f *testing.F) {
	for _, text := range []string{
		"", "Jane", "Zoë 日本", "100%", "%41", " x ", " ", "a b", "\r\nKibo-Account-Id: 1", "\x00", "\x7f", "\xff\xfe", "a;b,c\"d\\",
		strings.Repeat("a", maxFieldLen), strings.Repeat("é", 2500), strings.Repeat("a", maxFieldLen-1) + "%",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s := new(Session)
		s.pack(testRealm, &customer{fieldFirstName: text, fieldLastName: "behind"})
		header := s.header(fieldFirstName)
		if !httpguts.ValidHeaderFieldValue(header) || len(header) > maxFieldLen || strings.ContainsFunc(header, func(c rune) bool { return c > '~' }) {
			t.Fatalf("encodeField(%q) = %q cannot stand in a header", text, header)
		}
		back, err := url.PathUnescape(header)
		if err != nil || !strings.HasPrefix(text, back) {
			t.Fatalf("encodeField(%q) = %q comes back as %q, %v", text, header, back, err)
		}
		if len(text)*3 <= maxFieldLen && (s.plain(fieldFirstName) != text || strings.TrimSpace(header) != header) {
			t.Errorf("encodeField(%q) = %q, plain %q", text, header, s.plain(fieldFirstName))
		}
		if got := s.plain(fieldLastName); got != "behind" {
			t.Errorf("the field behind %q became %q", text, got)
		}
	})
}

func TestEncodeField(t *testing.T) {
	for text, want := range map[string]string{
		"":                               "",
		"jane@example.com":               "jane@example.com",
		"Jane Doe":                       "Jane Doe",
		" Jane ":                         "%20Jane%20",
		" ":                              "%20",
		"Zoë":                            "Zo%C3%AB",
		"100%":                           "100%25",
		"%41":                            "%2541",
		"a\r\nSet-Cookie: b":             "a%0D%0ASet-Cookie: b",
		"\x00\t\x7f":                     "%00%09%7F",
		strings.Repeat("a", 5000):        strings.Repeat("a", maxFieldLen),
		"aa" + strings.Repeat("é", 5000): "aa" + strings.Repeat("%C3%A9", 170) + "",
	} {
		if got := encodeField(text); got != want && (len(text) < 5000 || !strings.HasPrefix(got, want) || len(got) > maxFieldLen) {
			t.Errorf("encodeField(%.40q) = %.80q, want %.80q", text, got, want)
		}
	}
	if n := testing.AllocsPerRun(100, func() { encodeField("jane.doe@example.com") }); n > 0 {
		t.Errorf("encodeField of a usual address allocates %v times, want 0", n)
	}
}
