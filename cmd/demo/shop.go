package main

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

//go:embed shop
var shopFiles embed.FS

// shop is a storefront from before the gateway: it keeps carts under a session
// cookie of its own, draws its own pages, and knows nothing about Kibo, codes,
// tickets or tokens. Who is asking it reads from four request headers, which
// only the gateway in front of it can set, and from nothing else.
//
// It must not be reachable other than through the gateway.
type shop struct {
	pages map[string]*template.Template
	db    *memory
}

// customer is who the gateway says is asking. The zero value is a visitor.
type customer struct {
	ID, Email, FirstName, LastName string
}

// customerOf reads the identity headers.
func customerOf(r *http.Request) customer {
	id := headerText(r, "Kibo-Account-Id")
	if id == "" {
		return customer{}
	}
	return customer{
		ID:        id,
		Email:     headerText(r, "Kibo-Email"),
		FirstName: headerText(r, "Kibo-First-Name"),
		LastName:  headerText(r, "Kibo-Last-Name"),
	}
}

// headerText returns a header's value in plain text. Header fields carry ASCII
// only (RFC 9110, section 5.5), so the gateway percent-encodes other letters.
func headerText(r *http.Request, name string) string {
	raw := r.Header.Get(name)
	text, err := url.PathUnescape(raw)
	if err != nil {
		return raw
	}
	return text
}

// Known reports whether the customer is signed in.
func (c customer) Known() bool { return c.ID != "" }

// Name is how the shop addresses the customer.
func (c customer) Name() string {
	if name := strings.TrimSpace(c.FirstName + " " + c.LastName); name != "" {
		return name
	}
	return c.Email
}

// newShop returns the shop as an HTTP handler.
func newShop() (http.Handler, error) {
	s := &shop{pages: map[string]*template.Template{}, db: newMemory()}
	for _, name := range []string{"home", "product", "cart", "checkout", "account", "login", "missing"} {
		page, err := template.ParseFS(shopFiles, "shop/layout.html", "shop/"+name+".html")
		if err != nil {
			return nil, fmt.Errorf("parsing the shop's page %s: %w", name, err)
		}
		s.pages[name] = page
	}
	files, err := fs.Sub(shopFiles, "shop/static")
	if err != nil {
		return nil, fmt.Errorf("opening the shop's files: %w", err)
	}
	return s.routes(files), nil
}

func (s *shop) routes(files fs.FS) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /static/", http.StripPrefix("/static/", http.FileServerFS(files)))
	mux.HandleFunc("GET /{$}", s.home)
	mux.HandleFunc("GET /product/{slug}", s.product)
	mux.HandleFunc("GET /cart", s.cart)
	mux.HandleFunc("POST /cart", s.changeCart)
	mux.HandleFunc("GET /checkout", s.checkout)
	mux.HandleFunc("POST /checkout", s.placeOrder)
	mux.HandleFunc("GET /account", s.account)
	mux.HandleFunc("GET /login", s.login)
	mux.HandleFunc("GET /whoami", whoami)
	mux.HandleFunc("/", s.missing)
	return mux
}

// view is what every page knows.
type view struct {
	Title    string
	Path     string // of this page, for the way back after signing in
	Customer customer
	InCart   int

	Products []product
	Product  product
	Lines    []cartLine
	Total    cents
	Orders   []order
	Placed   bool
	Login    loginForm
}

func (s *shop) newView(r *http.Request, title string) view {
	return view{
		Title:    title,
		Path:     r.URL.Path,
		Customer: customerOf(r),
		InCart:   pieces(s.db.cart(legacySession(r))),
		Products: catalogue,
	}
}

