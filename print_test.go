package kiboauth

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/kiboauth/caddy-kibo-auth/internal/kibo"
	"github.com/kiboauth/caddy-kibo-auth/internal/kibosim"
	"github.com/kiboauth/caddy-kibo-auth/internal/loginform"
	"github.com/kiboauth/caddy-kibo-auth/internal/redact"
	"github.com/kiboauth/caddy-kibo-auth/internal/verify"
)

// TestNothingOfOursPrintsASecret prints whatever holds one, by value, by
// pointer and inside of something else, in every way that a log might.
func TestNothingOfOursPrintsASecret(t *testing.T) {
	const s3cret = "s3cr3t-s3cr3t-s3cr3t-s3cr3t-s3cr3t-s3cr3t-0"
	text := redact.New(s3cret)
	id, ok := parseSessionID(testRealm, s3cret)
	if !ok {
		t.Fatal("the ID is none")
	}
	key, err := newMasterKey(s3cret)
	if err != nil {
		t.Fatal(err)
	}
	key.session, key.limit = []byte(s3cret), []byte(s3cret)
	session := testSession(testRealm, &customer{fieldAccountID: "1", fieldAccessToken: s3cret, fieldRefreshToken: s3cret, fieldBearer: s3cret})
	own := credentials{session: ownCookie{value: s3cret, torn: []string{s3cret}}, bearer: s3cret}
	form := &loginform.Form{Email: s3cret, Code: text, Password: text, Extra: map[string]string{"a": s3cret}}
	p := &pending{Nonce: s3cret, Email: s3cret, UserID: s3cret}
	values := []any{
		text, id, &id, key, &keyring{keys: []*masterKey{key}}, session, *session, &customer{fieldEmail: s3cret},
		own, &own, form, *form, p, *p, &signedIn{id: id, session: session}, &passage{id: id, session: session},
		&attempt{form: form, pending: p, device: s3cret, proof: s3cret},
		&Record{open: session}, &kibo.Ticket{AccessToken: text, JWT: text, RefreshToken: text, UserID: s3cret},
		verify.Config{HMACKeys: [][]byte{[]byte(s3cret)}},
		struct {
			ID   SessionID
			Form *loginform.Form
			text redact.Text
		}{id, form, text},
		fmt.Errorf("signing in: %v, %v", form, id),
	}
	configured := []any{
		&Handler{SharedSecret: s3cret, Secrets: []string{s3cret}, Verify: Verify{HMAC: &Keys{Keys: []string{s3cret}}}}, // JSON is for Caddy
		Handler{SharedSecret: s3cret}, Keys{Keys: []string{s3cret}},
	}
	for _, v := range append(values, configured...) {
		for how, printed := range printedBy(v) {
			if strings.Contains(printed, "s3cr3t") || strings.Contains(printed, "733363723374") || strings.Contains(printed, "115 51 99 114") {
				t.Errorf("%s of %T shows the secret: %.300s", how, v, printed)
			}
		}
	}
	for _, v := range values {
		if _, sealed := v.(*pending); sealed || fmt.Sprintf("%T", v) == "kiboauth.pending" {
			continue // JSON is what its cookie holds, sealed
		}
		var log bytes.Buffer
		jsonLogger(&log).Info("", zap.Reflect("v", v), zap.Reflect("list", []any{v}))
		text, _ := json.Marshal(v)
		if all := log.String() + string(text); strings.Contains(all, "s3cr3t") {
			t.Errorf("JSON of %T shows the secret: %.300s", v, all)
		}
	}
}

func jsonLogger(to *bytes.Buffer) *zap.Logger {
	return zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zapcore.EncoderConfig{}), zapcore.AddSync(to), zapcore.DebugLevel))
}

func printedBy(v any) map[string]string {
	said := map[string]string{}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%c", "%U", "%z"} {
		said[verb] = fmt.Sprintf(verb, v) + fmt.Sprintf(verb, []any{v}) + fmt.Sprintf(verb, map[string]any{"k": v})
	}
	var log, lines bytes.Buffer
	logger := jsonLogger(&log)
	logger.Info("", zap.Any("v", v))
	logger.Sugar().Infow("m", "v", v)
	logger.Sugar().Infof("%v %+v", v, v)
	said["zap"] = log.String()
	slog.New(slog.NewTextHandler(&lines, nil)).Info("m", "v", v)
	said["slog"] = lines.String()
	func() {
		defer func() { said["panic"] = fmt.Sprintf("%v %+v", recover(), v) }()
		panic(v)
	}()
	return said
}

// What Kibo's refresh call has in its URL is in none of its errors: the
// error of net/http would quote it.
func TestRefreshErrorQuotesNoURL(t *testing.T) {
	g := newGateway(t)
	for _, kind := range []string{"reset", "garbage", "html_500", "redirect", "truncated_json"} {
		g.sim.Set(func(sw *kibosim.Switches) { sw.Faults["refresh"] = kibosim.Fault{Kind: kind} })
		_, err := g.Handler.kibo.Refresh(t.Context(), kibo.RefreshRequest{RefreshToken: redact.New("r3fresh-t0ken"), AccountID: "1"})
		if err == nil || strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), "r3fresh") || strings.Contains(err.Error(), http.MethodPut) {
			t.Errorf("%s: got %v", kind, err)
		}
	}
}
