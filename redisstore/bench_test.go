package redisstore

import (
	"testing"

	kiboauth "github.com/kiboauth/caddy-kibo-auth"
)

// The server is on this machine, so these are what the store itself costs.

func BenchmarkLoad(b *testing.B) {
	s, _ := start(b)
	key, _ := create(b, s, "bench")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Load(b.Context(), key); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLoadParallel(b *testing.B) {
	s, _ := start(b)
	key, _ := create(b, s, "bench")
	b.SetParallelism(32)
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if _, err := s.Load(b.Context(), key); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func BenchmarkCreate(b *testing.B) {
	s, _ := start(b)
	r := newRecord("bench")
	key := kiboauth.Key{}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		key[0], key[1], key[2] = byte(i), byte(i>>8), byte(i>>16)
		if err := s.Create(b.Context(), key, r); err != nil {
			b.Fatal(err)
		}
	}
}
