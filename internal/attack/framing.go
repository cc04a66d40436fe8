package attack

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
)

var framingChecks = []check{
	{
		family: "framing", name: "malformed", run: (*suite).malformed,
		sent: "requests with lengths, codings and heads that have no one meaning",
		why:  "two servers that read one request differently can be made to serve a hidden one (CWE-444)",
	},
	{
		family: "framing", name: "hidden-request", run: (*suite).hidden,
		sent: "requests that hide another one from whoever reads the chunks (RFC 9112 §6.3)",
		why:  "whoever goes by Content-Length instead answers the hidden one",
	},
	{
		family: "framing", name: "hosts", run: (*suite).hosts,
		sent: "requests with no host, with two, and with impossible ones",
		why:  "RFC 9112 §3.2 asks for 400; which site is meant decides what is protected",
	},
}

// malformed sends what RFC 9112 has a server refuse. Nothing is hidden in it.
func (s *suite) malformed(v *verdict) {
	for _, lines := range []string{
		"Content-Length: 3\r\nContent-Length: 4\r\n\r\na=b", "Content-Length: 3, 4\r\n\r\na=b", "Content-Length: +3\r\n\r\na=b", "Content-Length: -1\r\n\r\n",
		"Content-Length: 0x3\r\n\r\na=b", "Content-Length: 3 3\r\n\r\na=b", "Content-Length: 99999999999999999999\r\n\r\n", "Content-Length: \x0b3\r\n\r\na=b",
		"Transfer-Encoding: identity\r\n\r\n", "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
		"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
		"Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", "Transfer-Encoding: chunked;x=y\r\n\r\n0\r\n\r\n",
		"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", "Content-Length : 3\r\n\r\na=b", "Bad Name: x\r\n\r\n", ": x\r\n\r\n", "No-Colon\r\n\r\n",
		"X-Nul: a\x00b\r\n\r\n", "X-CR: a\rb\r\n\r\n", "X-Control: a\x01b\r\n\r\n",
	} {
		a := s.one("POST " + s.Public + " HTTP/1.1\r\nHost: " + s.Base.Host + "\r\n" + form + "\r\n" + lines)
		v.judge(lines, a, refused(a))
	}
}

// one sends bytes and reads one answer.
func (s *suite) one(text string) *answer {
	if all := s.raw(text, http.MethodPost, 1); len(all) > 0 {
		return all[0]
	}
	return &answer{header: http.Header{}}
}

// refused tells whether a server did not take up what was sent.
func refused(a *answer) bool {
	return !a.late && slices.Contains([]int{0, 400, 408, 411, 413, 414, 431, 501, 505}, a.status)
}

// hidden sends a request whose chunk is, for who goes by the length, a second
// request. That one asks for the connection to be closed: should a proxy pass
// it on, nobody else's answer comes after it. The request that really is the
// second one is for the protected path, so that its answer is known by that.
func (s *suite) hidden(v *verdict) {
	inner := "GET " + s.Public + "?hidden HTTP/1.1\r\nHost: " + s.Base.Host + "\r\nConnection: close\r\n\r\n"
	chunk := fmt.Sprintf("%x", len(inner)) + "\r\n"
	last := request{"GET", s.Protected, []string{page, "Connection: close"}, ""}
	body := chunk + inner + "\r\n0\r\n\r\n" + last.text(s.Base.Host)
	length := "Content-Length: " + strconv.Itoa(len(chunk))
	for _, coding := range []string{
		"Transfer-Encoding: chunked", "transfer-encoding: Chunked", "Transfer-Encoding:\tchunked", "Transfer-Encoding: chunked ", "Transfer-Encoding : chunked", "Transfer-Encoding: xchunked", "Transfer-Encoding: chunked, identity",
		"Transfer-Encoding: identity, chunked", "Transfer-Encoding:\r\n chunked", "Transfer-Encoding: chunked\r\nTransfer-Encoding: x", "Transfer-Encoding: x\r\nTransfer-Encoding: chunked", "Transfer_Encoding: chunked\r\nTransfer-Encoding: chunked",
	} {
		for _, lines := range []string{length + "\r\n" + coding, coding + "\r\n" + length} {
			all := s.raw("POST "+s.Public+" HTTP/1.1\r\nHost: "+s.Base.Host+"\r\n"+form+"\r\n"+lines+"\r\n\r\n"+body, "POST", 2)
			first := &answer{header: http.Header{}}
			if len(all) > 0 {
				first = all[0]
			}
			v.judge(lines, first, len(all) < 2 || s.held(all[1]) || all[1].late)
		}
	}
}

func (s *suite) hosts(v *verdict) {
	host := "Host: " + s.Base.Host + "\r\n"
	for _, lines := range []string{
		"", host + host, host + "Host: attack.invalid\r\n", "Host: attack.invalid\r\n" + host, "Host: a b\r\n", "Host: " + s.Base.Host + "/x\r\n", "Host: x@" + s.Base.Host + "\r\n", "Host: \x00\r\n", "Host : " + s.Base.Host + "\r\n",
	} {
		a := s.one("GET " + s.Protected + " HTTP/1.1\r\n" + lines + page + "\r\n\r\n")
		v.judge(lines, a, refused(a) || s.held(a))
	}
}
