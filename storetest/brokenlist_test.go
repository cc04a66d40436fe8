package storetest_test

import (
	"context"
	"iter"
	"path"
	"strings"

	kiboauth "github.com/kiboauth/caddy-kibo-auth"
)

// brokenLists break one promise each of those that List gives.
var brokenLists = map[string]brokenStore{
	"list by prefix": {
		func(s *sharedStore, w *twisted) {
			w.list = matching(s, func(customer, name string) bool { return strings.HasPrefix(name, customer) })
		},
		[]string{"list customers with special names", "random calls"},
	},
	"list by pattern": {
		func(s *sharedStore, w *twisted) {
			w.list = matching(s, func(customer, name string) bool {
				ok, _ := path.Match(customer, name)
				return ok || customer == name
			})
		},
		[]string{"list customers with special names", "random calls"},
	},
	"list whatever the case": {
		func(s *sharedStore, w *twisted) { w.list = matching(s, strings.EqualFold) },
		[]string{"list customers with special names"},
	},
	"list of one page": {
		func(s *sharedStore, w *twisted) {
			w.list = func(_ context.Context, customer string) iter.Seq2[kiboauth.Listed, error] {
				return func(yield func(kiboauth.Listed, error) bool) {
					for i, l := range s.of(customer) {
						if i == 100 || !yield(l, nil) {
							return
						}
					}
				}
			}
		},
		[]string{"list many"},
	},
	"list of one session a customer": {
		func(s *sharedStore, w *twisted) {
			w.list = func(ctx context.Context, customer string) iter.Seq2[kiboauth.Listed, error] {
				return func(yield func(kiboauth.Listed, error) bool) {
					for l, err := range s.List(ctx, customer) {
						if !yield(l, err) || customer != "" {
							return
						}
					}
				}
			}
		},
		[]string{"list one customer", "list deleting while listing", "list changes while listing", "random calls"},
	},
	"list of nobody is empty": {
		func(s *sharedStore, w *twisted) {
			w.list = matching(s, func(customer, name string) bool { return customer == name })
			byName := w.list
			w.list = func(ctx context.Context, customer string) iter.Seq2[kiboauth.Listed, error] {
				if customer == "" {
					customer = "nobody"
				}
				return byName(ctx, customer)
			}
		},
		[]string{"list all", "list many", "list changes while listing"},
	},
	"list has sessions twice": {
		func(s *sharedStore, w *twisted) {
			w.list = listing(s, func(_ string, l kiboauth.Listed) []kiboauth.Listed { return []kiboauth.Listed{l, l} })
		},
		[]string{"list one customer", "list all"},
	},
	"list lacks fields": {
		func(s *sharedStore, w *twisted) {
			w.list = listing(s, func(_ string, l kiboauth.Listed) []kiboauth.Listed {
				return []kiboauth.Listed{{Key: l.Key, Record: &kiboauth.Record{Customer: l.Record.Customer}}}
			})
		},
		[]string{"list fields", "list one customer"},
	},
	"list goes on when stopped": {
		func(s *sharedStore, w *twisted) {
			w.list = func(ctx context.Context, customer string) iter.Seq2[kiboauth.Listed, error] {
				return func(yield func(kiboauth.Listed, error) bool) {
					for l, err := range s.List(ctx, customer) {
						yield(l, err)
					}
				}
			}
		},
		[]string{"list consumer stops"},
	},
	"list holds a lock": {
		func(s *sharedStore, w *twisted) {
			w.list = func(_ context.Context, customer string) iter.Seq2[kiboauth.Listed, error] {
				return func(yield func(kiboauth.Listed, error) bool) {
					all := s.of(customer)
					s.MapStore.mu.Lock()
					defer s.MapStore.mu.Unlock()
					for _, l := range all {
						if !yield(l, nil) {
							return
						}
					}
				}
			}
		},
		[]string{"list deleting while listing"},
	},
}
