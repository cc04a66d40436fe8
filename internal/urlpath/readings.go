package urlpath

import (
	"net/url"
	"slices"
	"strings"
)

const (
	// maxOdd is the longest odd path, in bytes, whose readings are followed.
	maxOdd = 2 << 10
	// maxReadings bounds the readings on one level of decoding. An honest
	// path has a handful; past the bound the strictest answer is taken.
	maxReadings = 96
)

// plain reports whether every server reads path in the same way: letters,
// digits, "_", "-", single slashes, and dots only inside of names. A path
// through a script is not plain, see Rules.protects.
func plain(path string) bool {
	if path == "" || path[0] != '/' {
		return false
	}
	dots, last := false, byte(0)
	for i := range len(path) {
		c := path[i]
		if !nameByte[c] {
			if c != '/' && c != '.' || last == '/' || last == '.' {
				return false
			}
			dots = dots || c == '.'
		}
		last = c
	}
	if !dots {
		return true
	}
	_, _, through := script(path)
	return last != '.' && !through
}

// nameByte marks the characters that mean nothing to any server.
var nameByte = func() (table [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-") {
		table[c] = true
	}
	return table
}()

// readings returns the path of u in lower case, decoded once and twice, and
// each of these in every combination of the tricks. complete is false when
// there were too many to list, or when a third layer of encoding is left, which
// serves no honest purpose.
func readings(u *url.URL) (all []string, complete bool) {
	if len(u.Path) > maxOdd || len(u.RawPath) > 3*maxOdd {
		return nil, false
	}
	once, complete := []string{rooted(u.Path)}, true
	if u.RawPath != "" {
		// Some servers resolve and cut first and decode afterwards. A proxy
		// sends on the escaped path; the raw one is what the client sent.
		escaped, ok := variants([]string{u.EscapedPath(), u.RawPath})
		once, complete = decodeAll(once, escaped), ok
	}
	once, ok := variants(once)
	complete = complete && ok

	var twice []string
	for _, path := range once {
		if strings.IndexByte(path, '%') >= 0 {
			twice = append(twice, path)
		}
	}
	twice, ok = variants(decodeAll(nil, twice))
	complete = complete && ok && !slices.ContainsFunc(twice, encoded)
	return append(once, twice...), complete
}

func encoded(path string) bool { return decode(path) != path }

// decodeAll appends the decoded form of every path in from to list.
func decodeAll(list, from []string) []string {
	for _, path := range from {
		if v := rooted(decode(path)); !slices.Contains(list, v) {
			list = append(list, v)
		}
	}
	return list
}

// variants returns the closure of list under the tricks, in lower case.
func variants(list []string) (all []string, complete bool) {
	all = make([]string, 0, max(16, len(list)))
	for _, path := range list {
		if v := strings.ToLower(path); !slices.Contains(all, v) {
			all = append(all, v)
		}
	}
	for i := 0; i < len(all); i++ {
		for _, trick := range tricks {
			v := rooted(trick(all[i]))
			if v == all[i] || slices.Contains(all, v) {
				continue
			}
			if len(all) >= maxReadings {
				return all, false
			}
			all = append(all, v)
		}
	}
	return all, true
}

// rooted completes what a cut has left over; "" and "/" are one path.
func rooted(path string) string {
	if path == "" {
		return "/"
	}
	return path
}
