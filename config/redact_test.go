package config_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"stagedoor/config"
)

// part is how long a part of a canary must not be shown, in bytes.
const part = 12

// canaries are credentials of each kind, by what they are. None is real.
func canaries() map[string]string {
	return map[string]string{
		"application key":         "zq1~rkgslbhyaQqaz5vmd^ldo",
		"application key, dashes": "Zx9superSecretKey-abcdefghijkl",
		"application key, commas": "hw,kD3fzumx.jnrWqp[t7bvc&yeo",
		"application key, slash":  "mdv/Uqtx5gkbr/pz#whnoyaj2lfc",
		"hex":                     "9f86d081884c7d659a2feaa0c55ad015",
		"base64":                  "QWxhZGRpbjpvcGVu+IHNlc2FtZQ/x8w==",
		"UUID":                    "4f1c9a7e-03bd-4e62-9c1d-7ab8e5f20d36",
		"Vault token":             "hvs.CAESIJ3kq0Zw7RrTgkEwYtQpLsHn",
		"old Vault token":         "s.Q8mWc2LpZr5TtYv1NbKx7JdH",
	}
}

// shown is a part of the canary that one of the outputs holds, or "".
func shown(tb testing.TB, ds []config.Diagnostic, canary string) string {
	tb.Helper()
	js, err := json.Marshal(ds)
	if err != nil {
		tb.Fatal(err)
	}
	outs := []string{config.Format(ds), config.Errors(ds).Error(), string(js)}
	for i := range ds {
		outs = append(outs, ds[i].Msg, ds[i].Hint, ds[i].Source)
	}
	all := strings.ToLower(strings.Join(outs, "\n"))
	for i := range len(canary) - part + 1 {
		if c := canary[i : i+part]; strings.Contains(all, strings.ToLower(c)) {
			return c + " in:\n" + config.Format(ds)
		}
	}
	return ""
}

// file is a configuration with a script of these lines, and with more after it.
func file(script, top string) string {
	return "version: 1\nsite: https://acme.example\nlisten: 127.0.0.1:8470\nidentity: none\n" +
		"vault: {address: \"https://vault.acme.lan:8200\"}\nlogin: {token_file: /run/vault/token}\n" +
		"scripts:\n  r:\n" + script + "\n" + top + "\n"
}

