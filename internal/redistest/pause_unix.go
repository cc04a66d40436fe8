//go:build unix

package redistest

import "syscall"

// Pause stops the server where it stands, as a machine that hangs: the kernel
// still accepts connections and takes bytes, and nothing answers.
func (s *Server) Pause() {
	s.t.Helper()
	s.signal(syscall.SIGSTOP)
}

// Resume lets a paused server go on. It answers what it was sent meanwhile.
func (s *Server) Resume() {
	s.t.Helper()
	s.signal(syscall.SIGCONT)
}

func (s *Server) signal(sig syscall.Signal) {
	s.t.Helper()
	s.proc.mu.Lock()
	defer s.proc.mu.Unlock()
	if err := s.proc.cmd.Process.Signal(sig); err != nil {
		s.t.Fatalf("sending %s to the server at %s: %v", sig, s.Addr(), err)
	}
}
