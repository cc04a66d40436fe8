package kiboauth

import (
	"errors"
	"net/http"
	"os"
	"time"

	"github.com/kiboauth/caddy-kibo-auth/internal/loginform"
)

// loginBodyTime is how long the body of a login post may take. It has 64 KiB
// at most, and a client that sends it drop by drop holds memory meanwhile;
// Caddy itself sets no limit to bodies by default.
const loginBodyTime = 10 * time.Second

// errSlowBody: the body of a login post did not come in time.
var errSlowBody = errors.New("login post takes too long to arrive")

// readLogin reads a login post as loginform.Read does, but for no longer than
// bodyTime. What is none goes on without that limit.
func (h *Handler) readLogin(w http.ResponseWriter, r *http.Request, fields loginform.Fields) (*loginform.Form, bool, error) {
	control := http.NewResponseController(w)
	limited := control.SetReadDeadline(time.Now().Add(h.bodyTime)) == nil
	form, ok, err := loginform.Read(r, fields)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, false, errSlowBody // and the deadline stays: nobody waits for the rest
	}
	if limited {
		_ = control.SetReadDeadline(serverDeadline(r)) // a connection that is gone shows at the next read
	}
	return form, ok, err
}

// serverDeadline is until when the server itself would read a request. Zero:
// without end.
func serverDeadline(r *http.Request) time.Time {
	server, ok := r.Context().Value(http.ServerContextKey).(*http.Server)
	if !ok || server.ReadTimeout <= 0 {
		return time.Time{}
	}
	return time.Now().Add(server.ReadTimeout)
}
