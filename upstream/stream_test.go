package upstream_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"stagedoor/upstream"
)

// piece is what upstream reads of a Stream at once; bound is how much further
// than the site it may be at most, sockets' buffers aside.
const (
	piece = 64 << 10
	bound = 2 * piece
)

// endless gives the same byte for ever.
type endless struct{ given atomic.Int64 }

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'e'
	}
	e.given.Add(int64(len(p)))
	return len(p), nil
}

// readerFunc is a Stream.
type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

var errSource = errors.New("the tool hung up")

// bytesOf makes n bytes that show where they stand.
func bytesOf(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i ^ i>>8 ^ i>>16)
	}
	return b
}

// received is one request as a site reads it.
type received struct {
	method, target, length, coding string
	body                           []byte
	whole                          bool
}

// recorder is a site that tells what it reads.
func recorder(got chan<- received) func(*line) {
	return func(l *line) {
		for {
			r, err := http.ReadRequest(l.br)
			if err != nil {
				return
			}
			b, err := io.ReadAll(r.Body)
			got <- received{r.Method, r.RequestURI, r.Header.Get("Content-Length"), strings.Join(r.TransferEncoding, ","), b, err == nil}
			if err != nil {
				return
			}
			l.say(ok)
		}
	}
}

// recorderHTTP2 is recorder for net/http's server.
func recorderHTTP2(got chan<- received) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		got <- received{method: r.Method, target: r.RequestURI, body: b, whole: err == nil}
		_, _ = io.WriteString(w, "ok")
	}
}

// send makes one call and reads its whole answer.
func (p *place) send(ctx context.Context, r upstream.Request) (head header, answer string, err error) {
	res, err := p.site.Do(ctx, r)
	if err != nil {
		return header{}, "", err
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	return header{res.StatusCode, res.ContentLength, res.Close}, string(b), err
}

// header is what a test looks at of an answer's.
type header struct {
	StatusCode    int
	ContentLength int64
	Close         bool
}

func TestStreamArrivesAsItIs(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		got := make(chan received, 1)
		p := visit(t, false, recorder(got))
		if h2 {
			p = visitHTTP2(t, true, recorderHTTP2(got))
		}
		for _, n := range []int{0, 1, 1000, piece - 1, piece, piece + 1, 2 * piece, 1<<20 + 3} {
			for _, before := range []int{0, 300, 200 << 10} {
				for how, wrap := range map[string]func(io.Reader) io.Reader{
					"plain":            func(r io.Reader) io.Reader { return r },
					"end with data":    iotest.DataErrReader,
					"in small pieces":  func(r io.Reader) io.Reader { return &small{r: r} },
					"nothing at times": func(r io.Reader) io.Reader { return &halting{r: r} },
				} {
					for _, known := range []bool{true, false} {
						name := fmt.Sprintf("HTTP/2 %v, %d bytes after %d, %s, length known %v", h2, n, before, how, known)
						head, file := bytesOf(before), bytesOf(n)
						length := int64(n)
						if !known {
							length = -1
						}
						_, answer, err := p.send(t.Context(), upstream.Request{
							Method: http.MethodPut, Path: "/upload/upload_file?a=%2F&b=c+d", Body: bytes.Clone(head),
							Stream: wrap(bytes.NewReader(file)), Length: length,
						})
						if err != nil || answer != "ok" {
							t.Fatalf("%s: %q %v", name, answer, err)
						}
						r := <-got
						if !r.whole || r.method != http.MethodPut || r.target != "/upload/upload_file?a=%2F&b=c+d" || !bytes.Equal(r.body, append(head, file...)) {
							t.Fatalf("%s: the site read %s %s with %d bytes", name, r.method, r.target, len(r.body))
						}
						if want := fmt.Sprint(before + n); !h2 && (known && (r.length != want || r.coding != "") || !known && (r.length != "" || r.coding != "chunked")) {
							t.Fatalf("%s: length %q, coding %q", name, r.length, r.coding)
						}
					}
				}
			}
		}
		if n := p.dials.Load(); !h2 && n != 1 {
			t.Errorf("%d connections", n)
		}
	}
}

// small reads 1 to 5000 bytes at a time.
type small struct {
	r io.Reader
	n int
}

func (s *small) Read(p []byte) (int, error) {
	s.n = s.n%5000 + 1777
	return s.r.Read(p[:min(len(p), s.n)])
}

// halting gives nothing every other time.
type halting struct {
	r    io.Reader
	some bool
}

func (h *halting) Read(p []byte) (int, error) {
	if h.some = !h.some; !h.some {
		return 0, nil
	}
	return h.r.Read(p)
}

