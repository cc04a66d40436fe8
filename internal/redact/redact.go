// Package redact has the types of what must never be printed: codes, passwords,
// tokens, keys, and the structs that hold them. Whatever prints, logs or encodes
// such a value gets a fixed text; only [Text.Reveal] gives the value itself, and
// can be searched for.
package redact

import (
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
)

// Mark is what stands in the place of a secret.
const Mark = "[redacted]"

// Text is a secret text. The zero value is the empty text. Texts cannot be
// compared with ==, which would compare where they lie and not what they say;
// see [Text.Equal].
//
// The text is behind a pointer: fmt calls no method of a value in an unexported
// field, but prints what it finds there, and of a string's pointer that is an
// address.
type Text struct {
	Hidden

	_    [0]func() // no ==
	text *string   // nil: empty
}

// New makes a secret of a text.
func New(text string) Text {
	if text == "" {
		return Text{}
	}
	return Text{text: &text}
}

// Reveal returns the text, for the one place that it is meant for.
func (t Text) Reveal() string {
	if t.text == nil {
		return ""
	}
	return *t.text
}

// Len is the length of the text in bytes.
func (t Text) Len() int { return len(t.Reveal()) }

// IsZero tells whether the text is empty.
func (t Text) IsZero() bool { return t.text == nil }

// Equal tells whether two texts are the same. How long that takes depends on
// their lengths only.
func (t Text) Equal(other Text) bool {
	return subtle.ConstantTimeCompare([]byte(t.Reveal()), []byte(other.Reveal())) == 1
}

// Hidden is embedded in types that hold secrets: fmt with any verb, log/slog,
// encoding/json and whatever asks for a text get [Mark] instead of the value.
//
// It does not help where such a struct, or a pointer to it, lies in an unexported
// field of one that is not hidden: fmt asks no method there, and with a verb that
// does not fit, such as %s, it walks behind pointers, too. So whoever holds a hidden
// struct in an unexported field is hidden as well; internal/repocheck sees to it.
// Nor does it help with %p, which go vet does not let pass for a struct.
type Hidden struct{ Unprinted }

// MarshalJSON returns a fixed text, as a JSON string.
func (Hidden) MarshalJSON() ([]byte, error) { return []byte(`"` + Mark + `"`), nil }

// MarshalText returns a fixed text.
func (Hidden) MarshalText() ([]byte, error) { return []byte(Mark), nil }

// Unprinted is Hidden for types that must be encoded all the same, such as
// configuration: fmt and log/slog show nothing of them, but encoding/json does.
type Unprinted struct{}

// String returns a fixed text.
func (Unprinted) String() string { return Mark }

// GoString returns a fixed text.
func (Unprinted) GoString() string { return Mark }

// Format writes a fixed text for every verb.
func (Unprinted) Format(f fmt.State, _ rune) { io.WriteString(f, Mark) }

// LogValue returns a fixed text.
func (Unprinted) LogValue() slog.Value { return slog.StringValue(Mark) }
