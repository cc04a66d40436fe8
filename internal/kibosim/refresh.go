package kibosim

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"time"
)

const (
	// maxGrants bounds the refresh tokens that are remembered, at some 100
	// bytes each; past it the oldest is forgotten.
	maxGrants = 1_000_000
	// forgetAfter is how long an expired refresh token is still told from an
	// unknown one.
	forgetAfter = 24 * time.Hour
	// graceTime is how long a used token works in the mode "grace".
	graceTime = 30 * time.Second
)

// A grant is what a refresh token stands for. It is kept small: load tests
// make a million of them.
type grant struct {
	customer *Customer
	sid      id
	expires  int64 // Unix seconds
}

// grants remembers refresh tokens, oldest first in order. The zero value is
// empty and ready.
type grants struct {
	byToken map[id]grant
	order   []id // may hold tokens that are no longer in the map
	first   int  // those before it are gone
}

// add remembers a token and forgets what has had its time. Dropping at most two
// per call keeps each call short and the whole from growing.
func (g *grants) add(token id, gr grant, now time.Time) {
	if g.byToken == nil {
		g.byToken = map[id]grant{}
	}
	g.byToken[token] = gr
	g.order = append(g.order, token)
	for range 2 {
		g.dropOldest(now)
	}
	if len(g.order) > 2*len(g.byToken)+1024 {
		g.order = slices.DeleteFunc(slices.Clone(g.order[g.first:]), g.isGone)
		g.first = 0
	}
}

func (g *grants) isGone(token id) bool {
	_, alive := g.byToken[token]
	return !alive
}

// dropOldest forgets the oldest token if it is long dead or one too many.
func (g *grants) dropOldest(now time.Time) {
	if g.first == len(g.order) {
		return
	}
	token := g.order[g.first]
	gr, alive := g.byToken[token]
	full := len(g.byToken) > maxGrants
	if alive && !full && now.Sub(time.Unix(gr.expires, 0)) < forgetAfter {
		return
	}
	delete(g.byToken, token)
	g.first++
}

// refresh exchanges a refresh token for a ticket. A body, which older clients
// send, is ignored.
func (s *Sim) refresh(c *call) reply {
	query := c.r.URL.Query()
	text := query.Get("refreshToken")
	if text == "" {
		return c.missing("refreshToken")
	}
	accountID, err := strconv.Atoi(cmp.Or(query.Get("accountId"), "0"))
	if err != nil {
		return c.missing("accountId")
	}
	unknown := c.fail(http.StatusNotFound, "Customer", "ITEM_NOT_FOUND", "Item not found: refresh token", "refresh_unknown")
	token, ok := parseID(text)
	if !ok {
		return unknown
	}
	used, reason := s.useGrant(c, token, accountID)
	switch {
	case reason == "expired":
		status := cmp.Or(c.sw.ExpiredRefreshStatus, http.StatusNotFound)
		return c.fail(status, "Customer", "INVALID_REFRESH_TOKEN", "The refresh token has expired.", "refresh_expired")
	case reason != "":
		return unknown
	case c.turnsAway(used.customer):
		return c.lockedOut()
	}
	if c.sw.OtherCustomer {
		used.customer = s.otherCustomer(used.customer)
	}
	return c.ticketReply(s.refreshed(c, used))
}

// A usedGrant is a grant together with the token that follows it.
type usedGrant struct {
	grant
	next id
	omit bool // the answer names no token
}

// useGrant looks a token up and, depending on the mode, replaces it. Lookup and
// replacement are one step: of two calls with one token, one wins.
func (s *Sim) useGrant(c *call, token id, accountID int) (used usedGrant, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	gr, ok := s.grants.byToken[token]
	switch {
	case !ok:
		return used, "unknown"
	case c.now.Unix() >= gr.expires:
		return used, "expired"
	case accountID != 0 && accountID != gr.customer.AccountID:
		return used, "other_account"
	}
	if now := s.customers.findUser(gr.customer.userID); now != nil {
		gr.customer = now // AddCustomer may have replaced the record
	}
	if c.turnsAway(gr.customer) {
		return usedGrant{grant: gr}, ""
	}
	used = usedGrant{grant: gr, next: token, omit: c.sw.RefreshMode == "omit"}
	if c.sw.RefreshMode == "static" || used.omit {
		return used, ""
	}
	delete(s.grants.byToken, token)
	if c.sw.RefreshMode == "grace" {
		gr.expires = min(gr.expires, c.now.Add(graceTime).Unix())
		s.grants.byToken[token] = gr
	}
	used.next, used.expires = newID(), c.now.Add(c.sw.refreshTTL()).Unix()
	s.grants.add(used.next, used.grant, c.now)
	return used, ""
}

// refreshed makes the ticket that answers a refresh.
func (s *Sim) refreshed(c *call, used usedGrant) wireTicket {
	t := s.wireTicket(c, session{customer: used.customer, sid: used.sid}, c.sw.accessTTL())
	t.RefreshTokenExpiration = wireDate(time.Unix(used.expires, 0), c.sw.Dates)
	if !used.omit {
		t.RefreshToken = quoted(used.next.String())
	}
	return t
}

// otherCustomer returns a fixture customer who is not c.
func (s *Sim) otherCustomer(c *Customer) *Customer {
	if john := s.customers.find("john@example.com"); john.userID != c.userID {
		return john
	}
	return s.customers.find("jane@example.com")
}
