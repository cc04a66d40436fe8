package main

import "net/http"

// loginForm is the shop's own sign-in form, which is shown when the gateway
// is set to "page upstream". The form asks for what it always has; only the
// label of its second field has changed. Its POST never arrives here: the
// gateway takes it, and sends the browser back with the outcome.
type loginForm struct {
	ReturnTo string // where the customer wanted to go
	Notice   string // what to say above the form, "" for nothing
	Problem  bool   // the notice is bad news
	CodeSent bool   // a code is on its way: that field comes next
}

// The outcomes that the gateway puts into the query as "kibo_auth".
var loginNotices = map[string]loginForm{
	"code_sent": {
		Notice:   "If we know that address, a code is on its way to it. Enter it below.",
		CodeSent: true,
	},
	"second_step": {
		Notice:   "One more step: enter the second code that we have just e-mailed.",
		CodeSent: true,
	},
	"rejected": {
		Notice:   "That did not work. Check the address and our newest e-mail, or leave the code empty for a new one.",
		Problem:  true,
		CodeSent: true,
	},
	"limited": {
		Notice:   "That was a lot of tries. Please wait a little, then try again.",
		Problem:  true,
		CodeSent: true,
	},
	"unavailable": {
		Notice:   "We can not sign you in right now. Your code is not lost; please try again in a moment.",
		Problem:  true,
		CodeSent: true,
	},
}

func (s *shop) login(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	v := s.newView(r, "Sign in")
	v.Login = loginNotices[query.Get("kibo_auth")]
	v.Login.ReturnTo = query.Get("returnUrl")
	if v.Login.ReturnTo == "" {
		v.Login.ReturnTo = "/account"
	}
	w.Header().Set("Referrer-Policy", "same-origin")
	s.render(w, http.StatusOK, "login", v)
}