// brokenStreams are those that never become a call.
var brokenStreams = []struct {
	name   string
	stream func() io.Reader
	length int64
	cause  error
	sent   bool
}{
	{"fails at once", func() io.Reader { return iotest.ErrReader(errSource) }, 10, errSource, false},
	{"fails at once, in chunks", func() io.Reader { return iotest.ErrReader(errSource) }, -1, errSource, false},
	{"fails late", func() io.Reader {
		return io.MultiReader(bytes.NewReader(bytesOf(5*piece)), iotest.ErrReader(errSource))
	}, 6 * piece, errSource, true},
	{"fails late, in chunks", func() io.Reader {
		return io.MultiReader(bytes.NewReader(bytesOf(5*piece)), iotest.ErrReader(errSource))
	}, -1, errSource, true},
	{"fails where it should end", func() io.Reader { return io.MultiReader(bytes.NewReader(bytesOf(10)), iotest.ErrReader(errSource)) }, 10, errSource, false},
	{"fails where it should end, late", func() io.Reader {
		return io.MultiReader(bytes.NewReader(bytesOf(3*piece)), iotest.ErrReader(errSource))
	}, 3 * piece, errSource, true},
	{"fails with its last bytes", func() io.Reader {
		return readerFunc(func(p []byte) (int, error) { return copy(p, "0123456789"), errSource })
	}, 10, errSource, false},
	{"ends early", func() io.Reader { return bytes.NewReader(bytesOf(9)) }, 10, io.ErrUnexpectedEOF, true},
	{"ends early, late", func() io.Reader { return bytes.NewReader(bytesOf(2*piece - 1)) }, 2 * piece, io.ErrUnexpectedEOF, true},
	{"is empty", func() io.Reader { return bytes.NewReader(nil) }, 1, io.ErrUnexpectedEOF, false},
	{"goes on", func() io.Reader { return bytes.NewReader(bytesOf(11)) }, 10, nil, false},
	{"goes on, late", func() io.Reader { return bytes.NewReader(bytesOf(2*piece + 1)) }, 2 * piece, nil, true},
	{"goes on where it should be empty", func() io.Reader { return bytes.NewReader(bytesOf(1)) }, 0, nil, false},
	{"ends uncleanly, in chunks", func() io.Reader {
		return io.MultiReader(bytes.NewReader(bytesOf(2*piece)), iotest.ErrReader(io.ErrUnexpectedEOF))
	}, -1, io.ErrUnexpectedEOF, true},
	{"ends by a wrapped end, in chunks", func() io.Reader {
		return io.MultiReader(bytes.NewReader(bytesOf(2*piece)), iotest.ErrReader(fmt.Errorf("cut: %w", io.EOF)))
	}, -1, io.EOF, true},
	{"gives nothing", func() io.Reader { return readerFunc(func([]byte) (int, error) { return 0, nil }) }, -1, io.ErrNoProgress, false},
	{"counts wrong", func() io.Reader { return readerFunc(func(p []byte) (int, error) { return len(p) + 1, nil }) }, -1, nil, false},
}

func TestBrokenStreamNeverBecomesACall(t *testing.T) {
	for _, tt := range brokenStreams {
		for _, h2 := range []bool{false, true} {
			t.Run(fmt.Sprint(tt.name, h2), func(t *testing.T) {
				got := make(chan received, 2)
				p := visit(t, false, recorder(got))
				if h2 {
					p = visitHTTP2(t, true, recorderHTTP2(got))
				}
				_, _, err := p.send(t.Context(), upstream.Request{Path: "/upload/upload_file", Body: []byte("head"), Stream: tt.stream(), Length: tt.length})
				var ue *upstream.Error
				if !errors.As(err, &ue) || !ue.Source || ue.Died || ue.Sent != tt.sent || tt.cause != nil && !errors.Is(err, tt.cause) {
					t.Errorf("%v %+v", err, ue)
				}
				if tt.sent {
					if r := <-got; r.whole {
						t.Errorf("the site read a complete call of %d bytes", len(r.body))
					}
				}
				if _, _, err := p.send(t.Context(), upstream.Request{Path: "/"}); err != nil {
					t.Fatal(err)
				}
				if r := <-got; !r.whole || r.target != "/" {
					t.Errorf("the site read %+v", r)
				}
			})
		}
	}
}