// places are files that refuse, with %s where the credential stands.
func places() map[string]string {
	const allow = "    allow: [{read: Shot}]"
	out := map[string]string{
		"the whole file":           "%s",
		"the whole file, two":      "comp-publisher\n%s\n",
		"the whole file, quoted":   "\"%s\"",
		"the whole file, a list":   "- %s\n",
		"another file":             "{\"api_key\": \"%s\"}",
		"another file, its way":    "SHOTGRID=%s\n",
		"a word in a path":         file("    file: ../%s\n"+allow, ""),
		"two words, active":        file("    active: \"%s abcdefghijkl\"\n"+allow, ""),
		"active":                   file("    active: '%s'\n    wrong: 1\n"+allow, ""),
		"active with field":        file("    active: '%s#'\n"+allow, ""),
		"file":                     file("    file: '%s'\n"+allow, ""),
		"file, a list":             file("    file: ['%s']\n"+allow, ""),
		"file, fields":             file("    file: {a: '%s'}\n"+allow, ""),
		"no colon":                 file("    file: /key\n    api_key %s\n"+allow, ""),
		"no colon, first":          file("    api_key %s\n"+allow, ""),
		"no colon, unknown":        file("    file: /key\n    wrong %s\n"+allow, ""),
		"no space":                 file("    file: /key\n    wrong:%s\n"+allow, ""),
		"open quote":               file("    file: /key\n    wrong: \"%s\n"+allow, ""),
		"open bracket":             file("    {file: /key, wrong: '%s', \n"+allow, ""),
		"block text":               file("    file: /key\n    wrong: |\n      %s\n"+allow, ""),
		"second line":              file("    file: /key\n    wrong: a\n      %s\n"+allow, ""),
		"anchor":                   file("    file: /key\n    wrong: &x %s\n"+allow, ""),
		"field's name":             file("    file: /key\n    '%s': x\n"+allow, ""),
		"field's name, number":     file("    file: /key\n    12: '%s'\n"+allow, ""),
		"field twice":              file("    file: /key\n    wrong: 1\n    wrong: '%s'\n"+allow, ""),
		"later field":              file("    file: /key\n    next: '%s'\n"+allow, ""),
		"below an unknown field":   file("    file: /key\n    wrong:\n      deep: ['%s']\n    wrong2: {a: '%s'}\n"+allow, ""),
		"comment":                  file("    file: /key\n    wrong: 1 # was %s\n"+allow, ""),
		"line with another error":  file("    file: /key\n"+allow, "  s: {contact: '%s', drain: 1, file: /k}"),
		"script's name":            file("    file: /key\n"+allow, "  '%s': {active: a/b, file: /c}"),
		"script as text":           file("    file: /key\n"+allow, "  s: '%s'"),
		"scripts as text":          "version: 1\nscripts: '%s'\n",
		"rule":                     file("    file: /key\n    allow: ['%s']", ""),
		"rule with a name":         file("    file: /key\n    allow: ['password: %s']", ""),
		"rule's verb":              file("    file: /key\n    allow: [{'%s': Shot}]", ""),
		"rule's type":              file("    file: /key\n    allow: [{read: '%s'}]", ""),
		"rule's field":             file("    file: /key\n    allow: [{read: {Shot: ['a b', '%s', '%s']}}]", ""),
		"sudo":                     file("    file: /key\n    sudo_as_login: ['%s', '%s']\n"+allow, ""),
		"limit":                    file("    file: /key\n    limit: {rate: '%s'}\n"+allow, ""),
		"version":                  "version: '%s'\n",
		"proxy's password":         file("    file: /key\n"+allow, "upstream: {proxy: \"http://user:%s@proxy:3128\"}"),
		"proxy's password, spaces": file("    file: /key\n"+allow, "upstream: {proxy: \"http://user:a %s b@proxy:3128\"}"),
		"proxy's user":             file("    file: /key\n"+allow, "upstream: {proxy: \"http://%s@proxy:3128\"}"),
		"proxy's host":             file("    file: /key\n"+allow, "upstream: {proxy: \"ftp://%s\"}"),
		"address's path":           file("    file: /key\n"+allow, "site: https://acme.example/%s"),
		"site":                     "version: 1\nsite: https://acme.example/%s\n",
		"site's query":             "version: 1\nsite: https://acme.example?key=%s\n",
		"site's host":              "version: 1\nsite: http://%s\n",
		"listen":                   "version: 1\nlisten: '%s'\nidentity: none\n",
		"listener's port":          "version: 1\nlisten: '127.0.0.1:%s'\nidentity: none\n",
		"listener's script":        "version: 1\nlisten: {address: '127.0.0.1:1', identity: none, scripts: ['%s'], default_script: '%s'}\nscripts: {r: {file: /key}}\n",
		"listener's host":          "version: 1\nlisten: {address: '127.0.0.1:1', identity: none, hosts: ['%s', 'http://%s']}\n",
		"admin":                    file("    file: /key\n"+allow, "admin: '%s'"),
		"log level":                file("    file: /key\n"+allow, "log: {level: '%s'}"),
		"drain":                    file("    file: /key\n"+allow, "drain: '%s'"),
		"max_body":                 file("    file: /key\n"+allow, "max_body: '%s'"),
		"vault":                    "version: 1\nvault: '%s'\n",
		"vault's mount":            "version: 1\nvault: {mount: '/%s'}\n",
		"login":                    "version: 1\nlogin: '%s'\n",
		"token_file":               "version: 1\nlogin: {token_file: '%s'}\n",
		"secret_id_file":           "version: 1\nlogin: {approle: {secret_id_file: '%s', role_id: '%s', role_id_file: /r}}\n",
	}
	for _, name := range []string{
		"script_key", "key", "application_key", "api_key", "apikey", "auth", "pwd", "pass", "password", "token",
		"secret", "bearer", "wrong", "applicationKey",
	} {
		out["field "+name] = file("    file: /key\n    "+name+": %s\n"+allow, "")
		out["field "+name+", quoted"] = file("    file: /key\n    "+name+": \"%s\"\n"+allow, "")
		out["field "+name+" in braces"] = file("    file: /key\n"+allow, "  s: {file: b, "+name+": '%s', other: 1}")
		out["top-level "+name] = "version: 1\n" + name + ": '%s'\n"
	}
	return out
}

