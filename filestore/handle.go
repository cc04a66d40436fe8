package filestore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

const (
	// lockTimeout is how long to wait for another process to let go of the file,
	// such as the one that this one takes over from.
	lockTimeout = time.Second
	// closeTimeout is how long to wait at the end for a disk that hangs.
	closeTimeout = 5 * time.Second
	// maxBatch is how many changes one transaction makes at most.
	maxBatch = 256
	// maxReaders is how many reads are under way at most; a disk that hangs
	// would else gather goroutines without end.
	maxReaders = 256
)

// errDamaged: the file is not what was written. It never holds more than numbers of pages.
var errDamaged = errors.New("the file is damaged; move it away, or put a sound one in its place by renaming")

// What still works in an open file.
const (
	works    = iota
	readOnly // a change broke off such that no other can follow
	broken   // nothing
)

// handle is an open file. bbolt panics on pages that make no sense, and the
// system faults where the file has been cut short, so that every transaction is
// guarded. That is why changes do not use bbolt's own batches: it commits them
// in a goroutine where nobody could recover. Reads, too, have goroutines of
// their own, so that no caller waits longer than its context for a disk.
type handle struct {
	file    *file
	db      *bbolt.DB
	os      *os.File
	info    os.FileInfo
	state   atomic.Int32
	jobs    chan *job
	readers chan struct{}
	quit    chan struct{}
	dead    chan struct{} // closed when it is broken: who waits for bbolt's locks waits for ever
	wg      sync.WaitGroup
}

// A job is a change. Its error is the answer to who asked for it: what it has
// changed before is written all the same. It may be run more than once.
type job struct {
	ctx    context.Context
	change func(*tables) error
	grows  bool // it makes a session
	answer error
	done   chan error
}

// openHandle opens the file, or makes it.
func openHandle(f *file) (*handle, error) {
	h := &handle{
		file: f, jobs: make(chan *job), readers: make(chan struct{}, maxReaders),
		quit: make(chan struct{}), dead: make(chan struct{}),
	}
	dir := filepath.Dir(f.path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making its directory: %w", err)
	}
	_, missing := os.Stat(f.path)
	if err := h.openDB(f.path); err != nil {
		return nil, err
	}
	if err := h.check(); err != nil {
		_ = h.close()
		return nil, err
	}
	if missing != nil {
		syncDir(dir)
	}
	h.wg.Go(h.write)
	h.wg.Go(h.sweep)
	return h, nil
}

// openDB opens the database. The list of free pages stays in the file
// (NoFreelistSync is off): without it, opening reads the whole file, and does so
// in a goroutine in which a damaged page ends the process.
func (h *handle) openDB(path string) (err error) {
	debug.SetPanicOnFault(true) // of this goroutine; it ends with the attempt
	defer func() {
		if p := recover(); p != nil {
			err = damage(p)
		}
		if err != nil && h.os != nil {
			_ = unlock(h.os) // fails if bbolt
			_ = h.os.Close() // has closed it
		}
	}()
	h.db, err = bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout: lockTimeout, FreelistType: bbolt.FreelistMapType, OpenFile: h.openFile,
	})
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return errors.New("another process has it open, such as a second Caddy; each needs a file of its own")
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrChecksum), errors.Is(err, berrors.ErrVersionMismatch):
		return fmt.Errorf("it is no session file, or its first pages are damaged (%w); move it away", err)
	}
	return err
}

// openFile opens the file for nobody but the user that Caddy runs as.
func (h *handle) openFile(path string, flag int, mode os.FileMode) (*os.File, error) {
	opened, err := os.OpenFile(path, flag, mode)
	if err != nil {
		return nil, err
	}
	info, err := opened.Stat()
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		err = fmt.Errorf("%s is not a regular file", path)
	case info.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows":
		err = opened.Chmod(0o600)
	}
	if err != nil {
		_ = opened.Close()
		return nil, err
	}
	h.os, h.info = opened, info
	return opened, nil
}

