package main

import (
	"bufio"
	"bytes"
	"net/http"
	"strings"
	"testing"
)

func TestReadAnswer(t *testing.T) {
	const page = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
	tests := []struct {
		name, text string
		status     int
		fails      bool
	}{
		{"page", page, 200, false},
		{"redirect", "HTTP/1.1 303 See Other\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n", 303, false},
		{"cut short", page[:len(page)-1], 200, true},
		{"no length", "HTTP/1.1 200 OK\r\n\r\n", 200, true},
		{"length in words", "HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\nhello", 200, true},
		{"no status", "HTTP/1.1\r\n\r\n", 0, true},
		{"hung up", "", 0, true},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			in := bufio.NewReader(strings.NewReader(tc.text))
			status, err := readAnswer(in)
			if (err != nil) != tc.fails || (!tc.fails && status != tc.status) {
				t.Errorf("readAnswer = %d, %v, want %d, fails %v", status, err, tc.status, tc.fails)
			}
			if err == nil && in.Buffered() > 0 {
				t.Errorf("%d bytes of the answer were left for the next", in.Buffered())
			}
		})
	}
}

// TestPageRequest: it is what a browser sends, and each customer's has the
// customer's own cookie.
func TestPageRequest(t *testing.T) {
	list := requests(pageRequest, []string{"kibo=one", "kibo=two"})
	for i, want := range []string{"one", "two"} {
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(list[i])))
		if err != nil {
			t.Fatalf("ReadRequest: %v", err)
		}
		if c, err := r.Cookie("kibo"); err != nil || c.Value != want {
			t.Errorf("cookie of request %d = %v, %v, want %s", i, c, err, want)
		}
		if got := len(r.Header) + 1; got != 18 { // Host is kept apart
			t.Errorf("request has %d headers, want 18", got)
		}
		if got := r.Header.Get("Sec-Fetch-Mode"); got != "navigate" {
			t.Errorf("Sec-Fetch-Mode = %s, want navigate", got)
		}
	}
	script := string(requests(asScript.Replace(pageRequest), []string{"kibo=one"})[0])
	if !strings.Contains(script, "Sec-Fetch-Mode: cors\r\n") || strings.Contains(script, "document") {
		t.Errorf("a script's request looks like a page's:\n%s", script)
	}
}
