package verify

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode"
	"unicode/utf8"
)

// What is read of JSON is bounded before it is parsed, since parsing 8 KiB of
// brackets or numbers makes many times as much garbage. Kibo's claims have a
// depth of three and some fifty values.
const (
	maxDepth  = 20
	maxValues = 1000
)

type object = map[string]any

// decodeObject reads exactly one JSON object. Where parsers are known to
// differ in what they see (a name twice, names that differ in case only,
// invalid UTF-8, numbers past float64) it refuses, so that nobody behind us
// can read the same token differently. Numbers become json.Number.
func decodeObject(b []byte) (object, error) {
	if err := measure(b); err != nil {
		return nil, err
	}
	if !utf8.Valid(b) || !json.Valid(b) { // Valid also refuses anything after the value
		return nil, reject("not valid JSON")
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	v, err := readValue(dec)
	if err != nil {
		return nil, err
	}
	o, ok := v.(object)
	if !ok {
		return nil, reject("not a JSON object")
	}
	return o, nil
}

// measure counts depth and values without parsing: what is outside of texts and
// no JSON is refused later.
func measure(b []byte) error {
	depth, values, inText := 0, 1, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			inText = !inText
		case inText && c == '\\':
			i++
		case inText:
		case c == '{', c == '[':
			depth++
		case c == '}', c == ']':
			depth--
		case c == ',':
			values++
		}
		if depth > maxDepth {
			return reject("JSON nested too deeply")
		}
	}
	if values > maxValues {
		return reject("JSON of too many values")
	}
	return nil
}

func readValue(dec *json.Decoder) (any, error) {
	t, err := dec.Token()
	if err != nil {
		return nil, reject("not valid JSON")
	}
	switch t := t.(type) {
	case json.Delim:
		if t == '{' {
			return readObject(dec)
		}
		return readArray(dec)
	case json.Number:
		if _, err := t.Float64(); err != nil {
			return nil, reject("number out of range")
		}
	}
	return t, nil
}

func readObject(dec *json.Decoder) (any, error) {
	o, folded := object{}, map[string]bool{}
	for dec.More() {
		t, _ := dec.Token() // json.Valid has seen that a name is next
		name, _ := t.(string)
		f := strings.Map(foldRune, name)
		if folded[f] {
			return nil, reject("a JSON name occurs twice")
		}
		folded[f] = true
		v, err := readValue(dec)
		if err != nil {
			return nil, err
		}
		o[name] = v
	}
	_, _ = dec.Token() // the closing brace
	return o, nil
}

func readArray(dec *json.Decoder) (any, error) {
	list := []any{}
	for dec.More() {
		v, err := readValue(dec)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	_, _ = dec.Token() // the closing bracket
	return list, nil
}

// foldRune is the smallest rune that differs from r in case only, which is
// how encoding/json compares names.
func foldRune(r rune) rune {
	least := r
	for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
		least = min(least, f)
	}
	return least
}
