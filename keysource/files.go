package keysource

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/sync/singleflight"

	"stagedoor/internal/trust"
	"stagedoor/secret"
)

const (
	// DefaultRefresh is the time between two looks at the files.
	DefaultRefresh = 10 * time.Minute
	// DefaultKeyField is the name of the key in a file of JSON.
	DefaultKeyField = "api_key"
	// DefaultNameField is that of the script's name on the site.
	DefaultNameField = "script_name"
	// maxFile bounds a key file in bytes; a key and a name take a hundred.
	maxFile = 16 << 10
	// retry is the time to the next look at a file that can't be used: somebody
	// is likely to be mending it.
	retry = 5 * time.Second
)

// FileOptions configure [Files].
type FileOptions struct {
	Files []File
	// Refresh is the time between two looks at the files; 0 is [DefaultRefresh].
	Refresh time.Duration
	// Logger gets each change once; nil is silence.
	Logger *slog.Logger
	// Now is the clock that keys age by; nil is [time.Now].
	Now func() time.Time
}

// File is where one script's key is: a file that belongs to us or to root, with
// no permission for anybody else, that holds either the key on a line of its
// own or
//
//	{"script_name": "render-pipeline", "api_key": "…"}
type File struct {
	Script, Path string
	// KeyField and NameField are the names in the JSON; "" takes the default.
	KeyField, NameField string
	// SiteName is the name on the site where the file has none; "" is Script.
	SiteName string
}

// Files is a source of keys from files. A file that is gone, open to others or
// unreadable costs its script the key at the next look.
type Files struct {
	opt     FileOptions
	entries []*fileEntry
	flights singleflight.Group
	done    chan struct{}
	once    sync.Once
	work    sync.WaitGroup
}

type fileEntry struct {
	file File
	view atomic.Pointer[fileView]

	mu     sync.Mutex // guards what is below, and makes looks one at a time
	seen   fs.FileInfo
	last   secret.Value
	logged string
}

// fileView is what is known of a key; err is nil exactly where there is one.
type fileView struct {
	cred secret.Credential
	err  error
}

// OpenFiles reads all files once. A file that can't be used is no error: its
// script has no key, and the file is looked at again.
func OpenFiles(ctx context.Context, opt FileOptions) (*Files, error) {
	if opt.Refresh == 0 {
		opt.Refresh = DefaultRefresh
	}
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	f := &Files{opt: opt, done: make(chan struct{})}
	seen := map[string]bool{}
	for _, file := range opt.Files {
		if file.Script == "" || file.Path == "" || seen[file.Script] {
			return nil, fmt.Errorf("script %q is given twice, or has no name or no file", file.Script)
		}
		seen[file.Script] = true
		if file.KeyField == "" {
			file.KeyField = DefaultKeyField
		}
		if file.NameField == "" {
			file.NameField = DefaultNameField
		}
		e := &fileEntry{file: file}
		e.view.Store(&fileView{err: errors.New("it was not read yet")})
		f.entries = append(f.entries, e)
	}
	f.RefreshAll(ctx)
	f.work.Go(func() { f.run(context.WithoutCancel(ctx)) })
	return f, nil
}

// run looks at the files again and again until Close.
func (f *Files) run(ctx context.Context) {
	timer := time.NewTimer(f.opt.Refresh)
	defer timer.Stop()
	for {
		next := f.opt.Refresh
		for _, e := range f.entries {
			if e.view.Load().err != nil {
				next = min(next, retry)
			}
		}
		timer.Reset(next)
		select {
		case <-f.done:
			return
		case <-timer.C:
		}
		for _, e := range f.entries {
			f.look(ctx, e, false)
		}
	}
}

func (f *Files) entry(script string) *fileEntry {
	for _, e := range f.entries {
		if e.file.Script == script {
			return e
		}
	}
	return nil
}

// Credential answers from memory.
func (f *Files) Credential(script string) (secret.Credential, error) {
	e := f.entry(script)
	if e == nil {
		return secret.Credential{}, unknown(script)
	}
	v := e.view.Load()
	if v.err != nil {
		return secret.Credential{}, fmt.Errorf("script %s has no usable key: %w", script, v.err)
	}
	return v.cred, nil
}

// Refresh reads the script's file now, once however many ask.
func (f *Files) Refresh(ctx context.Context, script string) (changed bool, err error) {
	e := f.entry(script)
	if e == nil {
		return false, unknown(script)
	}
	ctx = context.WithoutCancel(ctx) // for the log only: nothing here waits
	v, _, _ := f.flights.Do(script, func() (any, error) { return f.look(ctx, e, true), nil })
	changed, _ = v.(bool)
	return changed, e.view.Load().err
}

