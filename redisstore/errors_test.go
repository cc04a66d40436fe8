package redisstore

import (
	"strings"
	"testing"
)

// TestAnswersShowNothing: Redis' own texts may hold keys and values.
func TestAnswersShowNothing(t *testing.T) {
	tests := []struct{ answer, want string }{
		{"ERR unknown command 'EVALSHA', with args beginning with: 'a9f' '1' 'kibo:{secret}:s'", "lacks a command"},
		{"NOPERM User secret has no permissions to run the 'client|tracking' command", "lacks a right, that to the 'client|tracking' command"},
		{"NOPERM User secret has no permissions to access the 'kibo:{secret}:s' key", "lacks a right;"},
		{"ERR Error running script: @user_script:3: secret", "an error of the kind ERR"},
		{"OOM command not allowed when used memory > 'maxmemory'. script: secret, on @user_script:4.", "raise maxmemory"},
		{"MOVED 1234 secret:6379", "an error of the kind MOVED"},
		{"The user executing the script can't run this command or subcommand script: secret, on @user_script:1.", "lacks a right;"},
		{"secret", "an error of the kind ERR"},
	}
	for _, tc := range tests {
		got := answered(tc.answer).Error()
		if !strings.Contains(got, tc.want) || strings.Contains(got, "secret") {
			t.Errorf("%q: %q, want %q and no secret", tc.answer, got, tc.want)
		}
	}
}
