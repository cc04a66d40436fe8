package loginform

import (
	"strings"
	"testing"
)

func TestValidEmail(t *testing.T) {
	for _, s := range []string{
		"jane@shop.example", "j@b.c", "jane.doe+shop@mail.shop.example", "o'neil@shop.example", "a_b-c@x-y.example",
		"JANE@SHOP.EXAMPLE", "1@2.3", "jane@localhost", "x!#$%&*/=?^`{|}~@b.c", "jane@xn--bcher-kva.example",
		strings.Repeat("a", 64) + "@b.c", "a@" + strings.Repeat("b.", 125) + "cc",
	} {
		if !ValidEmail(s) {
			t.Errorf("ValidEmail(%q) = false, want true", s)
		}
	}
	for _, s := range []string{
		"", "jane", "@", "@shop.example", "jane@", "jane@@shop.example", "jane@shop@evil.example", "jane@shop.example@",
		".jane@shop.example", "jane.@shop.example", "ja..ne@shop.example", "jane@.shop.example", "jane@shop.example.", "jane@shop..example",
		"jane@-shop.example", "jane@shop-.example", "jane@[127.0.0.1]", "jane@shop_x.example", "jane@shop.example:25",
		" jane@shop.example", "jane@shop.example ", "ja ne@shop.example", "jane@shop.example\n", "jane\r\nBcc:x@shop.example", "jane\x00@shop.example",
		"jane@shop.example\x7f", "Jane <jane@shop.example>", "<jane@shop.example>", `"jane"@shop.example`, `"ja ne"@shop.example`, "jane(x)@shop.example",
		"jane@shop.example(x)", "jane,eve@shop.example", "jane@shop.example,eve@shop.example", "jane;eve@shop.example", "jané@shop.example",
		"jane@shöp.example", "jane@ｓhop.example", "group:jane@shop.example;", "=?utf-8?q?jane?=@shop.example ", "jane\\@shop.example",
		strings.Repeat("a", 65) + "@b.c", "a@" + strings.Repeat("b.", 126) + "cc", "jane%40shop.example",
	} {
		if ValidEmail(s) {
			t.Errorf("ValidEmail(%q) = true, want false", s)
		}
	}
}

func TestNormalEmail(t *testing.T) {
	for _, s := range []string{"jane@shop.example", " Jane@Shop.Example\t", "JANE@SHOP.EXAMPLE\r\n"} {
		if got := NormalEmail(s); got != "jane@shop.example" {
			t.Errorf("NormalEmail(%q) = %q, want jane@shop.example", s, got)
		}
	}
}
