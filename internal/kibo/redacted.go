package kibo

import (
	"fmt"
	"io"
	"log/slog"
)

// redacted is embedded in types that hold secrets. Printed with any verb of
// fmt, or logged with log/slog, they show nothing of themselves. It does not
// help against code that walks unexported fields by reflection, as fmt does
// with a value in an unexported field of another struct.
type redacted struct{}

const redactedText = "[redacted]"

// String returns a fixed text.
func (redacted) String() string { return redactedText }

// GoString returns a fixed text.
func (redacted) GoString() string { return redactedText }

// Format writes a fixed text for every verb.
func (redacted) Format(f fmt.State, _ rune) { io.WriteString(f, redactedText) }

// LogValue returns a fixed text.
func (redacted) LogValue() slog.Value { return slog.StringValue(redactedText) }