// check sees to it that the file is whole, ours, and of a format that we know.
func (h *handle) check() error {
	var ready bool
	err := h.guard(h.db.View, func(tx *bbolt.Tx) (err error) {
		if need := tx.Size(); h.info.Size() > 0 && h.info.Size() < need {
			return fmt.Errorf("%w (it has %d bytes and should have %d or more)", errDamaged, h.info.Size(), need)
		}
		ready, err = checkFormat(tx)
		return err
	})
	if err != nil || ready {
		return err
	}
	return h.guard(h.db.Update, prepare)
}

// syncDir puts the name of a new file on the disk. Some systems cannot, and
// keep the name all the same.
func syncDir(path string) {
	if dir, err := os.Open(path); err == nil {
		_ = dir.Sync()
		_ = dir.Close()
	}
}

// guard runs a transaction and makes errors of panics.
func (h *handle) guard(transaction func(func(*bbolt.Tx) error) error, do func(*bbolt.Tx) error) (err error) {
	var tx *bbolt.Tx
	defer func() {
		p := recover()
		switch {
		case p == nil:
			return
		case tx == nil: // it broke off with locks held that nobody can open
			if h.state.Swap(broken) != broken {
				close(h.dead)
			}
		case tx.DB() != nil: // it could not be rolled back
			h.state.CompareAndSwap(works, readOnly)
		}
		err = damage(p)
	}()
	return transaction(func(t *bbolt.Tx) error {
		tx = t
		return do(t)
	})
}

// damage makes an error of a panic, and takes no text over that could hold a key.
func damage(p any) error {
	switch p := p.(type) {
	case runtime.Error:
		return fmt.Errorf("%w (%w)", errDamaged, p)
	case string:
		if strings.HasPrefix(p, "assertion failed: ") {
			return fmt.Errorf("%w (%s)", errDamaged, p)
		}
	}
	return errDamaged
}

// view runs a reading transaction. What do sets is not to be used after an error.
func (h *handle) view(ctx context.Context, do func(*tables) error) error {
	select {
	case h.readers <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	done := make(chan error, 1)
	go func() {
		defer func() { <-h.readers }()
		debug.SetPanicOnFault(true)
		done <- h.guard(h.db.View, func(tx *bbolt.Tx) error {
			t, err := tablesOf(tx)
			if err != nil {
				return err
			}
			return do(t)
		})
	}()
	select {
	case err := <-done:
		return h.mind(err)
	case <-h.dead:
		return h.mind(errDamaged)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// update has a change made and returns when it is on the disk. If the job's
// context ends before, it may be made or not.
func (h *handle) update(j *job) error {
	j.done = make(chan error, 1)
	select {
	case h.jobs <- j:
	case <-h.quit:
		return errClosed
	case <-j.ctx.Done():
		return j.ctx.Err()
	}
	select {
	case err := <-j.done:
		return err
	case <-h.dead:
		return h.mind(errDamaged)
	case <-j.ctx.Done():
		return j.ctx.Err()
	}
}

// mind gives up the file after errors that do not go away by themselves.
func (h *handle) mind(err error) error {
	switch {
	case h.state.Load() == broken:
		h.file.drop(h, err)
	case errors.Is(err, berrors.ErrInvalidMapping): // it grew, and the system had no memory
		h.file.drop(h, nil)
	}
	return err
}

// close ends the writer and the sweeper and closes the file. If it is broken,
// or the disk hangs, the file is let go as well as can be.
func (h *handle) close() error {
	close(h.quit)
	done := make(chan error, 1)
	go func() {
		h.wg.Wait()
		if h.state.Load() == works {
			done <- h.db.Close()
		}
	}()
	if h.state.Load() == works {
		select {
		case err := <-done:
			return err
		case <-time.After(closeTimeout):
		}
	}
	return unlock(h.os)
}
