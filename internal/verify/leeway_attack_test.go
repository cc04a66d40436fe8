package verify

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

// TestEveryTimeAtTheLeeway: each time in a token holds one second inside of
// the leeway and not one second past it, whichever clock is ahead.
func TestEveryTimeAtTheLeeway(t *testing.T) {
	for _, leeway := range []time.Duration{time.Second, 10 * time.Second, DefaultLeeway, maxLeeway} {
		v := newVerifier(t, Config{HMACKeys: [][]byte{secret}, Leeway: leeway})
		s := int(leeway.Seconds())
		for _, tt := range []struct {
			claim string
			shift int // seconds from now
			want  error
		}{
			{"exp", -(s - 1), nil},
			{"exp", -s, ErrInvalid}, // RFC 7519 §4.1.4: on or after which it must not be accepted
			{"exp", -(s + 1), ErrInvalid},
			{"inner", -(s - 1), nil},
			{"inner", -s, ErrInvalid},
			{"inner", -(s + 1), ErrInvalid},
			{"nbf", s - 1, nil},
			{"nbf", s, nil},
			{"nbf", s + 1, ErrInvalid},
			{"iat", s - 1, nil},
			{"iat", s, nil},
			{"iat", s + 1, ErrInvalid},
		} {
			at := now.Add(time.Duration(tt.shift) * time.Second)
			claims := ""
			switch tt.claim {
			case "exp":
				claims = swap(t, goodClaims, `"exp":1772368200`, fmt.Sprintf(`"exp":%d`, at.Unix()))
			case "inner":
				claims = swap(t, goodClaims, `2026-03-01T12:14:00`, at.Format("2006-01-02T15:04:05"))
			default:
				claims = swap(t, goodClaims, `"`+tt.claim+`":1772366340`, fmt.Sprintf(`"%s":%d`, tt.claim, at.Unix()))
			}
			if _, err := v.Verify(t.Context(), sign("HS256", secret, goodHeader("HS256", ""), claims), now); !errors.Is(err, tt.want) {
				t.Errorf("leeway %s, %s at %+ds: %v, want %v", leeway, tt.claim, tt.shift, err, tt.want)
			}
		}
	}
}
