package secret_test

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"stagedoor/secret"
)

const canary = "canary-0123456789-canary"

// holder is the shape that leaks when a type only has redacting methods:
// fmt reaches the unexported field by reflection.
type holder struct {
	Exported   secret.Value
	unexported secret.Value
	m          map[string]secret.Value
	s          []secret.Value
	p          *secret.Value
}

func TestNothingPrintsASecret(t *testing.T) {
	v := secret.FromString(canary)
	h := holder{Exported: v, unexported: v, m: map[string]secret.Value{"k": v}, s: []secret.Value{v}, p: &v}
	cred := secret.Credential{SiteName: "s", Key: v, Old: []secret.Value{v}}
	verbs := []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%c", "%U", "%t", "%p"}
	subjects := []any{v, &v, h, &h, cred, &cred, []secret.Value{v}, map[string]secret.Value{"k": v}}
	n := 0
	for _, verb := range verbs {
		for _, subject := range subjects {
			n++
			refuseCanary(t, fmt.Sprintf("%s of %T", verb, subject), fmt.Sprintf(verb, subject))
		}
	}
	if n < 48 {
		t.Fatalf("only %d printings tried", n)
	}
	refuseCanary(t, "error", fmt.Errorf("reading: %v", v).Error())
}

func TestNothingEncodesASecret(t *testing.T) {
	v := secret.FromString(canary)
	cred := secret.Credential{SiteName: "s", Key: v}
	for _, subject := range []any{v, &v, cred, map[string]any{"a": v}} {
		if b, err := json.Marshal(subject); err == nil {
			refuseCanary(t, "json", string(b))
		}
		if b, err := xml.Marshal(subject); err == nil {
			refuseCanary(t, "xml", string(b))
		}
		var buf bytes.Buffer
		_ = gob.NewEncoder(&buf).Encode(subject)
		refuseCanary(t, "gob", buf.String())
		buf.Reset()
		slog.New(slog.NewJSONHandler(&buf, nil)).Info("x", slog.Any("v", subject))
		slog.New(slog.NewTextHandler(&buf, nil)).Info("x", slog.Any("v", subject))
		refuseCanary(t, "slog", buf.String())
	}
}

func refuseCanary(t *testing.T, what, got string) {
	t.Helper()
	hex := fmt.Sprintf("%x", canary)
	dec := strings.Trim(fmt.Sprintf("%d", []byte(canary)), "[]")
	for _, bad := range []string{canary, hex, strings.ToUpper(hex), dec} {
		if strings.Contains(got, bad) {
			t.Errorf("%s leaks: %s", what, got)
		}
	}
}

func TestSame(t *testing.T) {
	a, b, c := secret.FromString(canary), secret.New([]byte(canary)), secret.FromString("other")
	if !a.Same(b) || a.Same(c) || a.Same(secret.Value{}) {
		t.Error("Same is wrong")
	}
	if (secret.Value{}).Same(secret.Value{}) {
		t.Error("two absent credentials count as the same")
	}
	if a.Len() != len(canary) || (secret.Value{}).Len() != 0 {
		t.Error("Len is wrong")
	}
}

// TestRevealIsCalledWhereItMayBe holds the promise that a secret is opened in
// one place: where the bytes of a call are built and an answer is searched. The
// login to Vault is beside it: its client takes its own token as a string; and
// so are the signing of handles, with a key that is no key of the site, and the
// connection to Redis, whose client takes its password as a string.
func TestRevealIsCalledWhereItMayBe(t *testing.T) {
	may := []string{"flow/", "fleet/client.go", "handle/", "vault/login.go"}
	seen := 0
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "internal" || d.Name() == ".git" || d.Name() == "secret" || d.Name() == "bench") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(f, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok || sel.Sel.Name != "Reveal" {
				return true
			}
			rel := filepath.ToSlash(strings.TrimPrefix(path, "../"))
			if !slices.ContainsFunc(may, func(p string) bool { return strings.HasPrefix(rel, p) }) {
				t.Errorf("%s calls Reveal", rel)
			}
			seen++
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen == 0 {
		t.Error("no call of Reveal found: this test looks in the wrong place")
	}
}
