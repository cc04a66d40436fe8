package verify

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxDepth bounds nesting; Kibo's claims have a depth of three.
const maxDepth = 20

type object = map[string]any

// decodeObject reads exactly one JSON object. Where parsers are known to
// differ in what they see (a name twice, names that differ in case only,
// invalid UTF-8, numbers past float64) it refuses, so that nobody behind us
// can read the same token differently. Numbers become json.Number.
func decodeObject(b []byte) (object, error) {
	if !utf8.Valid(b) || !json.Valid(b) { // Valid also refuses anything after the value
		return nil, reject("not valid JSON")
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	v, err := readValue(dec, 1)
	if err != nil {
		return nil, err
	}
	o, ok := v.(object)
	if !ok {
		return nil, reject("not a JSON object")
	}
	return o, nil
}

func readValue(dec *json.Decoder, depth int) (any, error) {
	t, err := dec.Token()
	if err != nil {
		return nil, reject("not valid JSON")
	}
	switch t := t.(type) {
	case json.Delim:
		if depth > maxDepth {
			return nil, reject("JSON nested too deeply")
		}
		if t == '{' {
			return readObject(dec, depth)
		}
		return readArray(dec, depth)
	case json.Number:
		if _, err := t.Float64(); err != nil {
			return nil, reject("number out of range")
		}
	}
	return t, nil
}

func readObject(dec *json.Decoder, depth int) (any, error) {
	o, folded := object{}, map[string]bool{}
	for dec.More() {
		t, _ := dec.Token() // json.Valid has seen that a name is next
		name, _ := t.(string)
		f := strings.Map(foldRune, name)
		if folded[f] {
			return nil, reject("a JSON name occurs twice")
		}
		folded[f] = true
		v, err := readValue(dec, depth+1)
		if err != nil {
			return nil, err
		}
		o[name] = v
	}
	_, _ = dec.Token() // the closing brace
	return o, nil
}

func readArray(dec *json.Decoder, depth int) (any, error) {
	list := []any{}
	for dec.More() {
		v, err := readValue(dec, depth+1)
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