// TestBrokenStreamIsResetInHTTP2, frame by frame: no END_STREAM, and a reset.
func TestBrokenStreamIsResetInHTTP2(t *testing.T) {
	const (
		data, headers, rst, settings, window = 0, 1, 3, 4, 8
		endStream, ack                       = 1, 1
	)
	for _, tt := range brokenStreams {
		if !tt.sent {
			continue
		}
		t.Run(tt.name, func(t *testing.T) {
			reset := make(chan bool, 1) // after an end?
			p := visit(t, false, func(l *line) {
				if _, err := io.ReadFull(l.br, make([]byte, len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))); err != nil {
					return
				}
				frame(l, settings, 0, 0, nil)
				frame(l, window, 0, 0, binary.BigEndian.AppendUint32(nil, 1<<30))
				ended := false
				for {
					head := make([]byte, 9)
					if _, err := io.ReadFull(l.br, head); err != nil {
						return
					}
					size := int64(head[0])<<16 | int64(head[1])<<8 | int64(head[2])
					if _, err := io.CopyN(io.Discard, l.br, size); err != nil {
						return
					}
					kind, flags, stream := head[3], head[4], binary.BigEndian.Uint32(head[5:])
					switch {
					case kind == settings && flags&ack == 0:
						frame(l, settings, ack, 0, nil)
					case kind == headers:
						frame(l, window, 0, stream, binary.BigEndian.AppendUint32(nil, 1<<30))
					case kind == rst:
						reset <- ended
					}
					ended = ended || (kind == headers || kind == data) && flags&endStream != 0
				}
			}, func(o *upstream.Options, c *tls.Config) {
				o.HTTP2 = true
				c.NextProtos = []string{"h2"}
			})
			_, err := p.site.Do(t.Context(), upstream.Request{Path: "/", Stream: tt.stream(), Length: tt.length}) //nolint:bodyclose // there is none
			var ue *upstream.Error
			if !errors.As(err, &ue) || !ue.Source || !ue.Sent {
				t.Errorf("%v", err)
			}
			if <-reset {
				t.Error("the site saw the stream end")
			}
		})
	}
}

const refusal = "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig"

// TestEarlyAnswers: a site that answers before it has read all.
func TestEarlyAnswers(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer string
		then   func(*line)
	}{
		{"and waits", refusal, nil},
		{"and closes", refusal, func(*line) {}},
		{"and says its end", refusal, func(l *line) { _ = l.Close() }},
		{"and sends no more", refusal, func(l *line) {
			if tc, ok := l.Conn.(*tls.Conn); ok {
				_ = tc.CloseWrite()
			}
			_, _ = io.Copy(io.Discard, l.raw)
		}},
		{"and reads on", refusal, func(l *line) { _, _ = io.Copy(io.Discard, l.Conn) }},
		{"after an interim answer", "HTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + refusal, func(*line) {}},
		{"up to the end", "HTTP/1.1 413 Too Large\r\n\r\nbig", func(l *line) { _ = l.Close() }},
		{"in chunks", "HTTP/1.1 413 Too Large\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nbig\r\n0\r\n\r\n", func(*line) {}},
	} {
		for _, length := range []int64{1 << 40, -1} {
			t.Run(fmt.Sprint(tt.name, length), func(t *testing.T) {
				var calls atomic.Int32
				over := make(chan struct{})
				p := visit(t, false, func(l *line) {
					r, err := http.ReadRequest(l.br)
					if err != nil {
						return
					}
					if calls.Add(1) > 1 {
						l.say(ok)
						return
					}
					_, _ = io.CopyN(io.Discard, r.Body, 10)
					l.say(tt.answer)
					if tt.then != nil {
						tt.then(l)
					} else {
						<-over
					}
				})
				res, answer, err := p.send(t.Context(), upstream.Request{Path: "/", Stream: &endless{}, Length: length})
				close(over)
				if err != nil || res.StatusCode != http.StatusRequestEntityTooLarge || answer != "big" || !res.Close {
					t.Fatalf("%+v %q %v", res, answer, err)
				}
				if _, _, err := p.send(t.Context(), upstream.Request{Path: "/"}); err != nil || p.dials.Load() != 2 {
					t.Errorf("%v, %d connections", err, p.dials.Load())
				}
			})
		}
	}
}

func TestEarlyAnswersInHTTP2(t *testing.T) {
	p := visitHTTP2(t, true, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.CopyN(io.Discard, r.Body, 10)
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		_, _ = io.WriteString(w, "big")
	})
	for _, length := range []int64{1 << 40, -1} {
		source := &once{endless: &endless{}}
		res, answer, err := p.send(t.Context(), upstream.Request{Path: "/", Stream: source, Length: length})
		source.over.Store(true)
		if err != nil || res.StatusCode != http.StatusRequestEntityTooLarge || answer != "big" || !res.Close {
			t.Fatalf("%+v %q %v", res, answer, err)
		}
		if source.late.Load() {
			t.Error("the Stream was read after Do returned")
		}
	}
}

// once notes when it is read after Do.
type once struct {
	*endless
	over, late atomic.Bool
}