// RefreshAll reads all files now.
func (f *Files) RefreshAll(ctx context.Context) {
	for _, e := range f.entries {
		f.look(ctx, e, true)
	}
}

// Keys is the status of every key, in the order of the configuration.
func (f *Files) Keys() []secret.KeyStatus {
	var all []secret.KeyStatus
	for _, e := range f.entries {
		v := e.view.Load()
		st := secret.KeyStatus{Script: e.file.Script, State: secret.KeyFresh, Age: -1}
		if v.err != nil {
			st.State, st.Why = secret.KeyMissing, v.err.Error()
		} else {
			st.SiteName, st.CreatedAt = v.cred.SiteName, v.cred.CreatedAt
			st.Age = max(0, f.opt.Now().Sub(v.cred.ReadAt))
		}
		all = append(all, st)
	}
	return all
}

// Close stops the looks and waits for the one under way.
func (f *Files) Close() {
	f.once.Do(func() { close(f.done) })
	f.work.Wait()
}

// look reads a file, anyway or only where it changed, and says whether the
// credential changed.
func (f *Files) look(ctx context.Context, e *fileEntry, anyway bool) (changed bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	before := e.view.Load()
	after := *before
	if !anyway && before.err == nil && e.unchanged() {
		after.cred.ReadAt = f.opt.Now()
		e.view.Store(&after)
		return false
	}
	cred, st, err := read(&e.file)
	e.seen = st
	if err != nil {
		after = fileView{err: err}
	} else {
		cred.ReadAt = f.opt.Now()
		cred.Old = before.cred.Old
		if !e.last.IsZero() && !e.last.Same(cred.Key) {
			cred.Old = earlier(e.last, before.cred.Old, cred.Key)
		}
		e.last = cred.Key
		after = fileView{cred: cred}
	}
	e.view.Store(&after)
	f.note(ctx, e, before, &after)
	return (before.err == nil) != (after.err == nil) ||
		after.err == nil && (!before.cred.Key.Same(after.cred.Key) || before.cred.SiteName != after.cred.SiteName)
}

// unchanged compares the file with the one that was read.
func (e *fileEntry) unchanged() bool {
	st, err := os.Stat(e.file.Path)
	return err == nil && e.seen != nil && os.SameFile(st, e.seen) && st.ModTime().Equal(e.seen.ModTime()) &&
		st.Size() == e.seen.Size() && st.Mode() == e.seen.Mode()
}

// earlier is the list of earlier keys once now has replaced last.
func earlier(last secret.Value, old []secret.Value, now secret.Value) []secret.Value {
	var all []secret.Value
	for _, k := range append([]secret.Value{last}, old...) {
		if !k.IsZero() && !k.Same(now) && len(all) < secret.MaxOld {
			all = append(all, k)
		}
	}
	return all
}

// note logs each change once.
func (f *Files) note(ctx context.Context, e *fileEntry, before, after *fileView) {
	attrs := []slog.Attr{slog.String("script", e.file.Script), slog.String("file", e.file.Path)}
	if after.err != nil {
		if e.logged != after.err.Error() {
			e.logged = after.err.Error()
			f.opt.Logger.LogAttrs(ctx, slog.LevelError, "no usable key", append(attrs, slog.String("why", e.logged))...)
		}
		return
	}
	switch {
	case before.err != nil:
		f.opt.Logger.LogAttrs(ctx, slog.LevelInfo, "key read", attrs...)
	case !before.cred.Key.Same(after.cred.Key):
		f.opt.Logger.LogAttrs(ctx, slog.LevelInfo, "key changed", attrs...)
	}
	e.logged = ""
}

