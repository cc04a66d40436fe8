//go:build unix && !solaris && !aix

package filestore

import (
	"os"
	"syscall"
)

// unlock gives up bbolt's lock of a file that bbolt cannot close: the memory it
// has mapped would hold the lock even after the file has been closed.
func unlock(f *os.File) {
	_ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN) // nothing else is left to try
}