func (o *once) Read(p []byte) (int, error) {
	if o.over.Load() {
		o.late.Store(true)
	}
	return o.endless.Read(p)
}

// TestEarlySuccessDoesNotCutTheCall: a site may begin its answer while it reads.
func TestEarlySuccessDoesNotCutTheCall(t *testing.T) {
	file := bytesOf(3<<20 + 5)
	got := make(chan []byte, 1)
	t.Run("HTTP/1.1", func(t *testing.T) {
		p := visit(t, false, func(l *line) {
			r, err := http.ReadRequest(l.br)
			if err != nil {
				return
			}
			l.say("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
			b, _ := io.ReadAll(r.Body)
			l.say("ok")
			got <- b
		})
		_, answer, err := p.send(t.Context(), upstream.Request{Path: "/", Stream: bytes.NewReader(file), Length: int64(len(file))})
		if b := <-got; err != nil || answer != "ok" || !bytes.Equal(b, file) {
			t.Errorf("%q %v, the site read %d bytes", answer, err, len(b))
		}
	})
	t.Run("HTTP/2", func(t *testing.T) {
		p := visitHTTP2(t, true, func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).EnableFullDuplex()
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
			b, _ := io.ReadAll(r.Body)
			_, _ = io.WriteString(w, "ok")
			got <- b
		})
		source := &noted{r: bytes.NewReader(file)}
		_, answer, err := p.send(t.Context(), upstream.Request{Path: "/", Stream: source, Length: int64(len(file))})
		if b := <-got; err != nil || answer != "ok" || !bytes.Equal(b, file) {
			t.Errorf("%q %v, the site read %d bytes", answer, err, len(b))
		}
	})
	t.Run("and a Stream that fails after it", func(t *testing.T) {
		for _, h2 := range []bool{false, true} {
			begun := make(chan struct{})
			whole := make(chan bool, 1)
			p := visit(t, false, func(l *line) {
				r, err := http.ReadRequest(l.br)
				if err != nil {
					return
				}
				l.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
				close(begun)
				_, err = io.Copy(io.Discard, r.Body)
				whole <- err == nil
			})
			if h2 {
				p = visitHTTP2(t, true, func(w http.ResponseWriter, r *http.Request) {
					_ = http.NewResponseController(w).EnableFullDuplex()
					w.WriteHeader(http.StatusOK)
					_ = http.NewResponseController(w).Flush()
					close(begun)
					_, err := io.Copy(io.Discard, r.Body)
					whole <- err == nil
				})
			}
			first := true
			_, _, err := p.send(t.Context(), upstream.Request{Path: "/", Length: -1, Stream: readerFunc(func(p []byte) (int, error) {
				if first {
					first = false
					return copy(p, "begin"), nil
				}
				<-begun
				return 0, errSource
			})})
			var ue *upstream.Error
			if !errors.As(err, &ue) || !ue.Source || !ue.Sent || <-whole {
				t.Errorf("HTTP/2 %v: %v", h2, err)
			}
		}
	})
}

// noted passes reads on.
type noted struct{ r io.Reader }

func (n *noted) Read(p []byte) (int, error) { return n.r.Read(p) }

// TestSiteThatClosesMidBody gives no answer: the call ends at once.
func TestSiteThatClosesMidBody(t *testing.T) {
	for name, end := range map[string]func(*line){
		"closed": func(l *line) { _ = l.raw.Close() },
		"reset": func(l *line) {
			if tc, ok := l.raw.(*net.TCPConn); ok {
				_ = tc.SetLinger(0)
			}
			_ = l.raw.Close()
		},
		"with TLS's end": func(l *line) { _ = l.Close() },
		"half an answer": func(l *line) { l.say("HTTP/1.1 413 Too"); _ = l.raw.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			p := visit(t, false, func(l *line) {
				r, err := http.ReadRequest(l.br)
				if err != nil {
					return
				}
				_, _ = io.CopyN(io.Discard, r.Body, 300<<10)
				end(l)
			})
			_, _, err := p.send(t.Context(), upstream.Request{Path: "/", Stream: &endless{}, Length: 1 << 40})
			var ue *upstream.Error
			if !errors.As(err, &ue) || !ue.Sent || ue.Source || ue.Died {
				t.Errorf("%v %+v", err, ue)
			}
		})
	}
}

