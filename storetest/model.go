package storetest

import (
	"context"
	"errors"
	"maps"
	"testing"

	"pgregory.net/rapid"

	kiboauth "github.com/kiboauth/caddy-kibo-auth"
)

// machine holds a store against a map. It has few keys and customers, so that
// calls meet. No session's end comes while it runs, so what a store has is
// known at each moment.
type machine struct {
	s         kiboauth.Store
	keys      []kiboauth.Key
	customers []string
	records   map[kiboauth.Key]*kiboauth.Record // what the store must have
}

// model is one run of the machine with new keys and customers.
func model(t *rapid.T, s kiboauth.Store) {
	m := &machine{s: s, records: map[kiboauth.Key]*kiboauth.Record{}}
	for range 4 {
		m.keys = append(m.keys, newKey())
	}
	name := newCustomer()
	m.customers = []string{name, name + "*", name + "x"}
	t.Cleanup(func() {
		for _, key := range m.keys {
			_ = s.Delete(context.Background(), key) // or the run has failed already
		}
	})
	t.Repeat(rapid.StateMachineActions(m))
}

// Check holds every key against the map, after each action.
func (m *machine) Check(t *rapid.T) {
	for _, key := range m.keys {
		if want := m.records[key]; want != nil {
			wantLoaded(t, m.s, key, want)
			continue
		}
		_, err := m.s.Load(t.Context(), key)
		wantError(t, "Load", err, kiboauth.ErrNoSession)
	}
}

func (m *machine) key(t *rapid.T) kiboauth.Key {
	return m.keys[rapid.IntRange(0, len(m.keys)-1).Draw(t, "key")]
}

func (m *machine) customer(t *rapid.T) string {
	return m.customers[rapid.IntRange(0, len(m.customers)-1).Draw(t, "customer")]
}

// fill draws what may differ from record to record.
func (m *machine) fill(t *rapid.T, r *kiboauth.Record) {
	r.Seen = r.Created + rapid.Int64Range(-60_000, 60_000).Draw(t, "seen")
	r.Idle = rapid.SampledFrom([]int64{0, 1_800_000, 3_600_000}).Draw(t, "idle")
	r.Sealed = rapid.SliceOfN(rapid.Byte(), 0, 50).Draw(t, "sealed")
	if rapid.IntRange(0, 4).Draw(t, "expired") == 0 {
		r.Ends = now() - 1
	}
}

// Create saves a record, live or expired, under a key, free or taken. Which of
// two reasons to refuse it counts more, the contract leaves open.
func (m *machine) Create(t *rapid.T) {
	key, r := m.key(t), newRecord(m.customer(t), longLife)
	m.fill(t, r)
	err := m.s.Create(t.Context(), key, r)
	taken, expired := m.records[key] != nil, r.Expires() <= now()
	switch {
	case taken && expired:
		if !errors.Is(err, kiboauth.ErrConflict) && !errors.Is(err, kiboauth.ErrNoSession) {
			t.Fatalf("Create of an expired record, key taken = %v, want ErrConflict or ErrNoSession", err)
		}
	case taken:
		wantError(t, "Create, key taken", err, kiboauth.ErrConflict)
	case expired:
		wantError(t, "Create of an expired record", err, kiboauth.ErrNoSession)
	default:
		wantError(t, "Create", err, nil)
		m.records[key] = r
	}
}

// Replace puts another record, live or expired, in the place of one, with the
// right version or a wrong one.
func (m *machine) Replace(t *rapid.T) {
	key := m.key(t)
	old := m.records[key]
	next := newRecord(m.customers[0], longLife)
	if old != nil {
		next = nextOf(old)
	}
	m.fill(t, next)
	version := next.Version - 1 + uint64(rapid.SampledFrom([]int{0, 0, 0, 1, 7}).Draw(t, "versions off"))
	err := m.s.Replace(t.Context(), key, version, next)
	switch {
	case old == nil:
		wantError(t, "Replace, no session", err, kiboauth.ErrNoSession)
	case version != old.Version:
		wantError(t, "Replace of another version", err, kiboauth.ErrConflict)
	case next.Touched(old.Seen).Expires() <= now():
		wantError(t, "Replace by an expired record", err, kiboauth.ErrNoSession)
		delete(m.records, key)
	default:
		wantError(t, "Replace", err, nil)
		m.records[key] = next.Touched(old.Seen)
	}
}

// Touch moves a session's Seen to before or after what it is.
func (m *machine) Touch(t *rapid.T) {
	key := m.key(t)
	at := now() + rapid.Int64Range(-120_000, 120_000).Draw(t, "at")
	err := m.s.Touch(t.Context(), key, at)
	if m.records[key] == nil {
		wantError(t, "Touch, no session", err, kiboauth.ErrNoSession)
		return
	}
	wantError(t, "Touch", err, nil)
	m.records[key] = m.records[key].Touched(at)
}

// Delete ends a session, there or not.
func (m *machine) Delete(t *rapid.T) {
	key := m.key(t)
	wantError(t, "Delete", m.s.Delete(t.Context(), key), nil)
	delete(m.records, key)
}

// List lists a customer.
func (m *machine) List(t *rapid.T) {
	customer := m.customer(t)
	wantListed(t, m.s, customer, m.of(customer))
}

// ListAll lists all customers. Others may use the store; the machine's own
// sessions it knows.
func (m *machine) ListAll(t *rapid.T) {
	listed := list(t, m.s, "")
	wantAmong(t, listed, m.records)
	for _, key := range m.keys {
		if listed[key] != nil && m.records[key] == nil {
			t.Fatalf("List of all has a session that has ended")
		}
	}
}

// EndCustomer ends all sessions of a customer.
func (m *machine) EndCustomer(t *rapid.T) {
	customer := m.customer(t)
	wantError(t, "List and Delete", endAll(t.Context(), m.s, customer), nil)
	maps.DeleteFunc(m.records, func(_ kiboauth.Key, r *kiboauth.Record) bool { return r.Customer == customer })
}

// of is what the store must list of a customer.
func (m *machine) of(customer string) map[kiboauth.Key]*kiboauth.Record {
	of := maps.Clone(m.records)
	maps.DeleteFunc(of, func(_ kiboauth.Key, r *kiboauth.Record) bool { return r.Customer != customer })
	return of
}

// randomly runs the machine many times, as rapid's flags say.
func randomly(t *testing.T, s kiboauth.Store) {
	rapid.Check(t, func(t *rapid.T) { model(t, s) })
}