// read opens a file, checks who may read it, and takes it apart. No error quotes
// what is in it.
func read(file *File) (secret.Credential, fs.FileInfo, error) {
	// Without waiting: a pipe in place of the file must not stop anything.
	h, err := os.OpenFile(file.Path, os.O_RDONLY|trust.Nonblock, 0)
	if err != nil {
		return secret.Credential{}, nil, fmt.Errorf("the key file can't be opened: %w", err)
	}
	defer func() { _ = h.Close() }()
	st, err := h.Stat()
	if err != nil {
		return secret.Credential{}, nil, fmt.Errorf("the key file can't be looked at: %w", err)
	}
	if err := private(file.Path, st); err != nil {
		return secret.Credential{}, st, err
	}
	b, err := io.ReadAll(io.LimitReader(h, maxFile+1)) //nolint:forbidigo // bounded, and the bound is an error
	if err != nil {
		return secret.Credential{}, st, fmt.Errorf("the key file can't be read: %w", err)
	}
	if len(b) > maxFile {
		return secret.Credential{}, st, fmt.Errorf("the key file %s is longer than %d bytes", file.Path, maxFile)
	}
	key, name, err := parse(file, b)
	if err != nil {
		return secret.Credential{}, st, err
	}
	if name == "" {
		name = file.SiteName
	}
	if name == "" {
		name = file.Script
	}
	return secret.Credential{SiteName: name, Key: secret.FromString(key), CreatedAt: st.ModTime()}, st, nil
}

// private refuses a file that somebody else may read or may have written.
func private(path string, st fs.FileInfo) error {
	if !st.Mode().IsRegular() {
		return fmt.Errorf("the key file %s is no regular file", path)
	}
	if open := st.Mode().Perm() & 0o077; open != 0 && trust.Modes {
		return fmt.Errorf("the key file %s is open to others (mode %04o); run: chmod 600 %s", path, st.Mode().Perm(), path)
	}
	if uid, is := trust.Foreign(st); is {
		return fmt.Errorf("the key file %s belongs to user %d, who may change it; run: chown %d %s", path, uid, os.Geteuid(), path)
	}
	return nil
}

// parse finds out which of the two forms a file has.
func parse(file *File, b []byte) (key, name string, err error) {
	if len(b) > 0 && b[0] == '{' {
		key, name, err = parseJSON(file, b)
	} else {
		key = strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
		if strings.ContainsAny(key, "\r\n") {
			err = fmt.Errorf("the key file %s has more than one line; write the key alone, or JSON", file.Path)
		}
	}
	switch {
	case err != nil:
		return "", "", err
	case key == "":
		return "", "", fmt.Errorf("the key file %s holds no key; write one to it", file.Path)
	case strings.TrimFunc(key, stray) != key || strings.TrimFunc(name, stray) != name:
		return "", "", fmt.Errorf("the key or the name in %s begins or ends with white space; write it without", file.Path)
	case !clean(key) || !clean(name):
		return "", "", fmt.Errorf("the key or the name in %s holds a control character or is not UTF-8; write it as it is on the site", file.Path)
	case len(key) < secret.MinLen:
		return "", "", fmt.Errorf("the key in %s is shorter than %d characters, so that it can't be told from other data in answers; set a longer key on the site",
			file.Path, secret.MinLen)
	}
	return key, name, nil
}

// clean says whether s can be sent as it is, and told apart in answers and logs.
func clean(s string) bool { return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl) }

// stray is what comes along when a key is pasted.
func stray(r rune) bool {
	return unicode.IsSpace(r) || unicode.IsControl(r) || r == '\ufeff' || r == '\u200b'
}

// parseJSON reads one object with the key and perhaps the name, and nothing
// else. The errors of the decoder are dropped: they quote their input.
func parseJSON(file *File, b []byte) (key, name string, err error) {
	dec := jsontext.NewDecoder(bytes.NewReader(b))
	bad := func(what string) error {
		return fmt.Errorf("the key file %s %s, at byte %d; write {%q: \"NAME\", %q: \"KEY\"}", file.Path, what, dec.InputOffset(), file.NameField, file.KeyField)
	}
	if _, err := dec.ReadToken(); err != nil {
		return "", "", bad("is not valid JSON")
	}
	for dec.PeekKind() != jsontext.KindEndObject {
		field, err := dec.ReadToken()
		if err != nil {
			return "", "", bad("is not valid JSON, or gives a field twice")
		}
		text := field.String()
		if text != file.KeyField && text != file.NameField {
			return "", "", bad("has a field that is neither the key nor the name")
		}
		if dec.PeekKind() != jsontext.KindString {
			return "", "", bad("has a field that is no text")
		}
		value, err := dec.ReadToken()
		switch {
		case err != nil:
			return "", "", bad("is not valid JSON")
		case value.String() == "":
			return "", "", bad("has an empty field")
		case text == file.KeyField:
			key = value.String()
		default:
			name = value.String()
		}
	}
	if _, err := dec.ReadToken(); err != nil {
		return "", "", bad("is not valid JSON")
	}
	if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
		return "", "", bad("goes on after the object")
	}
	return key, name, nil
}