// TestStreamIsReadNoFurtherThanTheSiteTakesIt: a pipe holds nothing itself.
func TestStreamIsReadNoFurtherThanTheSiteTakesIt(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var taken atomic.Int64
			more := make(chan struct{})
			p := visit(t, true, func(l *line) {
				for range more {
					n, _ := io.CopyN(io.Discard, l.Conn, 100<<10)
					taken.Add(n)
				}
			}, func(o *upstream.Options, c *tls.Config) {
				if h2 {
					o.HTTP2 = true
					c.NextProtos = []string{"h2"}
				}
			})
			source := &endless{}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() {
				_, _, err := p.send(ctx, upstream.Request{Path: "/", Stream: source, Length: 1 << 40})
				done <- err
			}()
			for range 20 {
				if h2 {
					break // without a window nothing goes
				}
				more <- struct{}{}
				synctest.Wait()
				if given := source.given.Load(); given > taken.Load()+bound || given == 0 {
					t.Fatalf("%d bytes were read of the Stream, the site took %d", given, taken.Load())
				}
			}
			synctest.Wait()
			if given := source.given.Load(); h2 && given > bound {
				t.Fatalf("HTTP/2: %d bytes were read of the Stream", given)
			}
			cancel()
			if err := <-done; !errors.Is(err, context.Canceled) && !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%v", err)
			}
			close(more)
			p.end()
		})
	}
}

// TestSlowSiteOverASocket: what is read ahead is bounded by the sockets' buffers.
func TestSlowSiteOverASocket(t *testing.T) {
	const total = 24 << 20
	source := &endless{}
	most := int64(0)
	p := visit(t, false, func(l *line) {
		r, err := http.ReadRequest(l.br)
		if err != nil {
			return
		}
		for n := int64(0); n < total; n += 1 << 20 {
			most = max(most, source.given.Load()-n)
			if _, err := io.CopyN(io.Discard, r.Body, 1<<20); err != nil {
				return
			}
		}
		l.say(ok)
	}, func(o *upstream.Options, _ *tls.Config) {
		dial := o.Dial
		o.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := dial(ctx, network, addr)
			if tc, ok := c.(*net.TCPConn); ok {
				err = errors.Join(err, tc.SetWriteBuffer(64<<10))
			}
			return c, err
		}
	})
	if _, answer, err := p.send(t.Context(), upstream.Request{Path: "/", Stream: io.LimitReader(source, total), Length: total}); err != nil || answer != "ok" {
		t.Fatalf("%q %v", answer, err)
	}
	p.end()
	if most > 8<<20 { // of which the site's own receive buffer is the largest part
		t.Errorf("the Stream was read %d bytes ahead of the site", most)
	}
}

func TestStreamWaitsAreBounded(t *testing.T) {
	take := func(n int64) func(*line) {
		return func(l *line) {
			r, err := http.ReadRequest(l.br)
			if err == nil {
				_, _ = io.CopyN(io.Discard, r.Body, n)
			}
			pass(24 * time.Hour)
		}
	}
	for _, tt := range []struct {
		name   string
		site   func(*line)
		length int64
		want   time.Duration
	}{
		{"a site that takes nothing", func(*line) { pass(24 * time.Hour) }, 10 << 20, 60 * time.Second},
		{"a site that stops", take(5 << 20), 10 << 20, 60 * time.Second},
		{"a site that does not answer", take(1 << 20), 1 << 20, 300 * time.Second},
		{"a slow site that stops", func(l *line) {
			r, err := http.ReadRequest(l.br)
			for range 10 {
				pass(50 * time.Second)
				if err == nil {
					_, err = io.CopyN(io.Discard, r.Body, 200<<10)
				}
			}
			pass(24 * time.Hour)
		}, 10 << 20, 560 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := visit(t, true, tt.site)
				began := time.Now()
				_, _, err := p.send(t.Context(), upstream.Request{Path: "/", Stream: io.LimitReader(&endless{}, tt.length), Length: tt.length})
				var ue *upstream.Error
				if !errors.As(err, &ue) || !ue.Sent || ue.Died || ue.Source || !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("%v %+v", err, ue)
				}
				if took := time.Since(began); took != tt.want {
					t.Errorf("given up after %s, not %s", took, tt.want)
				}
				p.end()
			})
		})
	}
}

// TestHTTP2StreamWaitsAreBounded: the same, of a site without a window.
func TestHTTP2StreamWaitsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := visit(t, true, func(l *line) {
			done := make(chan struct{})
			go func() {
				defer close(done)
				_, _ = io.Copy(io.Discard, l.Conn)
			}()
			frame(l, 4, 0, 0, nil)
			<-done
		}, func(o *upstream.Options, c *tls.Config) {
			o.HTTP2 = true
			c.NextProtos = []string{"h2"}
		})
		began := time.Now()
		_, _, err := p.send(t.Context(), upstream.Request{Path: "/", Stream: &endless{}, Length: 1 << 30})
		var ue *upstream.Error
		if !errors.As(err, &ue) || !ue.Sent || ue.Died || ue.Source || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%v %+v", err, ue)
		}
		if took := time.Since(began); took != upstream.DefaultBodyTimeout {
			t.Errorf("given up after %s", took)
		}
		p.end()
	})
}

