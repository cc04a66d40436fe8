package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// pageRequest is what a desktop browser sends for a page: 18 headers with Host.
const pageRequest = "GET /account/orders?page=2 HTTP/1.1\r\n" +
	"Host: 127.0.0.1\r\n" +
	"Connection: keep-alive\r\n" +
	"Cache-Control: max-age=0\r\n" +
	"Sec-Ch-Ua: \"Chromium\";v=\"140\", \"Not=A?Brand\";v=\"24\"\r\n" +
	"Sec-Ch-Ua-Mobile: ?0\r\n" +
	"Sec-Ch-Ua-Platform: \"Linux\"\r\n" +
	"Dnt: 1\r\n" +
	"Upgrade-Insecure-Requests: 1\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\n" +
	"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n" +
	"Sec-Fetch-Site: same-origin\r\n" +
	"Sec-Fetch-Mode: navigate\r\n" +
	"Sec-Fetch-User: ?1\r\n" +
	"Sec-Fetch-Dest: document\r\n" +
	"Referer: http://127.0.0.1/account\r\n" +
	"Accept-Encoding: gzip, deflate, br\r\n" +
	"Accept-Language: en-US,en;q=0.9,de;q=0.8\r\n" +
	"Cookie: {cookie}\r\n\r\n"

// asScript makes it the request of a script on a page.
var asScript = strings.NewReplacer("navigate", "cors", "document", "empty")

// requests makes one request for each cookie.
func requests(form string, cookies []string) [][]byte {
	list := make([][]byte, len(cookies))
	for i, c := range cookies {
		list[i] = []byte(strings.Replace(form, "{cookie}", c, 1))
	}
	return list
}

// target is one way of asking one gateway.
type target struct {
	name     string
	gateway  *gateway
	requests [][]byte
	want     int // the status that every answer must have
	browsers []*browser
}

// browser is a connection that is kept, with one request under way at a time.
type browser struct {
	conn net.Conn
	in   *bufio.Reader
	next int // of the target's requests
}

// open connects n browsers.
func (t *target) open(n int) error {
	for i := range n {
		conn, err := net.Dial("tcp", t.gateway.addr)
		if err != nil {
			return err
		}
		t.browsers = append(t.browsers, &browser{conn, bufio.NewReader(conn), i * len(t.requests) / n})
	}
	return nil
}

func (t *target) close() {
	for _, b := range t.browsers {
		b.conn.Close()
	}
}

// sample is what a slice of load took.
type sample struct {
	requests int
	wall     time.Duration
	cpu      time.Duration // of the gateway
	self     time.Duration // CPU time of load and shop
	others   time.Duration // CPU time of all that is neither gateway nor load
}

func (s sample) add(other sample) sample {
	return sample{s.requests + other.requests, s.wall + other.wall, s.cpu + other.cpu, s.self + other.self, s.others + other.others}
}

func (s sample) rate() float64 { return float64(s.requests) / s.wall.Seconds() }

// cost is the CPU time of one request in microseconds.
func (s sample) cost() float64 { return float64(s.cpu.Nanoseconds()) / 1e3 / float64(s.requests) }

// slice loads the target for d. Every browser asks again as soon as it has its
// answer; what is under way at the end is waited for and counts.
func (t *target) slice(d time.Duration) (s sample, err error) {
	before, err := usageOf(t.gateway)
	if err != nil {
		return s, err
	}
	start := time.Now()
	if s.requests, err = t.load(d); err != nil {
		return s, fmt.Errorf("asking %s: %w", t.name, err)
	}
	s.wall = time.Since(start)
	after, err := usageOf(t.gateway)
	s.cpu = after.gateway - before.gateway
	s.self = after.self - before.self
	s.others = after.all - before.all - s.cpu - s.self
	return s, err
}

// load asks for d and says how many answers came.
func (t *target) load(d time.Duration) (answers int, err error) {
	var stop atomic.Bool
	time.AfterFunc(d, func() { stop.Store(true) })
	var group errgroup.Group
	counts := make([]int, len(t.browsers))
	for i, b := range t.browsers {
		group.Go(func() (err error) {
			counts[i], err = b.browse(t, &stop)
			return err
		})
	}
	err = group.Wait()
	for _, n := range counts {
		answers += n
	}
	return answers, err
}

// browse asks until it is told to stop, and says how often it did.
func (b *browser) browse(t *target, stop *atomic.Bool) (n int, err error) {
	if err := b.conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return n, err
	}
	for ; !stop.Load(); n++ {
		if err := b.ask(t.requests[b.next], t.want); err != nil {
			return n, err
		}
		b.next = (b.next + 1) % len(t.requests)
	}
	return n, nil
}

// ask sends a request and reads its answer, as cheaply as can be: the load must
// not be what is measured.
func (b *browser) ask(request []byte, want int) error {
	if _, err := b.conn.Write(request); err != nil {
		return err
	}
	status, err := readAnswer(b.in)
	if err == nil && status != want {
		err = fmt.Errorf("status %d, want %d", status, want)
	}
	return err
}

var contentLength = []byte("Content-Length: ")

// readAnswer reads an answer with a Content-Length to its end.
func readAnswer(in *bufio.Reader) (status int, err error) {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	if len(line) < len("HTTP/1.1 200") {
		return 0, errors.New("answer without a status")
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, errors.New("answer without a status")
	}
	length := -1
	for {
		if line, err = in.ReadSlice('\n'); err != nil {
			return 0, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		if value, ok := bytes.CutPrefix(line, contentLength); ok {
			if length, err = strconv.Atoi(string(value)); err != nil {
				return 0, errors.New("answer with a Content-Length that is no number")
			}
		}
	}
	if length < 0 {
		return 0, fmt.Errorf("answer %d without a Content-Length", status)
	}
	_, err = in.Discard(length)
	return status, err
}
