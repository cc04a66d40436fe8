package kiboauth

import (
	"sync"
	"time"
)

// near keeps records that a store has given, decrypted, for as long as the
// store allows: so a request needs neither network nor cipher. Past that a
// record still spares the decryption if the store has the same version.
// Another one keeps the verdicts on clients' own tokens, which no store knows.
type near struct{ shards [nearShards]nearShard }

const (
	nearShards = 64
	// nearLimit bounds the records kept: some 270 MB at most.
	nearLimit = 100_000
)

type nearShard struct {
	mu      sync.RWMutex
	kept    map[Key]kept
	changes uint64 // counts what was told of the shard's records
}

// kept is a record with what it may be used for. Times are Unix milliseconds.
type kept struct {
	*Record
	confirm int64 // from here on the store is asked beside the request
	fresh   int64 // until here it is used without asking
	stale   int64 // until here it is used if the store cannot answer
}

func newNear() *near {
	n := new(near)
	for i := range n.shards {
		n.shards[i].kept = map[Key]kept{}
	}
	return n
}

func (n *near) shard(key *Key) *nearShard { return &n.shards[key[0]%nearShards] }

// fresh returns a record that may be used as it is. ask tells one caller to
// have the store confirm it before its time is over.
func (n *near) fresh(key *Key, now int64) (r *Record, ask bool) {
	s := n.shard(key)
	s.mu.RLock()
	k := s.kept[*key]
	s.mu.RUnlock()
	if k.Record == nil || now >= k.fresh {
		return nil, false
	}
	if now < k.confirm {
		return k.Record, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if again := s.kept[*key]; again == k {
		again.confirm = again.fresh
		s.kept[*key] = again
		return k.Record, true
	}
	return k.Record, false
}

// stale returns a record that may be used since the store cannot answer.
func (n *near) stale(key *Key, now int64) *Record {
	k := n.get(key)
	if k.Record == nil || now >= k.stale {
		return nil
	}
	return k.Record
}

// last returns the record that the store gave last, nil if none is kept.
func (n *near) last(key *Key) *Record { return n.get(key).Record }

func (n *near) get(key *Key) kept {
	s := n.shard(key)
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.kept[*key]
}

// changes is to be asked before a record is loaded, and given to keep: what
// was changed meanwhile is not kept.
func (n *near) changes(key *Key) uint64 {
	s := n.shard(key)
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.changes
}

// keep notes a record that has just been loaded.
func (n *near) keep(key *Key, r *Record, changes uint64, fresh, stale time.Duration) {
	now := time.Now().UnixMilli()
	s := n.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	last, known := s.kept[*key]
	switch {
	case known && last.Version > r.Version:
		return // this load was overtaken
	case !known && len(s.kept) >= nearLimit/nearShards:
		s.makeRoom(now)
	}
	k := kept{Record: r}
	if s.changes == changes {
		k.fresh, k.stale = now+fresh.Milliseconds(), now+stale.Milliseconds()
		k.confirm = now + fresh.Milliseconds()/2
	}
	s.kept[*key] = k
}

// makeRoom drops what is of no use any more, else whatever comes first.
func (s *nearShard) makeRoom(now int64) {
	for key, k := range s.kept {
		if now >= k.fresh && now >= k.stale {
			delete(s.kept, key)
		}
	}
	for key := range s.kept {
		if len(s.kept) < nearLimit/nearShards*7/8 {
			return
		}
		delete(s.kept, key)
	}
}

// swap puts a record in the place of one of the same version.
func (n *near) swap(key *Key, r *Record) {
	s := n.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if k, ok := s.kept[*key]; ok && k.Version == r.Version {
		k.Record = r
		s.kept[*key] = k
	}
}

// touch notes that a session is used.
func (n *near) touch(key *Key, at int64) {
	s := n.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if k, ok := s.kept[*key]; ok {
		k.Record = k.Touched(at)
		s.kept[*key] = k
	}
}

// drop forgets a session that has ended.
func (n *near) drop(key *Key) {
	s := n.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changes++
	delete(s.kept, *key)
}

// changed takes what a store tells of changes: the record is asked for before
// it is used again. Where only the connection was lost (key is nil), a store
// that does not answer does not make known sessions unknown.
func (n *near) changed(key *Key) {
	if key == nil {
		for i := range n.shards {
			n.shards[i].doubt()
		}
		return
	}
	s := n.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changes++
	if k, ok := s.kept[*key]; ok {
		s.kept[*key] = kept{Record: k.Record}
	}
}

func (s *nearShard) doubt() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changes++
	for key, k := range s.kept {
		k.confirm, k.fresh = 0, 0
		s.kept[key] = k
	}
}
