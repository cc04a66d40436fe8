//go:build unix && !solaris && !aix

package filestore

import (
	"os"
	"syscall"
)

// unlock gives up bbolt's lock of a file that bbolt cannot close. The file stays
// open: something may still be at work in it, and the memory that is mapped from
// it would hold the lock anyway.
func unlock(f *os.File) error {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_UN)
}
