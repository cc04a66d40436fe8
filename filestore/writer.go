package filestore

import (
	"errors"
	"runtime/debug"
	"slices"

	"go.etcd.io/bbolt"
)

// errUnchanged ends a transaction that has nothing to commit.
var errUnchanged = errors.New("nothing has changed")

// write makes all changes, one transaction after the other. Those that arrive
// while one is being brought to the disk go into the next together, so that
// many sign-ins at once cost few waits for the disk.
func (h *handle) write() {
	debug.SetPanicOnFault(true)
	for {
		select {
		case <-h.quit:
			return
		case j := <-h.jobs:
			h.commit(h.more(j))
		}
	}
}

// more gathers the jobs that wait behind the first.
func (h *handle) more(first *job) []*job {
	jobs := []*job{first}
	for len(jobs) < maxBatch {
		select {
		case j := <-h.jobs:
			jobs = append(jobs, j)
		default:
			return jobs
		}
	}
	return jobs
}

// commit makes changes in one transaction and answers. If it fails, those that
// do not grow the file are made again one by one: a damaged page need not fail
// the others, nor a full disk those that the file has room for.
func (h *handle) commit(jobs []*job) {
	jobs = h.admit(jobs)
	err := h.run(jobs)
	for _, j := range jobs {
		switch {
		case err != nil && len(jobs) > 1 && (!j.grows || errors.Is(err, errDamaged)):
			h.commit([]*job{j})
			continue
		case err != nil:
			j.answer = err
		}
		j.done <- j.answer
	}
}

// admit answers the jobs that would grow the file if it has no room to spare.
func (h *handle) admit(jobs []*job) []*job {
	if !slices.ContainsFunc(jobs, func(j *job) bool { return j.grows }) {
		return jobs
	}
	err := h.reserve()
	if err == nil {
		return jobs
	}
	return slices.DeleteFunc(jobs, func(j *job) bool {
		if j.grows {
			j.done <- err
		}
		return j.grows
	})
}

const (
	// reserveSize is how much room the file is given when it runs out of it.
	reserveSize = 4 << 20
	// reserveLow is how much of it new sessions leave to other changes: a change
	// is written beside what it replaces, a logout too. It suffices for a batch.
	reserveLow = 1 << 20
)

// reserve sees to it that the file has room for changes that must be possible
// while the disk is full. What is written and deleted is free for them.
func (h *handle) reserve() error {
	if h.state.Load() != works {
		return errDamaged
	}
	if s := h.db.Stats(); (s.FreePageN+s.PendingPageN)*h.db.Info().PageSize >= reserveLow {
		return nil
	}
	err := h.guard(h.db.Update, func(tx *bbolt.Tx) error {
		return tx.Bucket(metaTable).Put(reserveKey, make([]byte, reserveSize))
	})
	if err == nil {
		err = h.guard(h.db.Update, func(tx *bbolt.Tx) error { return tx.Bucket(metaTable).Delete(reserveKey) })
	}
	return h.mind(err)
}

func (h *handle) run(jobs []*job) error {
	switch {
	case len(jobs) == 0:
		return nil
	case h.state.Load() != works:
		return errDamaged
	}
	var t *tables
	err := h.guard(h.db.Update, func(tx *bbolt.Tx) (err error) {
		if t, err = tablesOf(tx); err != nil {
			return err
		}
		return t.run(jobs)
	})
	if t != nil && len(t.changed) > 0 {
		h.file.tell(t.changed) // after an error, too: it does not say that nothing was written
	}
	if errors.Is(err, errUnchanged) {
		return nil
	}
	return h.mind(err)
}

// run makes changes. The first error of the tables ends the transaction.
func (t *tables) run(jobs []*job) error {
	for _, j := range jobs {
		if j.answer = j.ctx.Err(); j.answer == nil {
			j.answer = j.change(t)
		}
		if t.err != nil {
			return t.err
		}
	}
	if len(t.changed) == 0 && !t.moved {
		return errUnchanged
	}
	return nil
}
