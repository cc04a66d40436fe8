package storetest

import "time"

// LosePatience shortens the wait for what a broken store will never do.
func LosePatience() { patience, late = time.Second/2, time.Second/2 }
