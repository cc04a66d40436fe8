package filestore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	kiboauth "github.com/kiboauth/caddy-kibo-auth"
)

// retryEvery is how long after a failed opening the next one may be tried.
const retryEvery = time.Second

// errClosed: the configuration that used the file is gone.
var errClosed = errors.New("the session file is closed")

// file is one session file of this process, shared by all who use it, whether
// it is open or not.
type file struct {
	path  string
	open  atomic.Pointer[handle] // nil while it is not open
	limit atomic.Int64

	mu      sync.Mutex
	closed  bool
	opening *attempt    // under way; nil if there is none
	failed  time.Time   // when the last attempt failed, or the file was given up
	err     error       // why; nil if it did not
	damaged os.FileInfo // the damaged file as it was then; nil if it was not damaged
	limits  map[*Store]int
	watch   map[*func(*kiboauth.Key)]struct{}
}

// An attempt to open the file. Its result stands once done is closed.
type attempt struct {
	done chan struct{}
	h    *handle
	err  error
}

func newFile(path string) *file {
	return &file{path: path, limits: map[*Store]int{}, watch: map[*func(*kiboauth.Key)]struct{}{}}
}

// Destruct implements caddy.Destructor.
func (f *file) Destruct() error {
	f.mu.Lock()
	f.closed = true
	h := f.open.Swap(nil)
	f.mu.Unlock()
	if h == nil {
		return nil
	}
	return f.wrap(h.close())
}

// limitTo notes what one site asks for; 0 takes its wish back.
func (f *file) limitTo(who *Store, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.limits[who] = n
	if n == 0 {
		delete(f.limits, who)
	}
	most := 0
	for _, n := range f.limits {
		most = max(most, n)
	}
	f.limit.Store(int64(most))
}

// wrap says which file an error is about. Errors that are answers stay as they are.
func (f *file) wrap(err error) error {
	if err == nil || errors.Is(err, kiboauth.ErrNoSession) || errors.Is(err, kiboauth.ErrConflict) || errors.Is(err, kiboauth.ErrStoreFull) {
		return err
	}
	return fmt.Errorf("session file %s: %w", f.path, err)
}

// handle returns the open file. It opens it if need be, and if the last attempt
// is long enough ago; many who ask wait for one attempt.
func (f *file) handle(ctx context.Context) (*handle, error) {
	if h := f.open.Load(); h != nil {
		return h, nil
	}
	a := f.attempt()
	select {
	case <-a.done:
		return a.h, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// attempt joins an attempt to open the file, or starts one if it is time to.
func (f *file) attempt() *attempt {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.opening != nil {
		return f.opening
	}
	a := &attempt{done: make(chan struct{}), h: f.open.Load()}
	switch {
	case a.h != nil: // somebody else was faster
	case f.closed:
		a.err = errClosed
	case f.err != nil && time.Since(f.failed) < retryEvery:
		a.err = f.err
	default:
		f.opening = a
		go f.try(a, f.damaged, f.err)
		return a
	}
	close(a.done)
	return a
}

// try opens the file. One that was damaged is left alone until it has been
// changed or replaced: each attempt would cost memory that cannot be given back.
func (f *file) try(a *attempt, damaged os.FileInfo, before error) {
	if a.err = before; damaged == nil || differs(f.path, damaged) {
		a.h, a.err = openHandle(f)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case a.err != nil:
		f.fail(a.err)
	case f.closed:
		go func(h *handle) { _ = h.close() }(a.h)
		a.h, a.err = nil, errClosed
	default:
		f.err, f.damaged = nil, nil
		f.open.Store(a.h)
	}
	f.opening = nil
	close(a.done)
}

// differs says whether a file is no longer what it was.
func differs(path string, was os.FileInfo) bool {
	now, err := os.Stat(path)
	return err != nil || !os.SameFile(now, was) || now.Size() != was.Size() || !now.ModTime().Equal(was.ModTime())
}

// fail notes that the file cannot be used. The caller holds the lock.
func (f *file) fail(err error) {
	f.failed, f.err, f.damaged = time.Now(), err, nil
	if errors.Is(err, errDamaged) {
		f.damaged, _ = os.Stat(f.path)
	}
}

// drop gives up an open file: the next call opens what is there then.
func (f *file) drop(h *handle, err error) {
	f.mu.Lock()
	dropped := f.open.CompareAndSwap(h, nil)
	if dropped && err != nil {
		f.fail(err)
	}
	f.mu.Unlock()
	if dropped {
		go func() { _ = h.close() }() // who calls may itself be in h
		f.tell(nil)
	}
}

// Watch implements kiboauth.Cacher. All changes go through this process.
func (f *file) Watch(changed func(*kiboauth.Key)) (stop func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.watch[&changed] = struct{}{}
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.watch, &changed)
	}
}

// CacheFor implements kiboauth.Cacher. A file that cannot be read is no reason
// to go on with old records: it is on this machine, and somebody must look at it.
func (f *file) CacheFor() (fresh, stale time.Duration) { return time.Minute, 0 }

// tell tells all who watch of changed records; nil: any may have changed.
func (f *file) tell(keys []kiboauth.Key) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for changed := range f.watch {
		if keys == nil {
			(*changed)(nil)
		}
		for i := range keys {
			(*changed)(&keys[i])
		}
	}
}
