package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	// MaxBrakeTime is the longest that a brake may hold: 7 days. One that is
	// forgotten ends by itself.
	MaxBrakeTime = 7 * 24 * time.Hour
	// MaxWhy is how many bytes a brake's reason may have.
	MaxWhy = 200
	// maxControlBody bounds a request to the control socket in bytes.
	maxControlBody = 8 << 10
	// maxControlAnswer bounds an answer in bytes: a thousand brakes, each character
	// of their texts written as \u003c, have room.
	maxControlAnswer = 4 << 20
	// controlTimeout is how long one may take: a brake that goes to the fleet
	// waits for Redis.
	controlTimeout = 10 * time.Second
	// maxSocketPath is how long the kernel lets the path of a socket be, in bytes.
	maxSocketPath = 103
	// unfinished ends the name of a socket that others could still open.
	unfinished = ".new"
)

// Brake slows the calls of a script or of a caller, for a while.
type Brake struct {
	// Scope is "script" or "caller".
	Scope string `json:"scope"`
	Name  string `json:"name"`
	// Rate is calls per second; 0 pauses.
	Rate  float64   `json:"rate"`
	Until time.Time `json:"until"`
	Why   string    `json:"why"`
	// By is who set it.
	By string `json:"by"`
}

// BrakeBox keeps the brakes that are in force. Its methods are safe for
// concurrent use.
type BrakeBox interface {
	// Set puts a brake in force, here or in the whole fleet: where says which.
	Set(ctx context.Context, b Brake) (where string, err error)
	// Lift takes one away; found says whether there was one.
	Lift(ctx context.Context, scope, name string) (found bool, where string, err error)
	// List is what is in force now.
	List() []Brake
}

// Control serves a unix socket that only its owner and root can open: there the
// wrangler's brake is pulled. It changes nothing but brakes. Use [OpenControl].
type Control struct {
	box  BrakeBox
	http *http.Server
	ln   net.Listener
	done chan struct{}
}

// OpenControl listens on a unix socket at path and serves until Close. The
// folder is made if it isn't there, for its owner alone. What a process that is
// gone left there is replaced; a socket that answers belongs to another proxy,
// and is an error.
func OpenControl(ctx context.Context, path string, box BrakeBox, logger *slog.Logger) (*Control, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("making the folder of the control socket: %w", err)
	}
	if err := clearSocket(ctx, path); err != nil {
		return nil, err
	}
	ln, err := listenPrivate(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("listening on the control socket %s: %w", path, err)
	}
	c := &Control{box: box, ln: ln, done: make(chan struct{})}
	c.http = &http.Server{
		Handler: c, ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout,
		MaxHeaderBytes: maxHeader, ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
	c.http.SetKeepAlivesEnabled(false)
	go func() {
		defer close(c.done)
		if err := c.http.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			logger.ErrorContext(ctx, "the control socket stopped", slog.Any("error", err))
		}
	}()
	return c, nil
}

// clearSocket removes a socket that nobody listens on.
func clearSocket(ctx context.Context, path string) error {
	if len(path)+len(unfinished) > maxSocketPath {
		return fmt.Errorf("the path of the control socket is longer than %d bytes: %s; name another with --control", maxSocketPath-len(unfinished), path)
	}
	st, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("looking at the control socket: %w", err)
	case st.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s is no socket; remove it, or name another with --control", path)
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err == nil {
		_ = conn.Close()
		return fmt.Errorf("another Stagedoor listens on %s; name another with --control", path)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("removing an old control socket: %w", err)
	}
	return nil
}

// listenPrivate makes a socket that only its owner can open, from its first
// moment on: it gets its name when it has its mode.
func listenPrivate(ctx context.Context, path string) (net.Listener, error) {
	fresh := path + unfinished
	if err := os.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("removing an unfinished socket: %w", err)
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "unix", fresh)
	if err != nil {
		return nil, err
	}
	if u, ok := ln.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false) // it has another name by then
	}
	if err := os.Chmod(fresh, 0o600); err != nil {
		return nil, errors.Join(err, ln.Close(), os.Remove(fresh))
	}
	if err := os.Rename(fresh, path); err != nil {
		return nil, errors.Join(err, ln.Close(), os.Remove(fresh))
	}
	return &named{ln, path}, nil
}

// named is a listener whose socket goes when it closes.
type named struct {
	net.Listener

	path string
}

func (n *named) Close() error {
	err := n.Listener.Close()
	if rerr := os.Remove(n.path); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
		err = errors.Join(err, rerr)
	}
	return err
}

// Close stops serving and removes the socket. A nil Control has nothing to
// close.
func (c *Control) Close() {
	if c == nil {
		return
	}
	_ = c.http.Close()
	<-c.done
}