// render writes a page. It is built in memory first, so that a template that
// stumbles leaves an error page behind and not half of another one.
func (s *shop) render(w http.ResponseWriter, status int, page string, v view) {
	var out bytes.Buffer
	if err := s.pages[page].ExecuteTemplate(&out, "layout", v); err != nil {
		http.Error(w, "The shop has tripped over its own page.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "private, no-cache")
	w.WriteHeader(status)
	_, _ = out.WriteTo(w) // nobody left to tell when the browser has gone
}

func (s *shop) home(w http.ResponseWriter, r *http.Request) {
	s.render(w, http.StatusOK, "home", s.newView(r, "Everything for boat, porch and weather"))
}

func (s *shop) product(w http.ResponseWriter, r *http.Request) {
	p, ok := findProduct(r.PathValue("slug"))
	if !ok {
		s.missing(w, r)
		return
	}
	v := s.newView(r, p.Name)
	v.Product = p
	s.render(w, http.StatusOK, "product", v)
}

func (s *shop) cart(w http.ResponseWriter, r *http.Request) {
	v := s.newView(r, "Your cart")
	v.Lines, v.Total = bill(s.db.cart(legacySession(r)))
	s.render(w, http.StatusOK, "cart", v)
}

// changeCart works for everybody, signed in or not.
func (s *shop) changeCart(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 4<<10)
	p, ok := findProduct(r.PostFormValue("product"))
	if !ok {
		http.Error(w, "There is no such product.", http.StatusBadRequest)
		return
	}
	id := ensureLegacySession(w, r)
	if r.PostFormValue("action") == "remove" {
		s.db.remove(id, p.Slug)
	} else {
		s.db.add(id, p.Slug)
	}
	http.Redirect(w, r, "/cart", http.StatusSeeOther)
}

func (s *shop) checkout(w http.ResponseWriter, r *http.Request) {
	v := s.newView(r, "Checkout")
	if !v.Customer.Known() {
		customersOnly(w)
		return
	}
	v.Lines, v.Total = bill(s.db.cart(legacySession(r)))
	s.render(w, http.StatusOK, "checkout", v)
}

func (s *shop) placeOrder(w http.ResponseWriter, r *http.Request) {
	c := customerOf(r)
	if !c.Known() {
		customersOnly(w)
		return
	}
	if !s.db.place(legacySession(r), c.ID) {
		http.Redirect(w, r, "/cart", http.StatusSeeOther)
		return
	}
	http.Redirect(w, r, "/account?placed=1", http.StatusSeeOther)
}

func (s *shop) account(w http.ResponseWriter, r *http.Request) {
	v := s.newView(r, "Your account")
	if !v.Customer.Known() {
		customersOnly(w)
		return
	}
	v.Orders = s.db.history(v.Customer.ID)
	v.Placed = r.URL.Query().Has("placed")
	s.render(w, http.StatusOK, "account", v)
}

// customersOnly answers for a customer's page without a customer. The gateway
// lets nobody get here; a gateway with a hole in its "protect" line would.
func customersOnly(w http.ResponseWriter) {
	http.Error(w, "This page is for signed-in customers.", http.StatusForbidden)
}

func (s *shop) missing(w http.ResponseWriter, r *http.Request) {
	s.render(w, http.StatusNotFound, "missing", s.newView(r, "Page not found"))
}

// whoami shows, as plain text, what the gateway has made of a request: every
// header that a careless application might take for the customer, in whatever
// spelling it came, and the cookies that are left.
func whoami(w http.ResponseWriter, r *http.Request) {
	var lines []string
	for name, values := range r.Header {
		if !speaksOfCustomer(name) {
			continue
		}
		for _, value := range values {
			lines = append(lines, name+": "+value+"\n")
		}
	}
	slices.Sort(lines)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	fmt.Fprint(w, strings.Join(lines, ""))
}

// speaksOfCustomer reports whether whoami shows the header. CGI and its heirs
// read "-" and "_" as one (RFC 3875, section 4.1.18), so both count here.
func speaksOfCustomer(name string) bool {
	name = strings.ReplaceAll(strings.ToLower(name), "_", "-")
	return name == "cookie" || name == "authorization" || name == "remote-user" || strings.HasPrefix(name, "kibo-")
}
