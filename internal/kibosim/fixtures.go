package kibosim

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// A Customer is a person with an account at the simulated tenant.
type Customer struct {
	AccountID   int      `json:"account_id"` // default: the one it had, or the next from 2000
	Email       string   `json:"email"`      // also the user name; letter case does not matter
	Password    string   `json:"password"`   // "": password sign-in is refused
	FirstName   string   `json:"first_name"`
	LastName    string   `json:"last_name"`
	AccountType string   `json:"account_type"` // default: B2C
	Company     string   `json:"company"`
	Locale      string   `json:"locale"` // default: en-US
	Segments    []string `json:"segments"`

	Locked   bool   `json:"locked"`   // see Switches.LockedStatus
	Inactive bool   `json:"inactive"` // gets tickets, with isActive false
	NoJWT    bool   `json:"no_jwt"`   // gets tickets whose jwtAccessToken is null
	NoOTP    bool   `json:"no_otp"`   // may not sign in by code, as if it were off
	TwoFA    string `json:"two_fa"`   // "", "always", "new_fingerprint", "new_region"

	// Note says what the customer is for; no answer contains it.
	Note string `json:"note"`

	userID    id
	anonymous bool
}

// UserID returns the 32 hex digits that name the customer's user. It follows
// from the e-mail address alone, so it is the same in every run.
func (c Customer) UserID() string { return userIDOf(c.Email).String() }

func userIDOf(email string) id {
	sum := sha256.Sum256([]byte("user " + foldEmail(email)))
	return id(sum[:16])
}

// FixturePassword opens every fixture customer's account by password.
const FixturePassword = "correct horse battery"

// Fixtures returns the customers that every simulator starts with. All of them
// are invented.
func Fixtures() []Customer {
	list := []Customer{
		{AccountID: 1001, Email: "jane@example.com", FirstName: "Jane", LastName: "Doe", Segments: []string{"vip", "newsletter"}, Note: "normal"},
		{AccountID: 1002, Email: "john@example.com", FirstName: "John", LastName: "Roe", Note: "normal, in no segment"},
		{AccountID: 1003, Email: "zoe@example.com", FirstName: "Zoë", LastName: "Ångström-日本", Locale: "de-DE", Segments: []string{"newsletter"}, Note: "name beyond ASCII"},
		{AccountID: 1004, Email: "buyer@example.com", FirstName: "Bea", LastName: "Buyer", AccountType: "B2B", Company: "Widgets & Sons Ltd", Segments: []string{"wholesale"}, Note: "B2B"},
		{AccountID: 1005, Email: "locked@example.com", FirstName: "Lou", LastName: "Locke", Locked: true, Note: "locked"},
		{AccountID: 1006, Email: "inactive@example.com", FirstName: "Ina", LastName: "Still", Inactive: true, Note: "ticket says isActive false"},
		{AccountID: 1007, Email: "nojwt@example.com", FirstName: "Nell", LastName: "Plain", NoJWT: true, Note: "ticket without jwtAccessToken"},
		{AccountID: 1008, Email: "twofa@example.com", FirstName: "Tove", LastName: "Faber", TwoFA: "always", Note: "second factor at every sign-in"},
		{AccountID: 1009, Email: "device@example.com", FirstName: "Dev", LastName: "Isaac", TwoFA: "new_fingerprint", Note: "second factor on a new fingerprint"},
		{AccountID: 1010, Email: "region@example.com", FirstName: "Reg", LastName: "Ion", TwoFA: "new_region", Note: "second factor in a new region"},
		{AccountID: 1011, Email: "nootp@example.com", FirstName: "Noor", LastName: "Word", NoOTP: true, Note: "password only"},
	}
	for i := range list {
		list[i].Password = FixturePassword
	}
	return list
}

// A directory finds customers.
type directory struct {
	mu       sync.RWMutex
	byEmail  map[string]*Customer
	byUserID map[id]*Customer
	nextID   int
}

func foldEmail(email string) string { return strings.ToLower(strings.TrimSpace(email)) }

func (d *directory) replace(list []Customer) {
	d.mu.Lock()
	d.byEmail = map[string]*Customer{}
	d.byUserID = map[id]*Customer{}
	d.nextID = 2000
	d.mu.Unlock()
	for _, c := range list {
		d.add(c)
	}
}

func (d *directory) add(c Customer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c.userID = userIDOf(c.Email)
	if old := d.byUserID[c.userID]; c.AccountID == 0 && old != nil {
		c.AccountID = old.AccountID
	}
	if c.AccountID == 0 {
		c.AccountID = d.nextID
		d.nextID++
	}
	if c.AccountType == "" {
		c.AccountType = "B2C"
	}
	if c.Locale == "" {
		c.Locale = "en-US"
	}
	d.byEmail[foldEmail(c.Email)] = &c
	d.byUserID[c.userID] = &c
}

// find returns the customer with an e-mail address, nil if there is none.
func (d *directory) find(email string) *Customer {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.byEmail[foldEmail(email)]
}

func (d *directory) findUser(user id) *Customer {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.byUserID[user]
}

func (c Customer) validate() error {
	switch {
	case !strings.Contains(c.Email, "@"):
		return errors.New("a customer needs an e-mail address")
	case !slices.Contains([]string{"", "always", "new_fingerprint", "new_region"}, c.TwoFA):
		return fmt.Errorf("two_fa: no such rule: %q", c.TwoFA)
	}
	return nil
}

// AddCustomer adds a customer, or replaces the one with the same e-mail
// address; tickets issued before can then be refreshed into the new record.
// It panics if the customer has no address or an unknown TwoFA rule.
func (s *Sim) AddCustomer(c Customer) {
	if err := c.validate(); err != nil {
		panic("kibosim: " + err.Error())
	}
	s.customers.add(c)
}
