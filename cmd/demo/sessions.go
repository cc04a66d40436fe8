package main

import (
	"crypto/rand"
	"maps"
	"net/http"
	"sync"
)

// legacyCookie names the shop's own session cookie. It has nothing to do with
// signing in: it holds the cart of a visitor, known or not, as it did for the
// twenty years before there was a gateway.
const legacyCookie = "LEGACYSESS"

// maxKept bounds the carts, and the customers with orders, that a long-running
// demo keeps in memory.
const maxKept = 1000

// maxPieces is the most of one product that a cart holds.
const maxPieces = 99

// memory is the shop's database: carts by legacy session, orders by customer.
type memory struct {
	mu     sync.Mutex
	carts  map[string]map[string]int // legacy session ID → slug → pieces
	orders map[string][]order        // account ID → newest first
	last   int                       // number of the newest order
}

// order is one line of a customer's order history.
type order struct {
	Number int
	Pieces int
	Total  cents
	Status string
}

func newMemory() *memory {
	return &memory{carts: map[string]map[string]int{}, orders: map[string][]order{}, last: 20417}
}

// add puts one more piece of the product into the cart.
func (m *memory) add(id, slug string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	cart := m.carts[id]
	if cart == nil {
		makeRoom(m.carts)
		cart = map[string]int{}
		m.carts[id] = cart
	}
	cart[slug] = min(cart[slug]+1, maxPieces)
}

// remove takes the product out of the cart.
func (m *memory) remove(id, slug string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.carts[id], slug)
}

// cart returns a copy of the cart, which is empty for an unknown session.
func (m *memory) cart(id string) map[string]int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.carts[id])
}

// place turns the cart into an order of the customer. It reports false, and
// does nothing, when the cart is empty.
func (m *memory) place(id, account string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	lines, total := bill(m.carts[id])
	if len(lines) == 0 {
		return false
	}
	if _, known := m.orders[account]; !known {
		makeRoom(m.orders)
	}
	m.last++
	o := order{Number: m.last, Pieces: pieces(m.carts[id]), Total: total, Status: "Being packed"}
	m.orders[account] = append([]order{o}, m.orders[account]...)
	delete(m.carts, id)
	return true
}

// history returns the customer's orders, newest first. Every customer has
// two old ones, so that the page has something to show.
func (m *memory) history(account string) []order {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append(append([]order(nil), m.orders[account]...),
		order{Number: 19822, Pieces: 3, Total: 8650, Status: "Delivered"},
		order{Number: 18407, Pieces: 1, Total: 18900, Status: "Delivered"},
	)
}

// makeRoom drops an entry of a full map before another one goes in.
func makeRoom[V any](m map[string]V) {
	if len(m) < maxKept {
		return
	}
	for key := range m {
		delete(m, key)
		return
	}
}

// cartLine is a product in a cart.
type cartLine struct {
	Product product
	Pieces  int
	Total   cents
}

// bill lists a cart in the catalogue's order, with the sum of it all.
func bill(cart map[string]int) (lines []cartLine, total cents) {
	for _, p := range catalogue {
		if n := cart[p.Slug]; n > 0 {
			lines = append(lines, cartLine{Product: p, Pieces: n, Total: p.Price.times(n)})
			total += p.Price.times(n)
		}
	}
	return lines, total
}

// pieces counts what is in a cart.
func pieces(cart map[string]int) (n int) {
	for _, count := range cart {
		n += count
	}
	return n
}

// legacySession returns the visitor's session ID, "" without one.
func legacySession(r *http.Request) string {
	c, err := r.Cookie(legacyCookie)
	if err != nil {
		return ""
	}
	return c.Value
}

// ensureLegacySession is legacySession, but starts a session when needed.
func ensureLegacySession(w http.ResponseWriter, r *http.Request) string {
	if id := legacySession(r); id != "" {
		return id
	}
	id := rand.Text()
	http.SetCookie(w, &http.Cookie{
		Name: legacyCookie, Value: id, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
	return id
}
