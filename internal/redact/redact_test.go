package redact

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"text/template"
)

const hidden = "s3cr3t-c0de"

// Every place in which a secret may lie, when something around it is printed.
type (
	hiddenStruct struct {
		Hidden

		Plain string
	}
	unprintedStruct struct {
		Unprinted `json:"-"`

		plain string
	}
	exportedField   struct{ Code Text }
	unexportedField struct {
		Name string
		code Text
	}
	deep struct {
		Inner unexportedField
		inner *exportedField
		list  []Text
		named map[string]Text
		any   any
	}
)

func values() map[string]any {
	text := New(hidden)
	return map[string]any{
		"Text": text, "*Text": &text, "[]Text": []Text{text}, "map": map[string]Text{"k": text}, "array": [1]Text{text},
		"hidden struct": hiddenStruct{Plain: hidden}, "pointer to hidden": &hiddenStruct{Plain: hidden},
		"unprinted struct": unprintedStruct{plain: hidden}, "pointer to unprinted": &unprintedStruct{plain: hidden},
		"exported field": exportedField{text}, "unexported field": unexportedField{"n", text}, "pointer to that": &unexportedField{"n", text},
		"deep":        deep{unexportedField{"n", text}, &exportedField{text}, []Text{text}, map[string]Text{"k": text}, text},
		"error about": fmt.Errorf("code %v refused: %w", text, errors.New("no")),
		"joined":      errors.Join(fmt.Errorf("%+v", unexportedField{"n", text}), fmt.Errorf("%#v", exportedField{text})),
	}
}

// printers are all ways of ours and of the libraries we know to make text of a value.
var printers = map[string]func(v any) string{
	"fmt": func(v any) string {
		var b strings.Builder
		for _, verb := range "vTtbcdoOqxXUeEfFgGsz" {
			for _, flags := range []string{"", "+", "#", " ", "-20", "020", "+#", ".3"} {
				fmt.Fprintf(&b, "%"+flags+string(verb)+"\n", v)
			}
		}
		return b.String() + fmt.Sprint(v) + fmt.Sprintln(v)
	},
	"log": func(v any) string {
		var b bytes.Buffer
		log.New(&b, "", 0).Println(v)
		return b.String()
	},
	"slog text": func(v any) string {
		return logged(v, func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) })
	},
	"slog JSON": func(v any) string {
		return logged(v, func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) })
	},
	"JSON": func(v any) string { b, _ := json.Marshal(v); return string(b) },
	"JSON key": func(v any) string {
		b, _ := json.MarshalIndent(map[string]any{"k": []any{v}}, "", " ")
		return string(b)
	},
	"XML": func(v any) string { b, _ := xml.Marshal(v); return string(b) },
	"template": func(v any) string {
		var b bytes.Buffer
		_ = template.Must(template.New("").Parse("{{.}} {{printf `%+v` .}} {{print .}}")).Execute(&b, v)
		return b.String()
	},
	"panic": func(v any) (said string) {
		defer func() { said = fmt.Sprintf("panic: %v %+v %#v", recover(), v, v) }()
		panic(v)
	},
}

func logged(v any, handler func(*bytes.Buffer) slog.Handler) string {
	var b bytes.Buffer
	logger := slog.New(handler(&b))
	logger.With("with", v).WithGroup("g").Info("x", "v", v, slog.Group("inner", "v", v))
	return b.String()
}

// leaks finds the secret as it is, in hexadecimal, in quotes' escapes and as a list of bytes.
func leaks(printed string) bool {
	lower := strings.ToLower(printed)
	for _, form := range []string{hidden, fmt.Sprintf("%x", hidden), fmt.Sprintf("% x", hidden), fmt.Sprint([]byte(hidden[:4])), hidden[:6]} {
		if strings.Contains(lower, strings.Trim(form, "[]")) {
			return true
		}
	}
	return false
}

func TestNothingPrintsASecret(t *testing.T) {
	for what, v := range values() {
		for how, print := range printers {
			if how == "JSON" && strings.Contains(what, "unprinted") {
				continue // it is there to be encoded
			}
			if got := print(v); leaks(got) {
				t.Errorf("%s of %s: got %.300s", how, what, got)
			}
		}
	}
}

// TestPlainStringsArePrinted makes sure that the test above can fail, in every way of printing.
func TestPlainStringsArePrinted(t *testing.T) {
	type plain struct{ Code string }
	for how, print := range printers {
		if got := print(plain{hidden}); !leaks(got) {
			t.Errorf("%s does not print a plain string: got %.300s", how, got)
		}
	}
}

// fmt asks no method about %p, which is for pointers. A Text shows its address.
func TestTextAsAPointer(t *testing.T) {
	for what, v := range map[string]any{"Text": New(hidden), "in a struct": unexportedField{"n", New(hidden)}} {
		if got := fmt.Sprintf("%p %+p %#p", v, v, v); leaks(got) {
			t.Errorf("%s: got %s", what, got)
		}
	}
}

func TestText(t *testing.T) {
	text := New(hidden)
	if got := text.Reveal(); got != hidden || text.Len() != len(hidden) || text.IsZero() {
		t.Errorf("Reveal() = %q, %d bytes, zero %v", got, text.Len(), text.IsZero())
	}
	var none Text
	if none.Reveal() != "" || none.Len() != 0 || !none.IsZero() || !New("").IsZero() || !none.Equal(New("")) {
		t.Error("the zero Text is not the empty text")
	}
	if !text.Equal(New(hidden)) || text.Equal(New(hidden+"x")) || text.Equal(none) || !reflect.DeepEqual(text, New(hidden)) || reflect.DeepEqual(text, New("s3cr3t-c0dX")) {
		t.Error("texts are not compared by what they say")
	}
	if reflect.TypeOf(text).Comparable() {
		t.Error("Text can be compared with ==, which would compare pointers")
	}
}

func TestUnprintedIsEncoded(t *testing.T) {
	type config struct {
		Unprinted `json:"-"`

		Password string `json:"password"`
	}
	text, err := json.Marshal(config{Password: "{env.P}"})
	if got, want := string(text), `{"password":"{env.P}"}`; got != want || err != nil {
		t.Errorf("Marshal = %s, %v; want %s", got, err, want)
	}
}
