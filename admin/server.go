// Package admin answers health probes and metrics scrapes on a listener of its
// own. That one is read-only: nothing that can be asked there changes anything,
// so the configuration may bind it beyond loopback. What changes something, the
// brakes, has a unix socket for its owner alone. The package knows nothing of
// calls; what it says it is told by the functions it is given.
package admin

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
	"unicode"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"
)

const (
	// MaxConns is how many connections are served at a time: 64. More wait in
	// the kernel's queue.
	MaxConns = 64
	// maxScrapes is how many scrapes are answered at a time; more get 503.
	maxScrapes = 4
	// maxHeader bounds a request's headers in bytes.
	maxHeader = 16 << 10

	// headerTimeout is short, so that silent connections can't keep probes out
	// for as long as a probe waits.
	headerTimeout = 2 * time.Second
	readTimeout   = 10 * time.Second
	scrapeTimeout = 10 * time.Second
	writeTimeout  = 30 * time.Second
)

// Check is one thing that has to be well, for /readyz.
type Check struct {
	// Name is one word: vault, key:ev-rollup, audit.
	Name string
	// Why is empty when it is well, else one sentence that says what isn't and
	// what to do. It is served to whoever asks: no secrets.
	Why string
	// Note is something worth knowing that is no reason not to serve.
	Note string
}

// Options are what the server serves. A function may be called from several
// goroutines at once and must not wait for a network or a disk.
type Options struct {
	// Started is nil once the process has come up; then it stays nil. A missing
	// function is an error: the zero Options are never healthy.
	Started func() error
	// Live is nil unless only a restart can help. A missing one is nil.
	Live func() error
	// Ready lists every check, well or not. A missing function, or an empty
	// list, is not ready.
	Ready func() []Check
	// Metrics are served at /metrics; nil serves none.
	Metrics prometheus.Gatherer
	// Logger is told what the HTTP server complains of; nil tells nobody.
	Logger *slog.Logger
}

// Server serves /startupz, /livez, /readyz and /metrics, to GET and HEAD. It is
// safe for concurrent use; use [NewServer].
type Server struct {
	opts   Options
	routes map[string]http.Handler
	http   *http.Server
}

// NewServer makes a server; Serve starts it.
func NewServer(o Options) *Server {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{opts: o}
	s.routes = map[string]http.Handler{
		"/startupz": http.HandlerFunc(s.startup),
		"/livez":    http.HandlerFunc(s.live),
		"/readyz":   http.HandlerFunc(s.ready),
	}
	if o.Metrics != nil {
		s.routes["/metrics"] = promhttp.HandlerFor(o.Metrics, promhttp.HandlerOpts{
			ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: maxScrapes, Timeout: scrapeTimeout,
		})
	}
	s.http = &http.Server{
		Handler:           s,
		ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout,
		WriteTimeout: writeTimeout, MaxHeaderBytes: maxHeader,
		ErrorLog:                     slog.NewLogLogger(o.Logger.Handler(), slog.LevelWarn),
		DisableGeneralOptionsHandler: true,
	}
	// Idle connections would take the places of probes.
	s.http.SetKeepAlivesEnabled(false)
	return s
}

// Serve answers on l until Shutdown, and closes it. The error is nil after a
// Shutdown.
func (s *Server) Serve(l net.Listener) error {
	err := s.http.Serve(netutil.LimitListener(l, MaxConns))
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Shutdown stops serving. It waits for answers under way until ctx is done,
// and then cuts them off.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		return errors.Join(err, s.http.Close())
	}
	return nil
}

// ServeHTTP is the whole server, without its listener.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	// A path of its own map, not a ServeMux: that redirects what looks alike.
	route := s.routes[r.URL.Path]
	switch {
	case fromBrowser(r):
		answer(w, http.StatusForbidden, "not for web pages\n")
	case !hostFits(r):
		answer(w, http.StatusMisdirectedRequest, "wrong Host\n")
	case route == nil || r.URL.IsAbs():
		answer(w, http.StatusNotFound, "no such page\n")
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		h.Set("Allow", "GET, HEAD")
		answer(w, http.StatusMethodNotAllowed, "read-only\n")
	default:
		route.ServeHTTP(w, r)
	}
}

// fromBrowser says whether a web page may be behind the request.
func fromBrowser(r *http.Request) bool {
	return len(r.Header["Origin"]) > 0 || len(r.Header["Sec-Fetch-Site"]) > 0
}

// hostFits keeps a page whose name was rebound to a loopback address from
// reading the metrics: browsers send it neither Origin nor Sec-Fetch-Site over
// plain HTTP. Beyond loopback the names that lead here aren't known.
func hostFits(r *http.Request) bool {
	at, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if !ok || !at.IP.IsLoopback() {
		return true
	}
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = strings.Trim(r.Host, "[]")
	}
	ip, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && ip.IsLoopback()
}

func (s *Server) startup(w http.ResponseWriter, _ *http.Request) {
	if s.opts.Started == nil {
		report(w, []Check{{Name: "started", Why: "nothing says so"}})
		return
	}
	report(w, []Check{{Name: "started", Why: why(s.opts.Started())}})
}

func (s *Server) live(w http.ResponseWriter, _ *http.Request) {
	c := Check{Name: "live"}
	if s.opts.Live != nil {
		c.Why = why(s.opts.Live())
	}
	report(w, []Check{c})
}

func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	var checks []Check
	if s.opts.Ready != nil {
		checks = s.opts.Ready()
	}
	if len(checks) == 0 {
		checks = []Check{{Name: "ready", Why: "nothing says so"}}
	}
	report(w, checks)
}

func why(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// report writes a line per check, and 503 if one isn't well.
func report(w http.ResponseWriter, checks []Check) {
	status := http.StatusOK
	var b strings.Builder
	for _, c := range checks {
		word := "ok   "
		if c.Why != "" {
			word, status = "FAIL ", http.StatusServiceUnavailable
		}
		b.WriteString(word)
		b.WriteString(oneLine(c.Name))
		for _, s := range []string{c.Why, c.Note} {
			if s != "" {
				b.WriteString(": ")
				b.WriteString(oneLine(s))
			}
		}
		b.WriteByte('\n')
	}
	answer(w, status, b.String())
}

// oneLine keeps errors of several lines, and control bytes in them, from
// looking like other checks.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) { // nor what turns the direction of a text
			return ' '
		}
		return r
	}, s)
}

func answer(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body) // whoever hung up doesn't want it
}
