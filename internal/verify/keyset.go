package verify

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/MicahParks/keyfunc/v3"
)

// parseKeyset reads a JSON Web Key Set (RFC 7517 §5). Entries that cannot or
// must not verify our tokens are passed over, as §5 asks; a set of which
// nothing remains is an error, so that it never takes the place of a good one.
func parseKeyset(body []byte, algs []string) (*keyset, error) {
	var members map[string]json.RawMessage // a struct would also take "KEYS"
	var entries []json.RawMessage
	if json.Unmarshal(body, &members) != nil || json.Unmarshal(members["keys"], &entries) != nil {
		return nil, errors.New("not a JSON Web Key Set")
	}
	var keys []key
	for _, entry := range entries {
		if k, ok := parseEntry(entry, algs); ok {
			keys = append(keys, k)
		}
	}
	keys = dropAmbiguous(keys)
	if len(keys) == 0 {
		return nil, errors.New("keyset without a usable key for the configured algorithms")
	}
	return newKeyset(keys), nil
}

// parseEntry reads one entry. It is passed over if it is not for verifying
// signatures (use, key_ops), if it names an algorithm that is not configured
// or that its type cannot do, if it is weak, or if it holds a secret: a
// published private or symmetric key signs for everybody.
func parseEntry(raw json.RawMessage, algs []string) (k key, ok bool) {
	o, err := decodeObject(raw)
	if err != nil || o["d"] != nil || o["k"] != nil || !forVerifying(o) {
		return k, false
	}
	if k.value, err = keyValue(o); err != nil || usable(k.value) != nil {
		return k, false
	}
	k.algs = common(algs, algorithmsOf(k.value))
	if alg, has := o["alg"]; has {
		k.algs = slices.DeleteFunc(k.algs, func(s string) bool { return s != alg })
	}
	return k, optional(o, "kid", &k.id) && len(k.algs) > 0
}

func forVerifying(o object) bool {
	if !absentOr(o, "use", "sig") {
		return false
	}
	ops, has := o["key_ops"]
	list, _ := ops.([]any)
	return !has || slices.Contains(list, any("verify"))
}

// keyValue lets keyfunc decode the key itself, of which it sees nothing but
// the parameters: no certificate to parse, no URL to follow.
func keyValue(o object) (any, error) {
	params := object{}
	for _, name := range []string{"kty", "crv", "x", "y", "n", "e"} {
		if v, has := o[name]; has {
			params[name] = v
		}
	}
	if !coordinatesFit(o) {
		return nil, errors.New("coordinates do not fit the curve")
	}
	raw, err := json.Marshal(params)
	if err != nil {
		return nil, err
	}
	k, err := keyfunc.NewJWKJSON(raw)
	if err != nil {
		return nil, err
	}
	set, err := k.VerificationKeySet(context.Background())
	if err != nil || len(set.Keys) != 1 {
		return nil, errors.New("not one key")
	}
	return set.Keys[0], nil
}

// coordinatesFit guards keyfunc, which panics on an EC coordinate with more
// bytes than its curve has.
func coordinatesFit(o object) bool {
	crv, _ := o["crv"].(string)
	size, isEC := map[string]int{"P-256": 32, "P-384": 48, "P-521": 66}[crv]
	for _, name := range []string{"x", "y"} {
		s, _ := o[name].(string)
		b, err := decodeSegment(s)
		if isEC && (err != nil || len(b) > size) {
			return false
		}
	}
	return true
}

// dropAmbiguous removes every key whose id another key has too.
func dropAmbiguous(keys []key) []key {
	uses := map[string]int{}
	for _, k := range keys {
		uses[k.id]++
	}
	return slices.DeleteFunc(keys, func(k key) bool { return k.id != "" && uses[k.id] > 1 })
}

// lookup finds the key that a token names, by its exact id; a token that
// names none is only understood if exactly one key fits. known is false if
// the set says nothing about such a token, so that a newer one may.
func (s *keyset) lookup(alg, kid string) (values []any, known bool) {
	if kid == "" {
		values = s.fitting(alg)
		if len(values) > 1 {
			return nil, true
		}
		return values, len(values) == 1
	}
	for _, k := range s.keys {
		if k.id == kid && slices.Contains(k.algs, alg) {
			return []any{k.value}, true
		}
		known = known || k.id == kid
	}
	return nil, known
}
