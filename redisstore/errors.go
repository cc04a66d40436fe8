package redisstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"

	"github.com/redis/rueidis"
)

// fault is why Redis gave no answer that can be used. Its text is made here:
// the servers' own may hold keys and values.
type fault struct {
	text  string
	code  string // the first word of an error that Redis sent, such as OOM
	cause error  // of package context, if ctx ended
	cut   bool   // the connection broke: what was asked may have been done
}

func (f *fault) Error() string { return "redis: " + f.text }

func (f *fault) Unwrap() error { return f.cause }

// wasCut says whether a call may or may not have had its effect.
func wasCut(err error) bool {
	f, ok := errors.AsType[*fault](err)
	return ok && f.cut
}

// hasCode says whether Redis answered with an error of this kind.
func hasCode(err error, code string) bool {
	f, ok := errors.AsType[*fault](err)
	return ok && f.code == code
}

// noAnswer tells of a ctx that ended.
func noAnswer(cause error) error {
	if errors.Is(cause, context.Canceled) {
		return &fault{text: "the call was given up", cause: cause}
	}
	return &fault{text: "no answer in time", cause: context.DeadlineExceeded}
}

// explain turns rueidis' error into one that can be shown, and lets go of a
// connection that only a new one can mend.
func (c *client) explain(redis rueidis.Client, err error) error {
	if err == nil {
		return nil
	}
	why := refused(err)
	if hasCode(why, "NOAUTH") || hasCode(why, "WRONGPASS") || errors.Is(err, rueidis.ErrNoCache) {
		c.drop(redis, why)
	}
	return why
}

// refused words an error of rueidis.
func refused(err error) error {
	if answer, ok := rueidis.IsRedisErr(err); ok {
		return answered(answer.Error())
	}
	netErr, isNet := errors.AsType[net.Error](err)
	switch {
	case errors.Is(err, errUnreadable):
		return &fault{text: err.Error()}
	case rueidis.IsRedisNil(err):
		return &fault{text: "the sentinels know no master of that name; check the line sentinel"}
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return noAnswer(err)
	case errors.Is(err, rueidis.ErrNoCache):
		return &fault{text: "CLIENT TRACKING is refused all of a sudden"}
	case errors.Is(err, rueidis.ErrNoSlot):
		return &fault{text: "no node of the cluster serves the key's slot; see CLUSTER INFO"}
	case isNet && netErr.Timeout():
		return &fault{text: "no answer in time: " + err.Error(), cut: true}
	default: // of package net, crypto/tls and io: addresses, but no secrets
		return &fault{text: "no connection: " + err.Error(), cut: true}
	}
}

// answers says what to mend when an error of Redis holds a text. The first
// that fits counts.
var answers = []struct{ holds, mend string }{
	{"WRONGPASS", "user name or password is wrong; check username and password"},
	{"NOAUTH", "it asks for a password; add the line password"},
	{"without any password configured", "it has no password for its user default; remove the line password, or name the user"},
	{"NOPERM", "the ACL user lacks a right%s; give it those that the documentation of the store lists"},
	{"permissions", "the ACL user lacks a right%s; give it those that the documentation of the store lists"},
	{"The user executing the script can't", "the ACL user lacks a right%s; give it those that the documentation of the store lists"},
	{"OOM", "its memory is full and it rightly evicts nothing; raise maxmemory"},
	{"READONLY", "the server is a replica and takes no writes; give the URL of the master, or use sentinel or a cluster"},
	{"LOADING", "it is still loading its data; it answers when it has done so"},
	{"CLUSTERDOWN", "the cluster is down, as some slots have no master; see CLUSTER INFO"},
	{"MASTERDOWN", "the replica has lost its master; see INFO replication"},
	{"NOREPLICAS", "too few replicas are connected for min-replicas-to-write"},
	{"MISCONF", "it cannot save to disk and so takes no writes; see its log"},
	{"BUSY", "another script keeps it busy; see SLOWLOG"},
	{"TRYAGAIN", "the slot is being moved; it answers when that is done"},
	{"WRONGTYPE", "something else keeps its data under our keys; choose another prefix"},
	{"cluster support disabled", "the servers are no cluster; give one URL, or name the master with sentinel"},
	{"SELECT is not allowed", "a cluster has only database 0; remove the number of the database"},
	{"DB index is out of range", "it has no database of that number; see its setting databases"},
	{"max number of clients", "it has no connection to spare; raise maxclients"},
	{"unknown command 'SENTINEL'", "the servers are no sentinels; give those of sentinels, or remove the line sentinel"},
	{"unknown command", "it lacks a command that the store needs; Redis 6.2 is the oldest that will do"},
	{"No such master", "the sentinels know no master of that name; check the line sentinel"},
}

var (
	codePattern    = regexp.MustCompile(`^[A-Z]+\b`)
	commandPattern = regexp.MustCompile(`'[a-z]+(\|[a-z-]+)?' command`)
)

// answered words an error that Redis sent.
func answered(text string) error {
	f := &fault{code: codePattern.FindString(text)}
	for _, known := range answers {
		if !strings.Contains(text, known.holds) {
			continue
		}
		f.text = known.mend
		if strings.Contains(f.text, "%s") {
			f.text = fmt.Sprintf(f.text, missing(text))
		}
		return f
	}
	f.text = "it answers with an error of the kind " + cmp.Or(f.code, "ERR")
	return f
}

// missing names the command that an ACL user may not use, if Redis tells.
func missing(text string) string {
	if command := commandPattern.FindString(text); command != "" {
		return ", that to the " + command
	}
	return ""
}
