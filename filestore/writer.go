package filestore

import (
	"errors"
	"runtime/debug"

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

// commit makes changes in one transaction and answers. Jobs that a damaged page
// fails are run again one by one: the others need not suffer from it.
func (h *handle) commit(jobs []*job) {
	err := h.run(jobs)
	if errors.Is(err, errDamaged) && len(jobs) > 1 {
		for _, j := range jobs {
			h.commit([]*job{j})
		}
		return
	}
	for _, j := range jobs {
		if err != nil {
			j.answer = err
		}
		j.done <- j.answer
	}
}

func (h *handle) run(jobs []*job) error {
	if h.state.Load() != works {
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
