package kibosim

import (
	"net/http"
	"regexp"
)

// currentAccount finds the only query that is understood, with its alias.
var currentAccount = regexp.MustCompile(`(?:([A-Za-z_]\w*)\s*:\s*)?\bgetCurrentAccount\b`)

// graphql answers getCurrentAccount, for an app token with the shopper's
// accessToken in x-vol-user-claims, or for a jwtAccessToken alone. Errors past
// the front proxy are wrapped into a 200, as GraphQL servers do.
func (s *Sim) graphql(c *call) reply {
	who, known, rp, ok := s.graphqlShopper(c)
	if !ok {
		return rp
	}
	var in struct{ Query string }
	if rp, ok := c.decode(&in); !ok {
		return rp
	}
	match := currentAccount.FindStringSubmatch(in.Query)
	if match == nil {
		return graphqlError(http.StatusBadRequest, "Only getCurrentAccount is simulated.", "query")
	}
	if !known {
		return graphqlError(http.StatusUnauthorized, "Invalid access token.", "user_claims")
	}
	name := "getCurrentAccount"
	if match[1] != "" {
		name = match[1]
	}
	return jsonReply(http.StatusOK, map[string]any{"data": map[string]any{name: who}})
}

// graphqlShopper finds out who is asking. Without any acceptable bearer the
// front proxy refuses, which is the reply; known is false when only the
// shopper's part is missing or has expired.
func (s *Sim) graphqlShopper(c *call) (who *wireAccount, known bool, rp reply, ok bool) {
	token := bearer(c.r)
	if shopper, ok := s.openShopperJWT(token, c.now); ok {
		user, _ := parseID(shopper.UserID)
		who = s.accountOf(c, user, shopper.Anonymous == "1")
		return who, who != nil, reply{}, true
	}
	if _, reason := s.openAppToken(token, c.now); reason != "" {
		return nil, false, c.unauthorized(reason), false
	}
	a, valid := s.sealer.open(c.r.Header.Get("x-vol-user-claims"))
	if !valid || !c.now.Before(a.expires) {
		return nil, false, reply{}, true
	}
	who = s.accountOf(c, a.user, a.anonymous)
	return who, who != nil, reply{}, true
}

func (s *Sim) accountOf(c *call, user id, anonymous bool) *wireAccount {
	customer := s.customers.findUser(user)
	switch {
	case anonymous:
		customer = &Customer{userID: user, anonymous: true}
	case customer == nil:
		return nil
	}
	return account(customer, c.now, false)
}

func graphqlError(status int, message, reason string) reply {
	rp := jsonReply(http.StatusOK, map[string]any{
		"data": nil,
		"errors": []any{map[string]any{
			"message": message,
			"extensions": map[string]any{"response": map[string]any{
				"status": status, "body": map[string]any{"message": message},
			}},
		}},
	})
	rp.reason = reason
	return rp
}
