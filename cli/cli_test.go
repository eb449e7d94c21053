package cli_test

import (
	"bytes"
	"strings"
	"testing"

	"stagedoor/cli"
	"stagedoor/config"
)

func parse(t *testing.T, text string) *config.Config {
	t.Helper()
	c, ds := config.Parse("stagedoor.yaml", []byte(text))
	if c == nil {
		t.Fatal(config.Format(ds))
	}
	return c
}

const head = "version: 1\nsite: https://acme.shotgrid.autodesk.com\nlisten: 127.0.0.1:8470\nidentity: none\n"

const scripts = "scripts:\n  comp: {file: /etc/key.json, allow: [{read: Shot}]}\n"

func TestAReloadMayChangeAllButWhatIsMadeOnce(t *testing.T) {
	for _, c := range []struct{ line, refused string }{
		{"", ""},
		{"# a comment\n", ""},
		{"contact: anna\n", ""},
		{"max_body: 1MiB\n", ""},
		{"max_depth: 32\n", ""},
		{"drain: 1s\n", ""},
		{"upstream: {idle: 1s}\n", ""},
		{"audit: stdout\n", ""},         // what it is anyway
		{"admin: 127.0.0.1:8471\n", ""}, // likewise
		{"audit: {file: /var/log/audit.jsonl}\n", "audit"},
		{"admin: off\n", "admin"},
		{"admin: 127.0.0.1:8472\n", "admin"},
		{"log: {level: debug}\n", "log"},
		{"max_buffered: 512MiB\n", "max_buffered"},
		{"max_connections: 7\n", "max_connections"},
	} {
		err := cli.Fixed(parse(t, head+scripts), parse(t, head+c.line+scripts))
		switch {
		case c.refused == "" && err != nil:
			t.Errorf("%q: %v", c.line, err)
		case c.refused != "" && (err == nil || err.Error() != c.refused+" can't be changed by a reload; restart Stagedoor for it"):
			t.Errorf("%q: %v, want a refusal that names %s", c.line, err, c.refused)
		}
	}
	both := cli.Fixed(parse(t, head+scripts), parse(t, head+"admin: off\nmax_connections: 7\n"+scripts))
	if both == nil || strings.Count(both.Error(), "can't be changed") != 2 {
		t.Errorf("two changes: %v", both)
	}
}

// As Python's urllib reads it, which shotgun_api3 uses for uploads: host names
// and their suffixes, no networks.
func TestNoProxyCoversLoopback(t *testing.T) {
	for list, want := range map[string]bool{
		"":                              false,
		"*":                             true,
		"127.0.0.1":                     true,
		"localhost":                     false, // tools are told to use 127.0.0.1
		"localhost, 127.0.0.1":          true,
		"localhost,127.0.0.1,.acme.lan": true,
		"127.0.0.0/8":                   false,
		"127.0.0.10":                    false,
		"10.127.0.0.1":                  false,
		".acme.lan":                     false,
	} {
		if got := cli.CoversLoopback(list); got != want {
			t.Errorf("no_proxy=%s covers 127.0.0.1: %v", list, got)
		}
	}
}

func TestCheckSendsAReadThatTheRulesAllow(t *testing.T) {
	for _, c := range []struct{ allow, typ, field string }{
		{"[]", "", ""},
		{"[{delete: Shot}, {link: Asset}]", "", ""},
		{"[preferences, {schema: \"*\"}]", "", ""},
		{"[{read: Shot}]", "Shot", "id"},
		{"[{read: Shot.code}]", "Shot", "code"},
		{"[{read: {Version: [sg_status_list, code]}}]", "Version", "sg_status_list"},
		{"[{read: \"*\"}]", "Project", "id"},
		{"[{read: \"CustomEntity*\"}]", "", ""}, // which of them exist is not known
		{"[{read: \"CustomEntity*\"}, {read: Task.content}]", "Task", "content"},
		{"[{delete: Shot}, {read: Note}]", "Note", "id"},
	} {
		cfg := parse(t, head+"scripts:\n  comp: {file: /etc/key.json, allow: "+c.allow+"}\n")
		typ, field, ok := cli.Harmless(&cfg.Scripts[0])
		if typ != c.typ || field != c.field || ok != (c.typ != "") {
			t.Errorf("allow: %s gives read %s [%s], %v; want %s [%s]", c.allow, typ, field, ok, c.typ, c.field)
		}
	}
}

// A result goes to standard output, an error to standard error, and never both.
func TestAnErrorIsOneLineOnStandardError(t *testing.T) {
	for _, args := range [][]string{
		{"no-such-command"},
		{"serve", "--no-such-flag"},
		{"audit", "no-such"},
		{"health", "ready", "live"},
		{"health", "well", "--addr", "127.0.0.1:1"},
		{"validate", "--config", "/no/such/file"},
		{"serve", "--config", "/no/such/file"},
	} {
		var out, errs bytes.Buffer
		code := cli.Main(t.Context(), args, strings.NewReader(""), &out, &errs)
		if code == 0 || out.Len() > 0 || !strings.HasPrefix(errs.String(), "stagedoor: ") || strings.Count(errs.String(), "\n") != 1 {
			t.Errorf("%q: exit code %d, standard output %q, standard error %q", args, code, &out, &errs)
		}
	}
}