// TestSlowStreamIsNotTheSitesFault: a tool may take hours, in HTTP/2 too.
func TestSlowStreamIsNotTheSitesFault(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			got := make(chan received, 1)
			site := recorder(got)
			if h2 {
				site = func(l *line) {
					s := &http.Server{Handler: recorderHTTP2(got), Protocols: new(http.Protocols)}
					s.Protocols.SetUnencryptedHTTP2(true)
					ln := &single{c: l.Conn, gone: make(chan struct{})}
					_ = s.Serve(ln)
				}
			}
			p := visit(t, true, site, func(o *upstream.Options, c *tls.Config) {
				if h2 {
					o.HTTP2 = true
					c.NextProtos = []string{"h2"}
				}
			})
			left := 10
			_, answer, err := p.send(t.Context(), upstream.Request{Path: "/", Length: 10, Stream: readerFunc(func(p []byte) (int, error) {
				if left == 0 {
					return 0, io.EOF
				}
				left--
				pass(time.Hour)
				return copy(p, "x"), nil
			})})
			if err != nil || answer != "ok" {
				t.Errorf("HTTP/2 %v: %q %v", h2, answer, err)
			}
			p.site.Close()
			synctest.Wait()
		})
	}
}

// single is a listener of one connection, plain to net/http, that ends with it.
type single struct {
	c    net.Conn
	gone chan struct{}
}

func (s *single) Accept() (net.Conn, error) {
	if c := s.c; c != nil {
		s.c = nil
		return &plainConn{Conn: c, gone: s.gone}, nil
	}
	<-s.gone
	return nil, net.ErrClosed
}

func (s *single) Close() error   { return nil }
func (s *single) Addr() net.Addr { return &net.TCPAddr{} }

type plainConn struct {
	net.Conn
	gone chan struct{}
	once atomic.Bool
}

func (p *plainConn) Close() error {
	if p.once.CompareAndSwap(false, true) {
		close(p.gone)
	}
	return p.Conn.Close()
}

// TestUsedUpStreamIsNoCallToSendAgain: a kept connection dies under it, and
// nobody may take that for a call that can be made again.
func TestUsedUpStreamIsNoCallToSendAgain(t *testing.T) {
	p := visit(t, false, func(l *line) {
		if l.call() {
			l.say(ok)
		}
		if r, err := http.ReadRequest(l.br); err == nil {
			_, _ = io.CopyN(io.Discard, r.Body, 10)
		}
	})
	if _, _, err := p.send(t.Context(), upstream.Request{Path: "/"}); err != nil {
		t.Fatal(err)
	}
	_, _, err := p.send(t.Context(), upstream.Request{Path: "/", Stream: &endless{}, Length: -1})
	var ue *upstream.Error
	if !errors.As(err, &ue) || !ue.Sent || ue.Reused || ue.Died || p.dials.Load() != 1 {
		t.Errorf("%v %+v", err, ue)
	}
}

func TestHangUpCutsTheStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := visit(t, true, func(l *line) {
			_, _ = io.CopyN(io.Discard, l.Conn, 1<<20)
			pass(24 * time.Hour)
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			_, _, err := p.send(ctx, upstream.Request{Path: "/", Stream: &endless{}, Length: -1})
			done <- err
		}()
		synctest.Wait()
		began := time.Now()
		cancel()
		var ue *upstream.Error
		if err := <-done; !errors.As(err, &ue) || !ue.Sent || ue.Died || ue.Source || time.Since(began) != 0 {
			t.Errorf("%v %+v after %s", err, ue, time.Since(began))
		}
		p.end()
	})
}

// TestPanicOfAStreamLeavesNothing: no connection, no goroutine (the bubble
// would not end), no call.
func TestPanicOfAStreamLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := make(chan received, 1)
		p := visit(t, true, recorder(got))
		n := 0
		func() {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			_, _, _ = p.send(t.Context(), upstream.Request{Path: "/", Length: 300 << 10, Stream: readerFunc(func(p []byte) (int, error) {
				if n++; n == 3 {
					panic(errSource)
				}
				return len(p), nil
			})})
		}()
		if r := <-got; r.whole {
			t.Errorf("the site read a call of %d bytes", len(r.body))
		}
		p.end()
	})
}

