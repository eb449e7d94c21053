//go:build unix

package keysource_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"stagedoor/keysource"
	"stagedoor/secret"
)

const (
	key  = "k&y/0123456789abcdef"
	key2 = "k&y/fedcba9876543210"
)

// desk is a folder of key files and the source that reads them.
type desk struct {
	t   *testing.T
	dir string
	mu  sync.Mutex
	out bytes.Buffer
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{t: t, dir: t.TempDir()}
	t.Cleanup(func() {
		for _, s := range []string{key, key2, fmt.Sprintf("%q", key), "0123456789abcdef", "fedcba9876543210"} {
			if strings.Contains(d.String(), s) {
				t.Errorf("a key is in the log or an error:\n%s", d)
			}
		}
	})
	return d
}

func (d *desk) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.out.Write(p)
}

func (d *desk) String() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.out.String()
}

// put writes a file in place, so that it stays the same file.
func (d *desk) put(name, text string) string {
	d.t.Helper()
	path := filepath.Join(d.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		d.t.Fatal(err)
	}
	return path
}

func (d *desk) open(files ...keysource.File) *keysource.Files {
	d.t.Helper()
	f, err := keysource.OpenFiles(d.t.Context(), keysource.FileOptions{
		Files: files, Refresh: time.Hour, Logger: slog.New(slog.NewTextHandler(d, nil)),
	})
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(f.Close)
	return f
}

func (d *desk) say(err error) string {
	_, _ = fmt.Fprintf(d, "%v %+v %#v\n", err, err, err)
	return fmt.Sprint(err)
}

func (d *desk) lacks(f keysource.Source, want string) {
	d.t.Helper()
	c, err := f.Credential("tool")
	if err == nil || !c.Key.IsZero() {
		d.t.Fatal("there is a key")
	}
	if got := d.say(err); !strings.Contains(got, want) {
		d.t.Errorf("the error is %q, and does not say %q", got, want)
	}
	if got := f.Keys()[0]; got.State != secret.KeyMissing || got.Age >= 0 || got.Why == "" {
		d.t.Errorf("the status is %+v", got)
	}
}

func has(t *testing.T, f keysource.Source, script, name, key string) secret.Credential {
	t.Helper()
	c, err := f.Credential(script)
	if err != nil {
		t.Fatal(err)
	}
	if c.SiteName != name || !c.Key.Same(secret.FromString(key)) {
		t.Errorf("the credential is %+v", c)
	}
	return c
}

func TestTheFormsOfAKeyFile(t *testing.T) {
	d := newDesk(t)
	for _, c := range []struct{ name, text, siteName string }{
		{"bare", key, "tool"},
		{"line", key + "\n", "tool"},
		{"crlf", key + "\r\n", "tool"},
		{"json", `{"script_name": "tool-2026", "api_key": "` + key + `"}` + "\n", "tool-2026"},
		{"nameless", `{"api_key": "` + key + `"}`, "tool"},
	} {
		f := d.open(keysource.File{Script: "tool", Path: d.put(c.name, c.text)})
		cred := has(t, f, "tool", c.siteName, key)
		if cred.CreatedAt.IsZero() || cred.ReadAt.IsZero() || cred.Version != "" {
			t.Errorf("%s: the credential is %+v", c.name, cred)
		}
		if st := f.Keys()[0]; st.State != secret.KeyFresh || st.Age < 0 || st.SiteName != c.siteName || st.Why != "" {
			t.Errorf("%s: the status is %+v", c.name, st)
		}
	}
	f := d.open(keysource.File{Script: "tool", Path: d.put("own", `{"k":"`+key+`","n":"own"}`), KeyField: "k", NameField: "n", SiteName: "never"})
	has(t, f, "tool", "own", key)
	f = d.open(keysource.File{Script: "tool", Path: d.put("bare", key), SiteName: "configured"})
	has(t, f, "tool", "configured", key)
}

func TestWhatIsNoKeyFile(t *testing.T) {
	d := newDesk(t)
	for text, want := range map[string]string{
		"":                                     "holds no key",
		"\n":                                   "holds no key",
		key + "\n" + key2:                      "more than one line",
		" " + key:                              "white space",
		key + " \n":                            "white space",
		"\ufeff" + key:                         "white space",
		key + "\x01" + key:                     "control character",
		key + "\xff" + key:                     "not UTF-8",
		"0123456789abcde":                      "shorter than 16",
		`{`:                                    "not valid JSON",
		`{}`:                                   "holds no key",
		`{"api_key":"` + key:                   "not valid JSON",
		`{"api_key":12345}`:                    "no text",
		`{"api_key":""}`:                       "empty field",
		`{"api_key":["` + key + `"]}`:          "no text",
		`{"API_KEY":"` + key + `"}`:            "neither the key nor the name",
		`{"api_key":"` + key + `","more":"x"}`: "neither the key nor the name",
		`{"api_key":"` + key + `","api_key":"` + key2 + `"}`:    "twice",
		`{"api_key":"` + key + `"} x`:                           "goes on after",
		`{"api_key":"` + key + `"}{"api_key":"` + key2 + `"}`:   "goes on after",
		`{"api_key":"` + key + `\n"}`:                           "white space",
		`{"api_key":"` + key + `","script_name":" tool"}`:       "white space",
		"{\"api_key\":\"" + key + "\xff\"}":                     "not valid JSON",
		strings.Repeat("x", 17<<10):                             "longer than",
		`{"api_key":"` + key + `", script_name: "` + key2 + `"`: "not valid JSON",
	} {
		f := d.open(keysource.File{Script: "tool", Path: d.put("file", text)})
		d.lacks(f, want)
	}
}

