package kiboauth

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"go.uber.org/zap"
)

// What an upstream may say of the session of the customer whom it answers.
const (
	controlEnd     = "end"     // this session is over
	controlEndAll  = "end-all" // so are all others of the customer
	controlRefresh = "refresh" // the customer's data have changed
)

// dropControl takes the upstream's word on the session out of an answer, out of
// its trailers too, and returns it.
func (p *passage) dropControl() []string {
	name := p.h.Session.ControlHeader
	if name == "" {
		return nil
	}
	header := p.Header()
	said := header[name]
	delete(header, name)
	delete(header, http.TrailerPrefix+name)
	return said
}

// obey does what the upstream says of the session, before the answer that says
// it goes out.
func (p *passage) obey(said []string) {
	if len(said) == 0 {
		return
	}
	words, known := controls(said)
	if !known {
		p.h.log.Warn("the shop says something else of a session than end, end-all or refresh", zap.String("header", p.h.Session.ControlHeader))
	}
	switch {
	case words[controlEndAll], words[controlEnd]:
		p.endAtWord(words[controlEndAll])
	case words[controlRefresh] && p.id.value != "":
		go p.h.refreshNow(p.id, p.session.AccountID())
	}
}

// controls reads values of the control header: words in any case, divided by commas.
func controls(said []string) (words map[string]bool, known bool) {
	words, known = map[string]bool{}, true
	for word := range strings.SplitSeq(strings.Join(said, ","), ",") {
		switch word = strings.ToLower(strings.Trim(word, " \t")); word {
		case controlEnd, controlEndAll, controlRefresh:
			words[word] = true
		case "":
		default:
			known = false
		}
	}
	return words, known
}

// endAtWord ends this session, or all of the customer's. What the store cannot
// end goes on, but not in this browser.
func (p *passage) endAtWord(all bool) {
	h := p.h
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.ctx), besideTimeout)
	defer cancel()
	var errs []error
	if p.id.value != "" {
		h.shared.watch.spare(p) // this answer is the last one
		errs = append(errs, h.sessions.end(ctx, p.id.key))
	}
	if all {
		_, err := h.sessions.endAll(ctx, p.session.customerKey(), func(Listed) bool { return true })
		errs = append(errs, err)
	}
	account := zap.String("account_id", p.session.AccountID())
	if err := errors.Join(errs...); err != nil {
		h.log.Error("ending sessions at the shop's word", account, zap.Bool("all", all), zap.Error(err))
	} else {
		h.log.Info("signed out at the shop's word", account, zap.Bool("all", all))
	}
	p.Header()["Cache-Control"] = []string{"private, no-store"}
	dropTargeted(p.Header())
	h.forgetSession(p)
}

// refreshNow fetches a new ticket although the old one is good. A flight that
// was under way may have asked Kibo before the shop spoke; the next one has not.
func (h *Handler) refreshNow(id SessionID, account string) {
	var err error
	for mine, flights := false, 0; !mine && flights < 2; flights++ {
		done := <-h.shared.refreshes.DoChan(string(id.key[:]), detached(h, func(ctx context.Context) (*Record, error) {
			mine = true
			r, err := h.sessions.ask(ctx, id)
			if err != nil || r.open.header(fieldRefreshToken) == "" {
				return r, storeError("loading a session", err)
			}
			return h.renew(ctx, id, r.open)
		}))
		err = done.Err
	}
	if err != nil && !errors.Is(err, ErrNoSession) && !errors.Is(err, errTryLater) { // those are reported elsewhere
		h.log.Error("refreshing a session at the shop's word", zap.String("account_id", account), zap.Error(err))
	}
}