// TestVerbsAsWritten: the bytes of a call.
func TestVerbsAsWritten(t *testing.T) {
	got := make(chan string, 1)
	p := visit(t, false, func(l *line) {
		var b bytes.Buffer
		l.br = bufio.NewReader(io.TeeReader(l.Conn, &b))
		if l.call() {
			l.say(ok)
		}
		got <- b.String()
	})
	for _, tt := range []struct {
		r    upstream.Request
		want string
	}{
		{upstream.Request{Method: "GET", Path: "/file_serve/attachment/7?a=b%20c"}, "GET /file_serve/attachment/7?a=b%20c HTTP/1.1\r\nHost: example.com\r\n\r\n"},
		{upstream.Request{Method: "GET", Path: "/", Header: [][2]string{{"Range", "bytes=1-"}}}, "GET / HTTP/1.1\r\nHost: example.com\r\nRange: bytes=1-\r\n\r\n"},
		{upstream.Request{Method: "DELETE", Path: "/api/v1/entity/shots/7"}, "DELETE /api/v1/entity/shots/7 HTTP/1.1\r\nHost: example.com\r\n\r\n"},
		{upstream.Request{Method: "DELETE", Path: "/x", Body: []byte("{}")}, "DELETE /x HTTP/1.1\r\nHost: example.com\r\nContent-Length: 2\r\n\r\n{}"},
		{upstream.Request{Method: "PUT", Path: "/x"}, "PUT /x HTTP/1.1\r\nHost: example.com\r\nContent-Length: 0\r\n\r\n"},
		{upstream.Request{Path: "/x"}, "POST /x HTTP/1.1\r\nHost: example.com\r\nContent-Length: 0\r\n\r\n"},
		{upstream.Request{Path: "/x", Body: []byte("ab"), Stream: strings.NewReader("cde"), Length: 3}, "POST /x HTTP/1.1\r\nHost: example.com\r\nContent-Length: 5\r\n\r\nabcde"},
		{
			upstream.Request{Path: "/x", Body: []byte("ab"), Stream: strings.NewReader("0123456789abcdef"), Length: -1},
			"POST /x HTTP/1.1\r\nHost: example.com\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n",
		},
		{upstream.Request{Path: "/x", Stream: strings.NewReader(""), Length: -1}, "POST /x HTTP/1.1\r\nHost: example.com\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
	} {
		tt.r.Fresh = true // the site closes after one
		if _, _, err := p.send(t.Context(), tt.r); err != nil {
			t.Fatal(err)
		}
		if s := <-got; s != tt.want {
			t.Errorf("%q, not %q", s, tt.want)
		}
	}
}

func TestAnswersWithoutBodies(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		for _, tt := range []struct {
			method string
			status int
		}{{"HEAD", 200}, {"HEAD", 404}, {"GET", 204}, {"GET", 304}, {"DELETE", 204}, {"PUT", 204}} {
			answer := fmt.Sprintf("HTTP/1.1 %d X\r\nContent-Length: 7\r\n\r\n", tt.status)
			if tt.status == 204 {
				answer = "HTTP/1.1 204 X\r\n\r\n"
			}
			p := visit(t, false, always(answer))
			if h2 {
				p = visitHTTP2(t, true, func(w http.ResponseWriter, _ *http.Request) {
					if tt.status != 204 {
						w.Header().Set("Content-Length", "7")
					}
					w.WriteHeader(tt.status)
				})
			}
			for i := range 3 {
				res, err := p.site.Do(t.Context(), upstream.Request{Method: tt.method, Path: "/"})
				if err != nil || res.StatusCode != tt.status {
					t.Fatalf("%v %v", res, err)
				}
				if i == 1 {
					if b, err := io.ReadAll(res.Body); len(b) != 0 || err != nil {
						t.Errorf("%s %d, HTTP/2 %v: %q %v", tt.method, tt.status, h2, b, err)
					}
				}
				_ = res.Body.Close()
			}
			if n := p.dials.Load(); !h2 && n != 1 {
				t.Errorf("%s %d: %d connections", tt.method, tt.status, n)
			}
		}
	}
}

// TestBodyAfterHEADIsNobodysAnswer: a site that sends one all the same.
func TestBodyAfterHEADIsNobodysAnswer(t *testing.T) {
	p := visit(t, false, always("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"+ok))
	for range 3 {
		if res, answer, err := p.send(t.Context(), upstream.Request{Method: "HEAD", Path: "/"}); err != nil || answer != "" || res.ContentLength != 2 {
			t.Errorf("%q %v", answer, err)
		}
	}
	if n := p.dials.Load(); n != 3 {
		t.Errorf("%d connections", n)
	}
}

