package caddytest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// validate adapts and provisions a Caddyfile as "caddy validate" does, but
// keeps Caddy's log quiet.
func validate(text string) error {
	config, err := adapt(text)
	if err != nil {
		return err
	}
	return validateJSON(config)
}

func validateJSON(config []byte) error {
	c := new(caddy.Config)
	if err := json.Unmarshal(config, c); err != nil {
		return err
	}
	c.Logging = &caddy.Logging{Logs: map[string]*caddy.CustomLog{
		"default": {BaseLog: caddy.BaseLog{WriterRaw: json.RawMessage(`{"output":"discard"}`)}},
	}}
	return caddy.Validate(c)
}

// gateway is a Caddyfile whose line 3 is the client's, and the next are given.
func gateway(lines ...string) string {
	return ":8080 {\nkibo_auth t12345-s67890.sandbox.mozu.com {\nclient {env.KIBO_CLIENT_ID} {env.KIBO_SHARED_SECRET}\n" +
		strings.Join(lines, "\n") + "\n}\n}\n"
}

// publicKey returns a PEM public key and its private half.
func publicKey(t *testing.T) (public, private string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	encode := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	return encode("PUBLIC KEY", spki), encode("PRIVATE KEY", pkcs8)
}

// setVariables gives the variables of these tests their values.
func setVariables(t *testing.T) {
	t.Helper()
	public, private := publicKey(t)
	for name, value := range map[string]string{
		"KIBO_CLIENT_ID": "demo.gateway.1.0.0.Release", "KIBO_SHARED_SECRET": "00112233445566778899aabbccddeeff",
		"EMPTY": "", "SHORT": "correct-horse-battery", "LONG": strings.Repeat("correct-horse-", 5),
		"PUBLIC_KEY": public, "PRIVATE_KEY": private,
	} {
		t.Setenv(name, value)
	}
}

// TestValidateErrors: what shows only when placeholders are resolved is
// reported with file, line, reason and mend as well, and without the value.
func TestValidateErrors(t *testing.T) {
	setVariables(t)
	missing := filepath.Join(t.TempDir(), "missing")
	short := filepath.Join(t.TempDir(), "short")
	if err := os.WriteFile(short, []byte("correct-horse-battery\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, config, want string }{
		{
			"client ID from an empty variable", strings.Replace(gateway(), "KIBO_CLIENT_ID", "EMPTY", 1),
			"Caddyfile:3: client: evaluated placeholder {env.EMPTY} is empty; set the variable, or write the file, for the user that runs Caddy",
		},
		{
			"shared secret from a variable that is not set", strings.Replace(gateway(), "KIBO_SHARED_SECRET", "UNSET_IN_TEST", 1),
			"Caddyfile:3: client: evaluated placeholder {env.UNSET_IN_TEST} is empty; set the variable, or write the file, for the user that runs Caddy",
		},
		{
			"shared secret from a missing file", strings.Replace(gateway(), "env.KIBO_SHARED_SECRET", "file."+missing, 1),
			"Caddyfile:3: client: evaluated placeholder {file." + missing + "} is empty; set the variable, or write the file, for the user that runs Caddy",
		},
		{
			"shared secret from an unknown placeholder", strings.Replace(gateway(), "env.KIBO_SHARED_SECRET", "vault.kibo", 1),
			"Caddyfile:3: client: unrecognized placeholder {vault.kibo}; set the variable, or write the file, for the user that runs Caddy",
		},
		{
			"secret too short", gateway("secret {env.LONG} {env.SHORT}"),
			"Caddyfile:4: secret: is shorter than 32 characters; make one with: caddy kibo-auth keygen",
		},
		{
			"secret file too short", gateway("timeout 5s", "secret {file."+short+"}"),
			"Caddyfile:5: secret: is shorter than 32 characters; make one with: caddy kibo-auth keygen",
		},
		{
			"secret from an empty variable", gateway("secret {env.EMPTY}"),
			"Caddyfile:4: secret: evaluated placeholder {env.EMPTY} is empty; set the variable, or write the file, for the user that runs Caddy",
		},
		{
			"redis without a secret", gateway("timeout 5s", "store redis localhost:6379"),
			"Caddyfile:5: store: sessions in a store that several gateways share need a secret that all of them have; make one with: caddy kibo-auth keygen, and add on every gateway: secret {file./run/secrets/kibo_auth}",
		},
		{
			"store file without a path from the environment", gateway("store file {env.UNSET_IN_TEST}"),
			"evaluated placeholder {env.UNSET_IN_TEST} is empty; see the store section of docs/configuration.md",
		},
		{
			"hmac key too short", gateway("verify {", "hmac HS256 {env.SHORT}", "}"),
			"Caddyfile:5: verify hmac: hmac key 1 has 21 bytes: HS256 needs at least 32; see the verify block in docs/configuration.md",
		},
		{
			"hmac key from an empty variable", gateway("verify {", "hmac HS256 {env.EMPTY}", "}"),
			"Caddyfile:5: verify hmac: evaluated placeholder {env.EMPTY} is empty; set the variable, or write the file, for the user that runs Caddy",
		},
		{
			"hmac with a public key's algorithm", gateway("verify {", "hmac RS256 {env.LONG}", "}"),
			"Caddyfile:5: verify hmac: algorithm RS256 needs public keys or a jwks, not hmac keys; see the verify block in docs/configuration.md",
		},
		{
			"hmac with another algorithms line", gateway("verify {", "hmac HS256 {env.LONG}", "algorithms ES256", "}"),
			"Caddyfile:5: verify hmac: algorithm ES256 needs public keys or a jwks, not hmac keys; see the verify block in docs/configuration.md",
		},
		{
			"key that is none", gateway("verify {", "key ES256 {env.LONG}", "}"),
			"Caddyfile:5: verify key: public key 1: not in PEM form; see the verify block in docs/configuration.md",
		},
		{
			"private key", gateway("verify {", "key ES256 {env.PUBLIC_KEY} {env.PRIVATE_KEY}", "}"),
			"Caddyfile:5: verify key: public key 2: a private key: give its public half; see the verify block in docs/configuration.md",
		},
		{
			"key of another algorithm", gateway("verify {", "key RS256 {env.PUBLIC_KEY}", "}"),
			`Caddyfile:5: verify key: public key 1 fits none of the algorithms ["RS256"]; see the verify block in docs/configuration.md`,
		},
		{
			"key with a symmetric algorithm", gateway("verify {", "key HS256 {env.PUBLIC_KEY}", "}"),
			"Caddyfile:5: verify key: algorithm HS256 is symmetric: it cannot be combined with public keys or a jwks; see the verify block in docs/configuration.md",
		},
		{
			"key from a missing file", gateway("verify {", "key ES256 {file."+missing+"}", "}"),
			"Caddyfile:5: verify key: evaluated placeholder {file." + missing + "} is empty; set the variable, or write the file, for the user that runs Caddy",
		},
		{
			"jwks over plain HTTP", gateway("verify {", "jwks http://keys.example.com/jwks.json", "}"),
			"Caddyfile:5: verify jwks: jwks URL must be https (http only on a loopback address); see the verify block in docs/configuration.md",
		},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			err := validate(tc.config)
			if err == nil || !strings.HasSuffix(err.Error(), ": "+tc.want) {
				t.Fatalf("error =\n%v\nwant it to end in\n%s", err, tc.want)
			}
			for _, secret := range []string{os.Getenv("KIBO_SHARED_SECRET"), "correct-horse"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("the error shows a secret: %v", err)
				}
			}
		})
	}
}

