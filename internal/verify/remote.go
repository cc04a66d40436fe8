package verify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

const (
	refreshEvery = 10 * time.Minute // age at which use of a keyset fetches the next
	fetchEvery   = 15 * time.Second // least average distance of two fetches
	keepFor      = 24 * time.Hour   // how long a keyset outlives its endpoint

	fetchTimeout = 3 * time.Second
	firstWait    = 3 * time.Second // what a request waits without any keys,
	unknownWait  = time.Second     // and for a key that the set does not have

	maxKeyset = 512 << 10 // bytes
)

// remoteKeys is the keyset published at a URL. Nothing runs while nobody
// asks: use starts the fetches, each beside the request, never two at once,
// and no more than one per fetchEvery (two in a burst) however many unknown
// key ids arrive. The last good set serves through an outage for keepFor.
type remoteKeys struct {
	url     string
	client  *http.Client
	algs    []string
	backup  Backup // nil: none
	onError func(error)
	changed func(*keyset)

	current atomic.Pointer[keyset] // the last good set; nil before the first

	ctx     context.Context // ends with close
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu       sync.Mutex
	last     *fetch    // running or over; nil before the first
	allowed  time.Time // when the limit is back to its full burst
	ownsConn bool
}

// fetch is one question to the endpoint.
type fetch struct {
	done chan struct{} // closed when it is over
	err  error         // outcome; read after done only
}

func newRemoteKeys(c Config, algs []string, changed func(*keyset)) *remoteKeys {
	r := &remoteKeys{url: c.JWKSURL, algs: algs, backup: c.Backup, onError: c.OnError, changed: changed}
	client := http.Client{}
	if r.ownsConn = c.Client == nil; r.ownsConn {
		client.Transport = newTransport()
	} else {
		client = *c.Client
	}
	// A redirect leads away from the configured origin: any answer but 200 is
	// a failed fetch.
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	r.client = &client
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r
}

func newTransport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxResponseHeaderBytes = 64 << 10
	t.DisableCompression = true // a small answer cannot become a large one
	t.MaxIdleConns = 1
	return t
}

func (r *remoteKeys) close() {
	r.mu.Lock()
	r.cancel()
	r.mu.Unlock()
	r.running.Wait()
	if r.ownsConn {
		r.client.CloseIdleConnections()
	}
}

// find returns the keys for a token. It waits for the endpoint only if the
// set at hand does not know the key; if it still does not when the endpoint
// has answered, there is none.
func (r *remoteKeys) find(ctx context.Context, alg, kid string) ([]any, error) {
	wait := firstWait
	if set := r.present(); set != nil {
		values, known := set.lookup(alg, kid)
		if known && time.Since(set.fetched) > refreshEvery {
			r.fetch()
		}
		if known {
			return values, nil
		}
		wait = unknownWait
	}
	err := r.await(ctx, wait)
	set := r.present()
	if set == nil {
		return nil, unavailable(err)
	}
	values, known := set.lookup(alg, kid)
	if !known && err != nil {
		return nil, unavailable(err)
	}
	return values, nil
}

func unavailable(err error) error {
	if err == nil {
		return ErrKeysUnavailable
	}
	return fmt.Errorf("%w: %w", ErrKeysUnavailable, err)
}

// present is the last good set, unless it is too old to be believed.
func (r *remoteKeys) present() *keyset {
	set := r.current.Load()
	if set == nil || time.Since(set.fetched) > keepFor {
		return nil
	}
	return set
}

// await waits for the outcome of the newest fetch.
func (r *remoteKeys) await(ctx context.Context, wait time.Duration) error {
	f := r.fetch()
	if f == nil {
		return errors.New("verifier is closed")
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return fmt.Errorf("waiting for the keyset: %w", ctx.Err())
	}
}

// fetch returns the newest fetch: one that is under way, a new one if the
// limit allows it, or else the last one, which is over. It belongs to nobody,
// so that a customer who leaves does not end it for the others.
func (r *remoteKeys) fetch() *fetch {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if r.ctx.Err() != nil || r.last != nil && !r.last.over() || r.allowed.Sub(now) > fetchEvery {
		return r.last
	}
	if r.allowed.Before(now) {
		r.allowed = now
	}
	r.allowed = r.allowed.Add(fetchEvery)

	f := &fetch{done: make(chan struct{})}
	r.last = f
	r.running.Go(func() {
		var body []byte
		body, f.err = r.update()
		close(f.done)
		r.save(body) // nobody waits for that
		if f.err != nil && r.onError != nil && r.ctx.Err() == nil {
			r.onError(f.err)
		}
	})
	return f
}

func (f *fetch) over() bool {
	select {
	case <-f.done:
		return true
	default:
		return false
	}
}

// update replaces the keyset by the endpoint's present one, and returns it as
// published. If that cannot be had, and nothing is at hand, the backup has to do.
func (r *remoteKeys) update() ([]byte, error) {
	body, err := r.get()
	if err != nil {
		err = fmt.Errorf("fetching keyset: %w", err)
	} else if set, broken := parseKeyset(body, r.algs); broken != nil {
		err = fmt.Errorf("reading keyset: %w", broken)
	} else {
		set.fetched = time.Now()
		r.adopt(set)
		return body, nil
	}
	if r.current.Load() == nil {
		r.restore()
	}
	return nil, err
}

// adopt makes set the one to judge by. First the set, then its stamp: a verdict
// may carry an older stamp than the keys it was found with, never a newer one.
// The same keys fetched again have the same stamp.
func (r *remoteKeys) adopt(set *keyset) {
	r.current.Store(set)
	r.changed(set)
}

// backedUp is what a Backup holds.
type backedUp struct {
	Fetched time.Time       `json:"fetched"`
	Set     json.RawMessage `json:"set"`
}

func (r *remoteKeys) save(set []byte) {
	if r.backup == nil || set == nil {
		return
	}
	text, err := json.Marshal(backedUp{time.Now(), set})
	if err == nil {
		ctx, cancel := context.WithTimeout(r.ctx, fetchTimeout)
		defer cancel()
		err = r.backup.Store(ctx, text)
	}
	if err != nil && r.onError != nil {
		r.onError(fmt.Errorf("backing up keyset: %w", err))
	}
}

// restore takes the keyset of an earlier process, with its age.
func (r *remoteKeys) restore() {
	if r.backup == nil {
		return
	}
	ctx, cancel := context.WithTimeout(r.ctx, fetchTimeout)
	defer cancel()
	var b backedUp
	text, err := r.backup.Load(ctx)
	if err != nil || json.Unmarshal(text, &b) != nil || b.Fetched.After(time.Now()) {
		return
	}
	if set, err := parseKeyset(b.Set, r.algs); err == nil {
		set.fetched = b.Fetched
		r.adopt(set)
	}
}

func (r *remoteKeys) get() ([]byte, error) {
	ctx, cancel := context.WithTimeout(r.ctx, fetchTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url, nil)
	if err != nil {
		return nil, errors.New("making the request") // its text would repeat the URL
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	resp, err := r.client.Do(req)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err // without the URL, whose query may hold a key
		}
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d", resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxKeyset+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxKeyset {
		return nil, errors.New("answer is longer than 512 KiB")
	}
	return body, nil
}
