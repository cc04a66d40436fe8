package redistest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// startWithin is how long a server may take until it accepts connections: a
// machine that compiles beside it is slow.
const startWithin = 20 * time.Second

// errPortTaken: somebody else listens on the port by now.
var errPortTaken = errors.New("port is taken")

// process is one server process and its log, which outlives restarts.
type process struct {
	t     testing.TB
	args  []string // program and arguments
	log   string   // file that takes what the process prints
	ready string   // what it prints when it accepts connections

	mu   sync.Mutex
	cmd  *exec.Cmd     // nil: never started
	done chan struct{} // closed when cmd has ended
}

// start runs the process until it is ready. errPortTaken: try another port.
func (p *process) start() error {
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	at, err := log.Stat()
	if err != nil {
		return err
	}
	cmd := exec.Command(p.args[0], p.args[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	done, err := spawn(cmd)
	if err != nil {
		return fmt.Errorf("%w (Debian: apt-get install redis-server redis-tools)", err)
	}
	p.mu.Lock()
	p.cmd, p.done = cmd, done
	p.mu.Unlock()
	return p.awaitReady(at.Size())
}

// spawn starts a command that dies with this process, even if that is killed.
// The kernel ties the child to the thread that started it, so that thread
// waits for it.
func spawn(cmd *exec.Cmd) (done chan struct{}, err error) {
	dieWithParent(cmd)
	started, done := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer close(done)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // it was killed, mostly
		}
	}()
	return done, <-started
}

// awaitReady reads the log from offset on. A port that answers proves little:
// it may be the server of another test.
func (p *process) awaitReady(offset int64) error {
	deadline := time.After(startWithin)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		ended := p.ended() // before reading, so that nothing printed is missed
		text := p.logFrom(offset)
		switch {
		case strings.Contains(text, "Failed listening on port"):
			p.kill()
			return errPortTaken
		case strings.Contains(text, p.ready):
			return nil
		case ended:
			return errors.New("server ended at once")
		}
		select {
		case <-tick.C:
		case <-deadline:
			p.kill()
			return fmt.Errorf("server was not ready after %s", startWithin)
		}
	}
}

// kill ends the process at once, as kill -9 does, and waits for its end.
func (p *process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil || p.cmd.Process == nil {
		return
	}
	_ = p.cmd.Process.Kill() // it may have ended by itself
	<-p.done
}

func (p *process) ended() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func (p *process) logFrom(offset int64) string {
	text, err := os.ReadFile(p.log)
	if err != nil || int64(len(text)) < offset {
		return ""
	}
	return string(text[offset:])
}

// logEnd returns the last lines of the log.
func (p *process) logEnd() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-20):], []byte("\n")))
}

// cleanUp ends the process and shows its log if the test failed.
func (p *process) cleanUp() {
	p.kill()
	if p.t.Failed() {
		p.t.Logf("end of %s:\n%s", p.log, p.logEnd())
	}
}
