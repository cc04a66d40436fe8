package kibo

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"time"
)

// A text is a string, or a number as it is written; anything else is no text.
type text string

func (t *text) UnmarshalJSON(b []byte) error {
	*t = ""
	switch c := b[0]; {
	case c == '"':
		return json.Unmarshal(b, (*string)(t))
	case c == '-', '0' <= c && c <= '9':
		*t = text(b)
	}
	return nil
}

// An accountID is a number, or a number in quotes. Null and 0, which is .NET's
// way of saying so, are none.
type accountID string

func (a *accountID) UnmarshalJSON(b []byte) error {
	*a = ""
	s := unquote(b)
	if s == "" {
		return nil
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return reason("account ID is not a number")
	}
	if n > 0 {
		*a = accountID(strconv.FormatUint(n, 10))
	}
	return nil
}

// A flag keeps a customer out, so that one which can not be read is an error.
type flag int8

const (
	absent flag = iota
	yes
	no
)

func (f *flag) UnmarshalJSON(b []byte) error {
	switch strings.ToLower(unquote(b)) {
	case "":
		*f = absent
	case "true", "1":
		*f = yes
	case "false", "0":
		*f = no
	default:
		return reason("account flag is not a boolean")
	}
	return nil
}

// segments are the codes of a list of {id, code, name}.
type segments []string

func (s *segments) UnmarshalJSON(b []byte) error {
	*s = nil
	var list []json.RawMessage
	if json.Unmarshal(b, &list) != nil {
		return nil
	}
	for _, raw := range list {
		var item struct{ Code text }
		if json.Unmarshal(raw, &item) == nil && item.Code != "" {
			*s = append(*s, string(item.Code))
		}
	}
	return nil
}

// A date is written by Kibo as RFC 3339 with up to seven digits of fraction,
// the same without a zone (which is UTC), or, in tickets that passed through
// GraphQL, as milliseconds since 1970. Null, "" and .NET's zero date are none.
type date struct{ time.Time }

func (d *date) UnmarshalJSON(b []byte) error {
	*d = date{}
	s := unquote(b)
	if s == "" {
		return nil
	}
	t, err := parseDate(s, b[0] != '"')
	if err != nil || t.Year() > 9999 || (t.Year() > 1 && t.Year() < 1970) {
		return reason("ticket has a malformed date")
	}
	if t.Year() > 1 {
		d.Time = t
	}
	return nil
}

func parseDate(s string, number bool) (time.Time, error) {
	if number {
		ms, err := strconv.ParseFloat(s, 64)
		if err != nil || math.Abs(ms) > 1e15 {
			return time.Time{}, reason("not a number of milliseconds")
		}
		if ms == 0 {
			return time.Time{}, nil
		}
		return time.UnixMilli(int64(ms)).UTC(), nil
	}
	t, err := time.Parse(time.RFC3339, s) // takes any fraction too
	if err != nil {
		t, err = time.ParseInLocation("2006-01-02T15:04:05", s, time.UTC)
	}
	return t.UTC(), err
}

// unquote returns the bare text of a JSON string, number or literal; null is "".
func unquote(b []byte) string {
	s := string(b)
	if b[0] == '"' || s == "null" {
		s = ""
		json.Unmarshal(b, &s) // can not fail: b is valid JSON
	}
	return s
}
