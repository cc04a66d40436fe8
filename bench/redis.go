package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"time"
)

// redis is a server that keeps nothing on disk. It runs beside the load, as a
// Redis on another machine would not take the gateway's core either.
type redis struct {
	addr   string // host:port
	cmd    *exec.Cmd
	folder string
}

// startRedis starts a server that nobody else uses. The caller must stop it,
// also when there is an error.
func startRedis(ctx context.Context) (*redis, error) {
	r := new(redis)
	err := freeAddresses(&r.addr)
	if err != nil {
		return r, err
	}
	if r.folder, err = os.MkdirTemp("", "kibo-bench-"); err != nil {
		return r, err
	}
	r.cmd = exec.Command("redis-server", "--bind", "127.0.0.1", "--port", port(r.addr),
		"--dir", r.folder, "--save", "", "--appendonly", "no", "--loglevel", "warning")
	r.cmd.Stderr = os.Stderr
	if err := r.cmd.Start(); err != nil {
		return r, fmt.Errorf("starting Redis (Debian: apt-get install redis-server): %w", err)
	}
	return r, r.answers(ctx)
}

// answers waits until the server says PONG.
func (r *redis) answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !r.pong() {
		select {
		case <-ctx.Done():
			return errors.New("the Redis server does not answer")
		case <-tick.C:
		}
	}
	return nil
}

func (r *redis) pong() bool {
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		return false
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	var answer [5]byte
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return false
	}
	n, err := conn.Read(answer[:])
	return err == nil && string(answer[:n]) == "+PONG"
}

// stop ends the server and leaves nothing on disk.
func (r *redis) stop() {
	if r.cmd != nil && r.cmd.Process != nil {
		_ = r.cmd.Process.Kill()
		_ = r.cmd.Wait() // it was killed: that is meant
	}
	if r.folder != "" {
		_ = os.RemoveAll(r.folder)
	}
}
