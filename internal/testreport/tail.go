package main

// tail holds the first and the last bytes that were added, and drops the middle of what
// is too long. The zero value is empty and ready; a nil tail reads as empty.
type tail struct {
	head, end []byte
	cut       bool
}

func (t *tail) add(s string) {
	if room := keep - len(t.head); room > 0 {
		n := min(room, len(s))
		t.head = append(t.head, s[:n]...)
		s = s[n:]
	}
	t.end = append(t.end, s...)
	if len(t.end) > 2*keep { // trim seldom, not at every line
		t.end = append(t.end[:0], t.end[len(t.end)-keep:]...)
		t.cut = true
	}
}

func (t *tail) String() string {
	switch {
	case t == nil:
		return ""
	case t.cut:
		return string(t.head) + "\n[…]\n" + string(t.end)
	default:
		return string(t.head) + string(t.end)
	}
}
