package kibo

import (
	"strings"
	"testing"
)

func TestParseURL(t *testing.T) {
	tests := []struct{ raw, want string }{
		{"t1-s2.sandbox.mozu.com", "https://t1-s2.sandbox.mozu.com/api"},
		{"T1-S2.Sandbox.Mozu.com", "https://t1-s2.sandbox.mozu.com/api"},
		{"t1.mozu.com/", "https://t1.mozu.com/api"},
		{"t1.mozu.com/api", "https://t1.mozu.com/api"},
		{"t1.mozu.com/api/", "https://t1.mozu.com/api"},
		{" https://t1.mozu.com ", "https://t1.mozu.com/api"},
		{"https://t1.mozu.com:8443/api", "https://t1.mozu.com:8443/api"},
		{"t1.mozu.com:8443", "https://t1.mozu.com:8443/api"},
		{"localhost:9000", "https://localhost:9000/api"},
		{"http://localhost:9000", "http://localhost:9000/api"},
		{"http://kibo.localhost", "http://kibo.localhost/api"},
		{"http://127.0.0.1:9000/api/", "http://127.0.0.1:9000/api"},
		{"http://[::1]:9000", "http://[::1]:9000/api"},
	}
	for _, tt := range tests {
		u, err := ParseURL(tt.raw)
		if err != nil {
			t.Errorf("ParseURL(%q): %v", tt.raw, err)
		} else if u.String() != tt.want {
			t.Errorf("ParseURL(%q) = %s, want %s", tt.raw, u, tt.want)
		}
	}
}

func TestParseURLRefuses(t *testing.T) {
	tests := []struct{ raw, want string }{
		{"", "missing"},
		{"  ", "missing"},
		{"https://", "host is missing"},
		{"https:///api", "host is missing"},
		{"https://t1.mozu.com:", "port is missing"},
		{"http://[::1%25lo]", "zone"},
		{"https://t1.mozu.com:99999", "out of range"},
		{"https://t1.mozu.com:0", "out of range"},
		{"http://t1.mozu.com", "https"},
		{"http://127.0.0.1.example.com", "https"},
		{"http://localhost.example.com", "https"},
		{"http://10.0.0.1", "https"},
		{"ftp://t1.mozu.com", "scheme"},
		{"https://user:hunter2@t1.mozu.com", "user information"},
		{"https://t1.mozu.com/?x=1", "query"},
		{"https://t1.mozu.com/#x", "fragment"},
		{"https://t1.mozu.com/api/api", "path"},
		{"https://t1.mozu.com/graphql", "path"},
		{"https://t1.mozu.com/API", "path"},
		{"{env.KIBO_HOST}", "not a URL"},
		{"t1.mozu.com evil", "not a URL"},
		{"t1.mozu.com\r\nx: y", "not a URL"},
	}
	for _, tt := range tests {
		u, err := ParseURL(tt.raw)
		if err == nil {
			t.Errorf("ParseURL(%q) = %s, want an error", tt.raw, u)
		} else if !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("ParseURL(%q): got error %q, want %q in it", tt.raw, err, tt.want)
		}
	}
}
