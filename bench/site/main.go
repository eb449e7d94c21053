// Site is the benchmark's stand-in for a Flow site: one answer, over TLS, to
// calls that carry the key.
//
// It is written to cost little beside what is measured: it parses a request's
// header by hand and its body not at all. It is no stand-in for anything else;
// package flowsite is.
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strconv"
	"sync/atomic"
	"syscall"
)

// maxBody is the longest body that is taken, in bytes.
const maxBody = 4 << 20

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "site:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	listen := flag.String("listen", "", "the address, on loopback")
	cert := flag.String("cert", "", "PEM file with certificate and private key")
	key := flag.String("key", "", "file with the key that every call must carry")
	answer := flag.String("answer", "", "file with the answer's body")
	stall := flag.Bool("stall", false, "never answer a call")
	flag.Parse()

	s := &site{stall: *stall}
	var err error
	if s.key, err = os.ReadFile(*key); err != nil {
		return err
	}
	body, err := os.ReadFile(*answer)
	if err != nil {
		return err
	}
	s.ok = response("200 OK", body)
	s.missing = response("500 Internal Server Error", []byte(`{"exception":true,"error_code":102,"message":"the call carries no key"}`))
	pair, err := tls.LoadX509KeyPair(*cert, *cert)
	if err != nil {
		return err
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", *listen)
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { _ = ln.Close() })
	cfg := &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS12}
	for ctx.Err() == nil {
		c, err := ln.Accept()
		if err == nil {
			go s.serve(tls.Server(c, cfg))
		} else if ctx.Err() == nil {
			return err
		}
	}
	return nil
}

// response is a whole answer, with the headers that a site sends.
func response(status string, body []byte) []byte {
	head := "HTTP/1.1 " + status + "\r\n" +
		"Content-Type: application/json; charset=utf-8\r\n" +
		"Content-Length: " + strconv.Itoa(len(body)) + "\r\n" +
		"Cache-Control: max-age=0, private, must-revalidate\r\n" +
		"X-Request-Id: 6d8c4f5e-3a2b-4a53-9f0e-0c2f6a1b7d11\r\n" +
		"Vary: Accept-Encoding\r\n" +
		"Date: Tue, 24 Nov 2026 12:00:00 GMT\r\n\r\n"
	return append([]byte(head), body...)
}

type site struct {
	stall       bool
	key         []byte
	ok, missing []byte
	good, bad   atomic.Int64 // calls with the key and without
}

// serve answers the requests of one connection until it ends.
func (s *site) serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	br := bufio.NewReaderSize(c, 16<<10)
	var body []byte
	for {
		count, length, err := head(br)
		if err != nil {
			return
		}
		if cap(body) < length {
			body = make([]byte, length)
		}
		body = body[:length]
		if _, err := io.ReadFull(br, body); err != nil {
			return
		}
		if s.stall && !count {
			_, _ = br.Peek(1) // until the proxy hangs up
			return
		}
		if _, err := c.Write(s.answer(count, body)); err != nil {
			return
		}
	}
}

func (s *site) answer(count bool, body []byte) []byte {
	switch {
	case count:
		return response("200 OK", fmt.Appendf(nil, "%d %d\n", s.good.Load(), s.bad.Load()))
	case bytes.Contains(body, s.key):
		s.good.Add(1)
		return s.ok
	}
	s.bad.Add(1)
	return s.missing
}

var errBad = errors.New("not a request that the benchmark makes")

// head reads a request's header: whether it asks for the count, else it must
// be a call, and how long its body is.
func head(br *bufio.Reader) (count bool, length int, err error) {
	line, err := br.ReadSlice('\n')
	if err != nil {
		return false, 0, err
	}
	count = bytes.HasPrefix(line, []byte("GET /count "))
	if !count && !bytes.HasPrefix(line, []byte("POST /api3/json HTTP/1.1\r\n")) {
		return false, 0, errBad
	}
	for {
		line, err = br.ReadSlice('\n')
		if err != nil || len(line) <= 2 {
			return count, length, err
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			return false, 0, errBad
		}
		if len(name) == len("Content-Length") && bytes.EqualFold(name, []byte("Content-Length")) {
			length, err = strconv.Atoi(string(bytes.TrimSpace(value)))
			if err != nil || length < 0 || length > maxBody {
				return false, 0, errBad
			}
		}
	}
}