// TestValidateErrorsOfJSON: a configuration that was never a Caddyfile has no
// lines, but the same reasons and mends.
func TestValidateErrorsOfJSON(t *testing.T) {
	setVariables(t)
	const client = `"api_host":"t1-s2.sandbox.mozu.com","client_id":"{env.KIBO_CLIENT_ID}","shared_secret":"{env.KIBO_SHARED_SECRET}"`
	tests := []struct{ name, handler, want string }{
		{"no host", ``, "kibo_auth: the API host is missing; write it behind the directive: kibo_auth t12345-s67890.sandbox.mozu.com { … }"},
		{"negative timeout", client + `,"timeout":-1`, "timeout: is negative; give a duration such as 10s"},
		{"negative idle", client + `,"session":{"idle":-1}`, "session idle: is negative; give a duration such as 1h"},
		{"unknown page", client + `,"login":{"page":"shop"}`, `login page: "shop" is not known; write builtin (the gateway draws the form) or upstream (the shop does)`},
		{"public pattern", client + `,"public":["assets"]`, `public: path pattern "assets": must start with "/" or "*"; write "/assets"; paths are written like /assets/* or *.css`},
		{"key without any", client + `,"verify":{"hmac":{"algorithm":"HS256"}}`, "verify hmac: has no keys; write the algorithm and at least one key behind it"},
		{"negative max_sessions", client + `,"store":{"backend":"memory","max_sessions":-1}`, "max_sessions is negative; give the number of sessions to keep; see the store section of docs/configuration.md"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			handler := strings.TrimSuffix(`{"handler":"kibo_auth",`+tc.handler, ",") + "}"
			err := validateJSON(fmt.Appendf(nil, `{"apps":{"http":{"servers":{"s":{"routes":[{"handle":[%s]}]}}}}}`, handler))
			if err == nil || !strings.HasSuffix(err.Error(), ": "+tc.want) {
				t.Errorf("error =\n%v\nwant it to end in\n%s", err, tc.want)
			}
		})
	}
}

