package upstream_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"stagedoor/upstream"
)

// frame writes one HTTP/2 frame.
func frame(w io.Writer, kind, flags byte, stream uint32, payload []byte) {
	head := make([]byte, 9, 9+len(payload))
	head[0], head[1], head[2] = byte(len(payload)>>16), byte(len(payload)>>8), byte(len(payload))
	head[3], head[4] = kind, flags
	binary.BigEndian.PutUint32(head[5:], stream)
	_, _ = w.Write(append(head, payload...))
}

// TestRefusedStreamIsNotSentAgainByTheTransport: that the site says it did not
// look at a call does not move net/http to send it a second time.
func TestRefusedStreamIsNotSentAgainByTheTransport(t *testing.T) {
	const (
		data, headers, rst, settings, goaway = 0, 1, 3, 4, 7
		endStream, ack                       = 1, 1
		refusedStream, protocolError         = 7, 1
	)
	code := func(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
	for name, answer := range map[string]func(w io.Writer, stream uint32){
		"refused":        func(w io.Writer, s uint32) { frame(w, rst, 0, s, code(refusedStream)) },
		"protocol error": func(w io.Writer, s uint32) { frame(w, rst, 0, s, code(protocolError)) },
		"goaway": func(w io.Writer, _ uint32) {
			frame(w, goaway, 0, 0, append(code(0), code(0)...)) // the last stream looked at is none
		},
	} {
		t.Run(name, func(t *testing.T) {
			var calls atomic.Int32
			p := visit(t, false, func(l *line) {
				br := bufio.NewReader(l.Conn)
				preface := make([]byte, len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
				if _, err := io.ReadFull(br, preface); err != nil {
					return
				}
				frame(l, settings, 0, 0, nil)
				for {
					head := make([]byte, 9)
					if _, err := io.ReadFull(br, head); err != nil {
						return
					}
					size := int64(head[0])<<16 | int64(head[1])<<8 | int64(head[2])
					if _, err := io.CopyN(io.Discard, br, size); err != nil {
						return
					}
					kind, flags, stream := head[3], head[4], binary.BigEndian.Uint32(head[5:])
					switch {
					case kind == settings && flags&ack == 0:
						frame(l, settings, ack, 0, nil)
					case kind == headers:
						calls.Add(1)
					}
					if (kind == headers || kind == data) && flags&endStream != 0 {
						answer(l, stream)
					}
				}
			}, func(o *upstream.Options, c *tls.Config) {
				o.HTTP2 = true
				c.NextProtos = []string{"h2"}
			})
			_, _, err := p.ask(t.Context(), "{}")
			var ue *upstream.Error
			if !errors.As(err, &ue) || !ue.Sent {
				t.Errorf("%v", err)
			}
			if n := calls.Load(); n != 1 {
				t.Errorf("the site saw %d calls", n)
			}
		})
	}
}

// TestBodyThatAnHTTP2SiteDoesNotTakeIsGivenUp: net/http waits for a window as
// long as it takes.
func TestBodyThatAnHTTP2SiteDoesNotTakeIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := visit(t, true, func(l *line) {
			done := make(chan struct{})
			go func() { // a pipe holds nothing: the client may be writing
				defer close(done)
				_, _ = io.Copy(io.Discard, l.Conn)
			}()
			frame(l, 4, 0, 0, nil) // settings, and no window beyond the first 64 KiB
			<-done
		}, func(o *upstream.Options, c *tls.Config) {
			o.HTTP2 = true
			c.NextProtos = []string{"h2"}
		})
		began := time.Now()
		_, _, err := p.ask(t.Context(), strings.Repeat("x", 200<<10))
		var ue *upstream.Error
		if !errors.As(err, &ue) || !ue.Sent || ue.Died || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%+v", ue)
		}
		if took := time.Since(began); took > 320*time.Second {
			t.Errorf("given up after %s", took)
		}
		p.end()
	})
}

// The caller of Do clears the body, which holds the key, once it has the
// answer's head; a site may answer before it has read the call.
func TestBodyClearedAfterAnEarlyAnswerIsSentAsItWas(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		answered, got := make(chan struct{}), make(chan []byte, 1)
		p := visitHTTP2(t, h2, func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).EnableFullDuplex()
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
			<-answered
			b, _ := io.ReadAll(r.Body)
			got <- b
		})
		body := bytes.Repeat([]byte("x"), 1<<20)
		res, err := p.site.Do(t.Context(), upstream.Request{Path: "/api3/json", Body: body})
		if err != nil {
			t.Fatal(err)
		}
		clear(body)
		close(answered)
		if b := <-got; len(b) != 1<<20 || bytes.IndexByte(b, 0) >= 0 {
			t.Errorf("HTTP/2 %v: the site read %d bytes, %d of them cleared", h2, len(b), bytes.Count(b, []byte{0}))
		}
		_ = res.Body.Close()
	}
}