func TestOnlyOurPrivateRegularFileIsRead(t *testing.T) {
	d := newDesk(t)
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620, 0o602, 0o644, 0o610, 0o666} {
		path := d.put("file", key)
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		d.lacks(d.open(keysource.File{Script: "tool", Path: path}), "run: chmod 600")
		if err := os.Chmod(path, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d.lacks(d.open(keysource.File{Script: "tool", Path: d.dir}), "no regular file")
	d.lacks(d.open(keysource.File{Script: "tool", Path: filepath.Join(d.dir, "nowhere")}), "can't be opened")
	pipe := filepath.Join(d.dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	d.lacks(d.open(keysource.File{Script: "tool", Path: pipe}), "no regular file")
	if os.Geteuid() != 0 {
		return // only root can give a file away
	}
	path := d.put("given", key)
	if err := os.Chown(path, 12345, -1); err != nil {
		t.Fatal(err)
	}
	d.lacks(d.open(keysource.File{Script: "tool", Path: path}), "belongs to user 12345")
}

func TestAFileThatCannotBeUsedCostsTheKeyUntilItIsMended(t *testing.T) {
	d := newDesk(t)
	path := d.put("file", key)
	f := d.open(keysource.File{Script: "tool", Path: path})
	refresh := func(changed bool, want string) {
		t.Helper()
		got, err := f.Refresh(t.Context(), "tool")
		if got != changed || (err == nil) != (want == "") || err != nil && !strings.Contains(d.say(err), want) {
			t.Errorf("changed %v, error %v", got, err)
		}
	}
	refresh(false, "")
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	refresh(true, "chmod 600")
	refresh(false, "chmod 600")
	d.lacks(f, "chmod 600")
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	refresh(true, "")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	refresh(true, "can't be opened")
	d.put("file", key2)
	refresh(true, "")
	if c := has(t, f, "tool", "tool", key2); len(c.Old) != 1 || !c.Old[0].Same(secret.FromString(key)) {
		t.Errorf("%d old keys", len(c.Old))
	}
	if n := strings.Count(d.String(), "level=ERROR"); n != 2 {
		t.Errorf("two failures are logged %d times:\n%s", n, d)
	}
}

func TestAFileIsLookedAtAgainByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		path := d.put("file", key)
		f := d.open(keysource.File{Script: "tool", Path: path})
		d.put("file", key2+"\n")
		time.Sleep(time.Hour + time.Second) //nolint:forbidigo // the bubble's clock: no time passes
		synctest.Wait()
		has(t, f, "tool", "tool", key2)
		d.put("file", "")
		time.Sleep(time.Hour) //nolint:forbidigo // the bubble's clock: no time passes
		synctest.Wait()
		d.lacks(f, "holds no key")
		d.put("file", key)
		time.Sleep(10 * time.Second) //nolint:forbidigo // a mended file is found sooner
		synctest.Wait()
		has(t, f, "tool", "tool", key)
		f.Close()
	})
}

func TestFilesThatCanNeverWorkAreRefused(t *testing.T) {
	for _, files := range [][]keysource.File{
		{{Script: "", Path: "/x"}}, {{Script: "a"}}, {{Script: "a", Path: "/x"}, {Script: "a", Path: "/y"}},
	} {
		if _, err := keysource.OpenFiles(t.Context(), keysource.FileOptions{Files: files}); err == nil {
			t.Errorf("no error for %v", files)
		}
	}
}

// counted is a source that counts what it is asked.
type counted struct {
	keysource.Source
	refreshed, closed int
}

func (c *counted) RefreshAll(context.Context) { c.refreshed++ }
func (c *counted) Close()                     { c.closed++ }

func TestMuxAsksTheScriptsOwnSource(t *testing.T) {
	a := &counted{Source: keysource.NewFixed(map[string]secret.Credential{
		"one": {SiteName: "one-on-a", Key: secret.FromString(key)}, "two": {SiteName: "two-on-a"}, "three": {SiteName: "three-on-a"},
	})}
	b := &counted{Source: keysource.NewFixed(map[string]secret.Credential{"two": {SiteName: "two-on-b"}})}
	m := keysource.NewMux(map[string]keysource.Source{"one": a, "two": b, "three": a, "none": b})
	var _ keysource.Source = m
	has(t, m, "one", "one-on-a", key)
	if c, err := m.Credential("two"); err != nil || c.SiteName != "two-on-b" {
		t.Errorf("%+v, %v", c, err)
	}
	for _, name := range []string{"none", "unknown"} {
		if _, err := m.Credential(name); err == nil {
			t.Errorf("%s has a key", name)
		}
		if _, err := m.Refresh(t.Context(), name); err == nil {
			t.Errorf("%s was refreshed", name)
		}
	}
	if changed, err := m.Refresh(t.Context(), "one"); changed || err != nil {
		t.Errorf("changed %v, error %v", changed, err)
	}
	var got []string
	for _, k := range m.Keys() {
		got = append(got, k.SiteName)
	}
	if fmt.Sprint(got) != "[one-on-a three-on-a two-on-b]" {
		t.Errorf("the keys are %v", got)
	}
	m.RefreshAll(t.Context())
	m.Close()
	if a.refreshed != 1 || b.refreshed != 1 || a.closed != 1 || b.closed != 1 {
		t.Error("a source was not asked exactly once")
	}
}