// ServeHTTP is the whole server, without its listener.
func (c *Control) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), controlTimeout)
	defer cancel()
	if r.URL.Path != "/brakes" {
		answer(w, http.StatusNotFound, "no such page\n")
		return
	}
	switch r.Method {
	case http.MethodGet:
		c.list(w)
	case http.MethodPost:
		c.change(ctx, w, r)
	default:
		answer(w, http.StatusMethodNotAllowed, "GET or POST\n")
	}
}

func (c *Control) list(w http.ResponseWriter) {
	out, err := json.Marshal(c.box.List())
	if err != nil {
		answer(w, http.StatusInternalServerError, err.Error()+"\n")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(out)
}

func (c *Control) change(ctx context.Context, w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxControlBody)) //nolint:forbidigo // bounded by MaxBytesReader
	if err != nil {
		answer(w, http.StatusBadRequest, "reading the request: "+err.Error()+"\n")
		return
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		answer(w, http.StatusBadRequest, "reading the request: "+err.Error()+"\n")
		return
	}
	scope, name := form.Get("scope"), form.Get("name")
	if form.Has("lift") {
		c.lift(ctx, w, scope, name)
		return
	}
	b, err := readBrake(form, time.Now())
	if err != nil {
		answer(w, http.StatusBadRequest, err.Error()+"\n")
		return
	}
	where, err := c.box.Set(ctx, b)
	if err != nil {
		answer(w, http.StatusConflict, err.Error()+"\n")
		return
	}
	answer(w, http.StatusOK, fmt.Sprintf("%s %s is %s until %s, %s\n", scope, name, b.Speed(), b.Until.Format(time.TimeOnly), where))
}

func (c *Control) lift(ctx context.Context, w http.ResponseWriter, scope, name string) {
	found, where, err := c.box.Lift(ctx, scope, name)
	switch {
	case err != nil:
		answer(w, http.StatusConflict, err.Error()+"\n")
	case !found:
		answer(w, http.StatusNotFound, "no brake is on "+scope+" "+name+"\n")
	default:
		answer(w, http.StatusOK, fmt.Sprintf("%s %s goes on as configured, %s\n", scope, name, where))
	}
}

// Speed says what a brake leaves.
func (b *Brake) Speed() string {
	if b.Rate == 0 {
		return "paused"
	}
	return "slowed to " + strconv.FormatFloat(b.Rate, 'g', 4, 64) + "/s"
}

func readBrake(form url.Values, now time.Time) (Brake, error) {
	b := Brake{Scope: form.Get("scope"), Name: form.Get("name"), Why: strings.TrimSpace(form.Get("why")), By: form.Get("by")}
	rate, err := strconv.ParseFloat(form.Get("rate"), 64)
	if err != nil || !(rate >= 0 && rate <= 1e6) {
		return b, errors.New("the rate has to be calls per second, 0 for none")
	}
	b.Rate = rate
	d, err := time.ParseDuration(form.Get("for"))
	if err != nil || d < time.Second || d > MaxBrakeTime {
		return b, fmt.Errorf("the time has to be from 1s to %s", MaxBrakeTime)
	}
	b.Until = now.Add(d).Truncate(time.Millisecond) // never later: MaxBrakeTime is a bound
	switch {
	case b.Scope != "script" && b.Scope != "caller", b.Name == "":
		return b, errors.New("a script or a caller has to be named")
	case b.Why == "":
		return b, errors.New("say why: those who are slowed read it")
	case len(b.Why) > MaxWhy || len(b.Name) > MaxWhy || len(b.By) > MaxWhy:
		return b, fmt.Errorf("at most %d bytes for the name and the reason", MaxWhy)
	case oneLine(b.Why) != b.Why || oneLine(b.Name) != b.Name || oneLine(b.By) != b.By:
		return b, errors.New("one line, without control characters")
	}
	return b, nil
}

// AskControl sends a change to the control socket at path and returns what it
// answers; nil asks for the list, as JSON.
func AskControl(ctx context.Context, path string, form url.Values) ([]byte, error) {
	method, body := http.MethodGet, ""
	if form != nil {
		method, body = http.MethodPost, form.Encode()
	}
	ctx, cancel := context.WithTimeout(ctx, 2*controlTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://control/brakes", strings.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("asking the control socket: %w", err)
	}
	tr := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}
	res, err := tr.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("nothing answers at the control socket %s; is Stagedoor running here, as this user? %w", path, err)
	}
	defer res.Body.Close()                                               //nolint:errcheck // only read
	out, err := io.ReadAll(io.LimitReader(res.Body, maxControlAnswer+1)) //nolint:forbidigo // bounded; what is longer is an error
	if err != nil {
		return nil, fmt.Errorf("reading the control socket's answer: %w", err)
	}
	if len(out) > maxControlAnswer {
		return nil, fmt.Errorf("the control socket's answer is longer than %d bytes", maxControlAnswer)
	}
	if res.StatusCode != http.StatusOK {
		return nil, errors.New(strings.TrimSpace(string(out)))
	}
	return out, nil
}
