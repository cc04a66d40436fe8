// Package storetest tests that a session store keeps the contract of
// [kiboauth.Store]. A store's own test calls Run:
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) kiboauth.Store { return openMine(t) })
//	}
//
// Each test makes keys and customers of its own, and takes its sessions away
// again, so that all of them may share one server, also with others.
package storetest

import (
	"testing"

	kiboauth "github.com/kiboauth/caddy-kibo-auth"
)

// contract is what each store must keep.
var contract = []struct {
	name string
	test func(t *testing.T, s kiboauth.Store)
}{
	{"create every field is kept", everyFieldIsKept},
	{"create sealed is kept byte for byte", sealedIsKept},
	{"create twice", createTwice},
	{"create expired", createExpired},
	{"load unknown", loadUnknown},
	{"replace version", replaceVersion},
	{"replace every field is kept", replaceKeepsFields},
	{"replace unknown or ended", replaceEnded},
	{"replace later seen counts", replaceLaterSeen},
	{"replace touched meanwhile", replaceTouchedMeanwhile},
	{"replace expired ends the session", replaceExpired},
	{"replace expired but too late", replaceExpiredConflict},
	{"touch moves seen forward only", touchForward},
	{"touch leaves the rest alone", touchLeavesRest},
	{"touch unknown or ended", touchEnded},
	{"delete ends", deleteEnds},
	{"list one customer", listCustomer},
	{"list customers with special names", listSpecialNames},
	{"list fields", listFields},
	{"list all", listAll},
	{"list many", listMany},
	{"list ended", listEnded},
	{"list consumer stops", listStops},
	{"list deleting while listing", listDeleting},
	{"list changes while listing", listChanging},
	{"expiry ends", expiryEnds},
	{"expiry idle", expiryIdle},
	{"expiry prolonged by touch", expiryTouched},
	{"expiry ends in spite of touch", expiryEndsTouched},
	{"expiry shortened by replace", expiryShortened},
	{"expiry prolonged by replace", expiryReplaced},
	{"concurrent create", concurrentCreate},
	{"concurrent replace", concurrentReplace},
	{"concurrent touch", concurrentTouch},
	{"concurrent replace and touch", concurrentReplaceTouch},
	{"concurrent nothing survives delete", concurrentDelete},
	{"context cancelled", cancelled},
	{"context cancelled meanwhile", cancelledMeanwhile},
	{"context deadline", pastDeadline},
	{"random calls", randomly},
}

// Run tests that a store keeps the contract of [kiboauth.Store], and those of
// [kiboauth.Cacher] and [kiboauth.Locker] if it is one. open returns a store
// that is ready for use; it is called once for each test, registers with
// t.Cleanup what is to be undone, and may return the same store again. The
// store takes 1000 sessions at least, and its clock agrees with the test's to
// some 100 ms.
//
// The tests wait for about three seconds, and make some 6000 writes and 12000
// loads. rapid's flags set the size of the random test, which makes most of the
// loads, as in -rapid.checks=20.
func Run(t *testing.T, open func(t *testing.T) kiboauth.Store) {
	for _, c := range contract {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
	for _, c := range cacherContract {
		t.Run("cacher "+c.name, func(t *testing.T) {
			s := open(t)
			if cacher, ok := s.(kiboauth.Cacher); ok {
				c.test(t, s, cacher)
			}
		})
	}
	for _, c := range lockerContract {
		t.Run("locker "+c.name, func(t *testing.T) {
			if locker, ok := open(t).(kiboauth.Locker); ok {
				c.test(t, locker)
			}
		})
	}
}
