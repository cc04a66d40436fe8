package filestore

import (
	"strconv"
	"testing"

	kiboauth "github.com/kiboauth/caddy-kibo-auth"
)

func benchRecord() *kiboauth.Record {
	r := record("realm-123456")
	r.Sealed = make([]byte, 3000)
	return r
}

// BenchmarkCreate is so many sign-ins at once, each on the disk when it returns.
func BenchmarkCreate(b *testing.B) {
	for _, writers := range []int{1, 64} {
		b.Run(strconv.Itoa(writers), func(b *testing.B) {
			s := newStore(b)
			b.SetParallelism(writers) // times GOMAXPROCS
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := s.Create(b.Context(), newKey(), benchRecord()); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

func BenchmarkLoad(b *testing.B) {
	s := newStore(b)
	keys := create(b, s, 2000, 3000)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			if _, err := s.Load(b.Context(), keys[i%len(keys)]); err != nil {
				b.Error(err)
			}
		}
	})
}