// A key that stands in the file by mistake is in no message about it.
func TestNoMessageShowsACredential(t *testing.T) {
	for what, text := range places() {
		for kind, canary := range canaries() {
			text := strings.ReplaceAll(text, "%s", canary)
			c, ds := config.Parse("stagedoor.yaml", []byte(text))
			if c != nil {
				t.Errorf("%s, %s: accepted:\n%s", what, kind, text)
			}
			if s := shown(t, ds, canary); s != "" {
				t.Errorf("%s, %s: shows %s", what, kind, s)
			}
		}
	}
}

// Nor is a password that looks like any other word, where its place tells.
func TestNoMessageShowsAnUnknownFieldsValue(t *testing.T) {
	for _, what := range []string{
		"field wrong", "field key", "field auth, quoted", "field wrong in braces", "top-level wrong", "below an unknown field",
		"no colon", "file", "file, a list", "file, fields", "two words, active", "later field", "field twice", "field's name, number",
		"the whole file", "the whole file, two", "the whole file, a list", "another file, its way", "login", "vault",
		"script as text", "scripts as text", "proxy's password", "proxy's user", "token_file", "rule with a name",
	} {
		text, is := places()[what]
		if !is {
			t.Fatalf("no place %q", what)
		}
		for _, word := range []string{"correcthorse", "correct/horse", "48213576/horse", "hunter2hunter2"} {
			c, ds := config.Parse("stagedoor.yaml", []byte(strings.ReplaceAll(text, "%s", word)))
			if c != nil {
				t.Errorf("%s, %s: accepted", what, word)
			}
			if s := shown(t, ds, word); s != "" {
				t.Errorf("%s: shows %s", what, s)
			}
		}
	}
}

// What is no key stays readable.
func TestMessagesShowWhatIsNoCredential(t *testing.T) {
	for _, word := range []string{
		"flow/comp-publisher", "flow/comp-publisher#api_key", "/etc/stagedoor/comp-publisher.json", "~/.vault-token",
		"/run/user/1000/vault-token", "comp-publisher-2026b", "sg_uploaded_movie", "CustomNonProjectEntity01", "PermissionRuleSet",
		"https://acme.shotgrid.autodesk.com:8443", "127.0.0.1:8470", "work_schedule_update", "render-farm-pipeline-v12",
		"anna.schmidt@studio.example",
	} {
		text := fmt.Sprintf("version: 1\nlisten: 127.0.0.1:1\nidentity: none\nscripts: {r: {file: /k, limit: {rate: '%s'}}}\n", word)
		_, ds := config.Parse("stagedoor.yaml", []byte(text))
		got := config.Format(ds)
		if !strings.Contains(got, "rate: '"+word+"'") || !strings.Contains(got, "rate: \""+word+"\" is no rate") {
			t.Errorf("%s is not shown:\n%s", word, got)
		}
	}
}

// The same through Load, as serve and check do it.
func TestLoadShowsNoKeyFile(t *testing.T) {
	for kind, canary := range canaries() {
		path := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(path, []byte(canary+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := config.Load(path)
		if err == nil {
			t.Fatalf("%s: a key was taken for a configuration", kind)
		}
		if strings.Contains(err.Error(), canary[:part]) {
			t.Errorf("%s: %v", kind, err)
		}
	}
}
