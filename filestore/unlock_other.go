//go:build !unix || solaris || aix

package filestore

import "os"

// unlock does nothing: these systems give up a lock with the file.
func unlock(*os.File) {}