// TestValidateGoldens: what adapts without an error also starts.
func TestValidateGoldens(t *testing.T) {
	for _, g := range goldens(t) {
		if !g.isError() {
			t.Run(g.name, func(t *testing.T) { validateWithStandIns(t, g.caddyfile) })
		}
	}
}

// TestValidateTouchesNothing: neither the network nor Caddy's storage.
func TestValidateTouchesNothing(t *testing.T) {
	setVariables(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	storage := filepath.Join(t.TempDir(), "storage")
	config := fmt.Sprintf(`{
	storage file_system %[2]q
}
:8080 {
	kibo_auth http://%[1]s {
		auth_host http://%[1]s
		client {env.KIBO_CLIENT_ID} {env.KIBO_SHARED_SECRET}
		verify {
			jwks http://%[1]s/jwks.json
			bearer
		}
	}
}
`, listener.Addr(), storage)
	for range 2 {
		if err := validate(config); err != nil {
			t.Fatalf("validating: %v", err)
		}
	}
	if from := firstCaller(t, listener); from != "" {
		t.Errorf("validating opened a connection, from %s", from)
	}
	if _, err := os.Stat(storage); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("validating made Caddy's storage: %v", err)
	}
}

// firstCaller returns who called before now, or "". Connections wait in the
// order in which they came: if ours is the first, there was no other.
func firstCaller(t *testing.T, listener net.Listener) string {
	t.Helper()
	ours, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	first, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if from := first.RemoteAddr().String(); from != ours.LocalAddr().String() {
		return from
	}
	return ""
}

// TestValidateExamples: Caddyfile.example, and every block of the documentation
// that is marked as a Caddyfile, can be used as they stand.
func TestValidateExamples(t *testing.T) {
	docs, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := map[string]string{"Caddyfile.example": readFile(t, "../Caddyfile.example")}
	for _, doc := range append(docs, "../README.md") {
		for line, block := range caddyfileBlocks(readFile(t, doc)) {
			examples[fmt.Sprintf("%s line %d", filepath.Base(doc), line)] = block
		}
	}
	for name, text := range examples {
		t.Run(name, func(t *testing.T) {
			if formatted := caddyfile.Format([]byte(text)); string(bytes.TrimSpace(formatted)) != strings.TrimSpace(text) {
				t.Errorf("not formatted; caddy fmt makes it\n%s", formatted)
			}
			validateWithStandIns(t, text)
		})
	}
}

// caddyfileBlocks returns the ```caddyfile blocks of a Markdown text by the
// lines on which they begin.
func caddyfileBlocks(markdown string) map[int]string {
	blocks := map[int]string{}
	for _, at := range regexp.MustCompile("(?ms)^```caddyfile\n(.*?)^```$").FindAllStringSubmatchIndex(markdown, -1) {
		blocks[strings.Count(markdown[:at[0]], "\n")+1] = markdown[at[2]:at[3]]
	}
	return blocks
}

var (
	variable   = regexp.MustCompile(`\{(?:env\.|\$)([A-Za-z0-9_]+)\}`)
	secretFile = regexp.MustCompile(`\{file\.[^}]+\}`)
)

// validateWithStandIns validates a Caddyfile that reads variables and files of
// the server it was written for.
func validateWithStandIns(t *testing.T, text string) {
	t.Helper()
	for _, m := range variable.FindAllStringSubmatch(text, -1) {
		t.Setenv(m[1], standIn(m[1]))
	}
	public, _ := publicKey(t)
	text = regexp.MustCompile(`(?m)^(\s*key )\S+ \{.*$`).ReplaceAllString(text, "${1}ES256 {env.STAND_IN_KEY}")
	t.Setenv("STAND_IN_KEY", public)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(strings.Repeat("0123456789abcdef", 4)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := validate(secretFile.ReplaceAllLiteralString(text, "{file."+secret+"}")); err != nil {
		t.Errorf("not valid: %v", err)
	}
}

// standIn returns a value that is fit for what a variable's name says.
func standIn(name string) string {
	switch {
	case strings.Contains(name, "API_HOST"):
		return "t12345-s67890.sandbox.mozu.com"
	case strings.Contains(name, "URL"):
		return "http://127.0.0.1:8080"
	case strings.Contains(name, "PORT"):
		return "8080"
	case strings.Contains(name, "UPSTREAM"), strings.Contains(name, "LEGACY"), strings.HasSuffix(name, "ADDR"):
		return "127.0.0.1:8080"
	case strings.Contains(name, "HOST"), strings.Contains(name, "DOMAIN"), strings.Contains(name, "SITE"):
		return "shop.example.com"
	}
	return strings.Repeat("0123456789abcdef", 4)
}
