package filestore

import (
	"context"
	"errors"
	"reflect"
	"strconv"
	"testing"

	kiboauth "github.com/kiboauth/caddy-kibo-auth"
)

func list(t testing.TB, s *Store, customer string) map[kiboauth.Key]int {
	t.Helper()
	found := map[kiboauth.Key]int{}
	for l, err := range s.List(t.Context(), customer) {
		if err != nil {
			t.Fatalf("List: %v", err)
		}
		if customer != "" && l.Record.Customer != customer {
			t.Errorf("List(%q) has a session of %q", customer, l.Record.Customer)
		}
		found[l.Key]++
	}
	return found
}

func TestListOfManySteps(t *testing.T) {
	s := newStore(t)
	want := map[kiboauth.Key]int{}
	for _, key := range create(t, s, 3*listStep, 10) {
		want[key] = 1
	}
	if got := list(t, s, ""); !reflect.DeepEqual(got, want) {
		t.Errorf("List has %d sessions, want each of %d once", len(got), len(want))
	}
	sum := 0
	for i := range 7 {
		sum += len(list(t, s, strconv.Itoa(i)))
	}
	if sum != len(want) || len(list(t, s, "77")) != 0 {
		t.Errorf("the lists of the customers have %d sessions, want %d", sum, len(want))
	}
}

func TestListOfOneCustomer(t *testing.T) {
	s := newStore(t)
	want := map[kiboauth.Key]int{}
	for range listStep + 1 {
		want[mustCreate(t, s, record("realm-1"))] = 1
	}
	for _, other := range []string{"realm-", "realm-11", "realm-2", ""} {
		mustCreate(t, s, record(other))
	}
	if got := list(t, s, "realm-1"); !reflect.DeepEqual(got, want) {
		t.Errorf("List has %d sessions, want %d", len(got), len(want))
	}
}

func TestListWhileSessionsComeAndGo(t *testing.T) {
	s := newStore(t)
	stay := create(t, s, 2*listStep, 10)
	leave := create(t, s, 2*listStep, 10)
	i := 0
	found := map[kiboauth.Key]int{}
	for l, err := range s.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		found[l.Key]++
		if i++; i%10 == 0 && i/10 <= len(leave) {
			if err := s.Delete(t.Context(), leave[i/10-1]); err != nil {
				t.Fatal(err)
			}
			mustCreate(t, s, record("new"))
		}
	}
	for _, key := range stay {
		if found[key] != 1 {
			t.Errorf("a session is in the list %d times", found[key])
		}
	}
}

func TestListEndsWithItsContext(t *testing.T) {
	s := newStore(t)
	create(t, s, 2*listStep, 10)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var last error
	n := 0
	for _, err := range s.List(ctx, "") {
		cancel()
		last, n = err, n+1
	}
	if !errors.Is(last, context.Canceled) || n > listStep+1 {
		t.Errorf("List went on for %d sessions and ended with %v", n, last)
	}
	for range s.List(t.Context(), "") {
		break // who has seen enough gets no more
	}
}
