// Store is the benchmark's stand-in for a Flow site's files, over TLS: it takes
// uploads and forgets them, and gives out one file of any length.
//
// It is written to cost little beside what is measured: it parses a request's
// header by hand, and of an upload it looks at the beginning. Package flowsite
// is the stand-in for anything else.
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
	"math/rand/v2"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

const (
	// blockSize is what is read or written at once, and after which the file
	// repeats itself.
	blockSize = 256 << 10
	// maxCall is the longest api3 call that is taken, in bytes.
	maxCall = 64 << 10
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "store:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	listen := flag.String("listen", "", "the address, on loopback")
	cert := flag.String("cert", "", "PEM file with certificate and private key")
	key := flag.String("key", "", "file with the key that every upload must carry")
	flag.Parse()

	s := &store{page: make([]byte, blockSize)}
	_, _ = rand.NewChaCha8([32]byte{}).Read(s.page)
	var err error
	if s.key, err = os.ReadFile(*key); err != nil {
		return err
	}
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

type store struct {
	key    []byte
	page   []byte
	good   atomic.Int64 // complete uploads with the key
	bad    atomic.Int64 // all others
	length atomic.Int64 // of the file that is given out
}

// serve answers the requests of one connection until it ends.
func (s *store) serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	br := bufio.NewReaderSize(c, 16<<10)
	buf := make([]byte, blockSize)
	for {
		r, err := head(br)
		if err == nil {
			err = s.answer(c, br, r, buf)
		}
		if err != nil {
			return
		}
	}
}

// answer reads a request's body and answers it.
func (s *store) answer(c net.Conn, br *bufio.Reader, r request, buf []byte) error {
	switch {
	case r.path == "/api3/json" && r.length <= maxCall:
		body := buf[:r.length]
		if _, err := io.ReadFull(br, body); err != nil {
			return err
		}
		text := `{"results":{"entities":[],"paging_info":{"has_next_page":false}}}`
		if bytes.Contains(body, []byte(`"get_session_token"`)) {
			text = `{"results":{"session_id":"0123456789abcdef0123456789abcdef"}}`
		}
		return say(c, "application/json; charset=utf-8", text)
	case strings.HasPrefix(r.path, "/upload/"):
		if err := s.take(br, r.length, buf); err != nil {
			return err
		}
		return say(c, "text/plain; charset=utf-8", "1:77\nOK\n")
	case r.path == "/count":
		return say(c, "text/plain", fmt.Sprintf("%d %d\n", s.good.Load(), s.bad.Load()))
	case strings.HasPrefix(r.path, "/length/"): // of the file from now on
		n, err := strconv.ParseInt(strings.TrimPrefix(r.path, "/length/"), 10, 64)
		if err != nil {
			return errBad
		}
		s.length.Store(n)
		return say(c, "text/plain", "\n")
	case strings.HasPrefix(r.path, "/file_serve/"):
		return s.give(c)
	}
	return errBad
}

// take reads an upload to its end.
func (s *store) take(br *bufio.Reader, length int64, buf []byte) error {
	with := false
	for at := int64(0); at < length; {
		n, err := br.Read(buf[:min(blockSize, length-at)])
		if err != nil {
			s.bad.Add(1)
			return err
		}
		with = with || at < maxCall && bytes.Contains(buf[:n], s.key)
		at += int64(n)
	}
	if with {
		s.good.Add(1)
	} else {
		s.bad.Add(1)
	}
	return nil
}

// give writes the file.
func (s *store) give(c net.Conn) error {
	length := s.length.Load()
	if _, err := fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Type: video/quicktime\r\nContent-Length: %d\r\n\r\n", length); err != nil {
		return err
	}
	for length > 0 {
		n, err := c.Write(s.page[:min(blockSize, length)])
		if err != nil {
			return err
		}
		length -= int64(n)
	}
	return nil
}

func say(c net.Conn, contentType, body string) error {
	_, err := fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", contentType, len(body), body)
	return err
}

var errBad = errors.New("not a request that the benchmark makes")

type request struct {
	path   string
	length int64
}

// head reads a request's header.
func head(br *bufio.Reader) (r request, err error) {
	line, err := br.ReadString('\n')
	if err != nil {
		return r, err
	}
	f := strings.Fields(line)
	if len(f) != 3 {
		return r, errBad
	}
	r.path = f[1]
	for {
		line, err := br.ReadSlice('\n')
		if err != nil || len(line) <= 2 {
			return r, err
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		switch {
		case !ok || bytes.EqualFold(name, []byte("Transfer-Encoding")):
			return r, errBad
		case bytes.EqualFold(name, []byte("Content-Length")):
			if r.length, err = strconv.ParseInt(string(bytes.TrimSpace(value)), 10, 64); err != nil || r.length < 0 {
				return r, errBad
			}
		}
	}
}
