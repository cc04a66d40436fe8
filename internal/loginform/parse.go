package loginform

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/url"
	"strings"
)

// parseURLEncoded reads what browsers send by default (WHATWG URL §5.1). A
// semicolon is no separator.
func parseURLEncoded(p *post, body []byte) bool {
	whole := true
	for pair := range strings.SplitSeq(string(body), "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name, err1 := url.QueryUnescape(name)
		value, err2 := url.QueryUnescape(value)
		if err1 != nil || err2 != nil {
			whole = false
			continue
		}
		p.add(name, value)
	}
	return whole
}

// parseMultipart reads the value parts of a form (RFC 7578) and skips files.
func parseMultipart(p *post, body []byte, boundary string) bool {
	parts := multipart.NewReader(bytes.NewReader(body), boundary)
	for {
		part, err := parts.NextRawPart()
		if err != nil {
			return errors.Is(err, io.EOF)
		}
		name, isFile := partName(part)
		value, err := io.ReadAll(part)
		if isFile {
			p.count++
		} else {
			p.add(name, string(value))
		}
		if err != nil {
			return false
		}
	}
}

// partName returns the name of a form field. A part with a file name, even an
// empty one, is a file.
func partName(part *multipart.Part) (name string, isFile bool) {
	kind, params, err := mime.ParseMediaType(part.Header.Get("Content-Disposition"))
	_, isFile = params["filename"]
	return params["name"], isFile || err != nil || kind != "form-data"
}

const (
	// maxJSONDepth is how deep nested names go: login[user][name] has three.
	maxJSONDepth = 4
	// maxJSONName is the longest nested name that is put together, in bytes.
	maxJSONName = 256
)

var byteOrderMark = []byte("\xEF\xBB\xBF")

// parseJSON reads the members of an object. Nested ones get the name that the
// same field has in a form: {"login":{"username":…}} is login[username].
func parseJSON(p *post, body []byte) bool {
	p.json = true
	body = bytes.TrimPrefix(body, byteOrderMark)
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	if start, err := dec.Token(); err != nil || start != json.Delim('{') {
		return false
	}
	return parseObject(p, dec, "", 1) == nil && json.Valid(body)
}

// parseObject reads the rest of an object whose brace is open.
func parseObject(p *post, dec *json.Decoder, outer string, depth int) error {
	for dec.More() {
		member, err := dec.Token()
		if err != nil {
			return err
		}
		name, _ := member.(string) // a decoder returns nothing else here
		if outer != "" {
			name = outer + "[" + name + "]"
		}
		value, err := dec.Token()
		if err != nil {
			return err
		}
		if err := parseMember(p, dec, name, value, depth); err != nil {
			return err
		}
	}
	_, err := dec.Token() // the closing brace
	return err
}

// parseMember takes one value. The e-mail must be a string; for a code or a
// marker a number or a truth value will do. Lists hold nothing for us.
func parseMember(p *post, dec *json.Decoder, name string, value json.Token, depth int) error {
	switch v := value.(type) {
	case json.Delim:
		p.count++
		if v == '{' && depth < maxJSONDepth && len(name) <= maxJSONName {
			return parseObject(p, dec, name, depth+1)
		}
		return skip(dec)
	case string:
		p.add(name, v)
	case json.Number:
		p.addScalar(name, v.String())
	case bool:
		p.addScalar(name, map[bool]string{true: "true", false: "false"}[v])
	default: // null
		p.count++
	}
	return nil
}

// addScalar notes a value that is not a string, unless it is the e-mail.
func (p *post) addScalar(name, value string) {
	if name == p.fields.Email {
		p.count++
		return
	}
	p.add(name, value)
}

// skip reads to the end of the list or object that is open.
func skip(dec *json.Decoder) error {
	for open := 1; open > 0; {
		token, err := dec.Token()
		if err != nil {
			return err
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			open++
		case json.Delim('}'), json.Delim(']'):
			open--
		}
	}
	return nil
}