func TestWhatIsNoCallIsNotSent(t *testing.T) {
	for name, r := range map[string]upstream.Request{
		"a verb":              {Method: "PATCH", Path: "/"},
		"a small verb":        {Method: "get", Path: "/"},
		"a verb and more":     {Method: "GET / HTTP/1.1\r\nX: y", Path: "/"},
		"a GET with a body":   {Method: "GET", Path: "/", Body: []byte("x")},
		"a HEAD with a file":  {Method: "HEAD", Path: "/", Stream: strings.NewReader("")},
		"no path":             {},
		"another origin":      {Path: "https://other.example/"},
		"a split path":        {Path: "/ HTTP/1.1\r\nX: y"},
		"a path with a space": {Path: "/a b"},
		"a path in UTF-8":     {Path: "/ä"},
		"a fragment":          {Path: "/a#b"},
		"a split header":      {Path: "/", Header: [][2]string{{"X", "y\r\nZ: z"}}},
		"a split name":        {Path: "/", Header: [][2]string{{"X\nZ", "y"}}},
		"a length of nothing": {Path: "/", Length: 1},
		"an unknown nothing":  {Path: "/", Length: -1},
		"a wrong length":      {Path: "/", Stream: strings.NewReader("x"), Length: -2},
		"too great a length":  {Path: "/", Body: []byte("x"), Stream: strings.NewReader("x"), Length: 1<<63 - 1},
	} {
		for _, h2 := range []bool{false, true} {
			p := visit(t, false, always(ok), func(o *upstream.Options, _ *tls.Config) { o.HTTP2 = h2 })
			_, _, err := p.send(t.Context(), r)
			var ue *upstream.Error
			if !errors.As(err, &ue) || ue.Sent || ue.Source || p.dials.Load() != 0 {
				t.Errorf("%s: %v, %d connections", name, err, p.dials.Load())
			}
		}
	}
}

// TestRefusedReadIsNotSentAgainInHTTP2: net/http would, as it has no body.
func TestRefusedReadIsNotSentAgainInHTTP2(t *testing.T) {
	var calls atomic.Int32
	lines := make(chan *line, 3)
	p := visit(t, false, func(l *line) {
		lines <- l
		if _, err := io.ReadFull(l.br, make([]byte, len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))); err != nil {
			return
		}
		frame(l, 4, 0, 0, nil)
		for {
			head := make([]byte, 9)
			if _, err := io.ReadFull(l.br, head); err != nil {
				return
			}
			if _, err := io.CopyN(io.Discard, l.br, int64(head[0])<<16|int64(head[1])<<8|int64(head[2])); err != nil {
				return
			}
			switch kind, flags, stream := head[3], head[4], binary.BigEndian.Uint32(head[5:]); {
			case kind == 4 && flags&1 == 0:
				frame(l, 4, 1, 0, nil)
			case kind == 1:
				calls.Add(1)
				frame(l, 3, 0, stream, []byte{0, 0, 0, 7}) // REFUSED_STREAM
			}
		}
	}, func(o *upstream.Options, c *tls.Config) {
		o.HTTP2 = true
		c.NextProtos = []string{"h2"}
	})
	_, _, err := p.send(t.Context(), upstream.Request{Method: "GET", Path: "/"})
	for range 2 { // the first was where the site chose HTTP/2
		_ = (<-lines).raw.Close()
	}
	var ue *upstream.Error
	if !errors.As(err, &ue) || !ue.Sent || calls.Load() != 1 {
		t.Errorf("%v, the site saw %d calls", err, calls.Load())
	}
}

// TestLongAnswersAreReadInLongPieces: not in records of TLS, or in the buffer
// that headers are read by.
func TestLongAnswersAreReadInLongPieces(t *testing.T) {
	file := string(bytesOf(60 << 10))
	for name, head := range map[string]string{
		"length":  fmt.Sprintf("Content-Length: %d\r\n\r\n", len(file)),
		"chunked": fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n", len(file)),
	} {
		t.Run(name, func(t *testing.T) {
			written := make(chan struct{})
			p := visit(t, false, func(l *line) {
				_ = l.call()
				l.say("HTTP/1.1 200 OK\r\n" + head)
				l.say(file) // it fits the sockets
				if name == "chunked" {
					l.say("\r\n0\r\n\r\n")
				}
				written <- struct{}{}
				_ = l.call()
			})
			res, err := p.site.Do(t.Context(), upstream.Request{Method: "GET", Path: "/"})
			if err != nil {
				t.Fatal(err)
			}
			<-written
			buf := make([]byte, len(file))
			longest, n := 0, 0
			for err == nil && n < len(buf) {
				var m int
				m, err = res.Body.Read(buf[n:])
				n += m
				longest = max(longest, m)
			}
			if string(buf[:n]) != file || longest < 32<<10 {
				t.Errorf("%d bytes, %d at most at once, %v", n, longest, err)
			}
			_ = res.Body.Close()
			p.site.Close()
		})
	}
}
