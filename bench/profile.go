package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

// profileSeconds is how long a gateway is watched.
const profileSeconds = 8

// profile writes a CPU profile of every target under load, to be read with
// "go tool pprof".
func (b *bench) profile(ctx context.Context, folder string, s setting) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	for _, t := range b.targets {
		name := strings.Map(letters, t.name+" "+strings.Fields(s.name)[0]) + ".prof"
		if err := t.profile(ctx, filepath.Join(folder, name)); err != nil {
			return fmt.Errorf("profiling %s: %w", t.name, err)
		}
	}
	return nil
}

// letters keeps what may stand in a file name.
func letters(r rune) rune {
	if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
		return r
	}
	return '_'
}

func (t *target) profile(ctx context.Context, file string) error {
	done := make(chan error, 1)
	go func() { done <- t.fetchProfile(ctx, file) }()
	for {
		select {
		case err := <-done:
			return err
		default:
		}
		if _, err := t.slice(sliceTime); err != nil {
			return err
		}
	}
}

func (t *target) fetchProfile(ctx context.Context, file string) error {
	url := fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", t.gateway.admin, profileSeconds)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, resp.Body); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}
