//go:build !unix || solaris || aix

package filestore

import "os"

// unlock gives up the lock of a file that bbolt cannot close. On these systems
// the lock goes with the file.
func unlock(f *os.File) error { return f.Close() }
