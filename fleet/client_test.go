package fleet_test

import (
	"crypto/x509"
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"stagedoor/fleet"
	"stagedoor/internal/parts"
	"stagedoor/limit"
	"stagedoor/secret"
)

func TestPasswordIsAskedForAtEveryConnectionAndNeverSaid(t *testing.T) {
	const first, second = "canary-first-0123456789", "canary-second-0123456789"
	r := parts.Redis(t, parts.RedisOptions{Password: first})
	var password atomic.Value
	password.Store(secret.FromString(second)) // wrong
	var asked atomic.Int32
	var log notes
	f := open(t, fleet.Options{URL: r.URL, Logger: log.logger(), Password: func() (secret.Value, error) {
		asked.Add(1)
		v, _ := password.Load().(secret.Value)
		if v.IsZero() {
			return v, errors.New("the vault is sealed")
		}
		return v, nil
	}})
	await(t, "the wrong password is refused", func() bool { return strings.Contains(f.Status().Err, "WRONGPASS") })
	password.Store(secret.Value{})
	await(t, "there is none", func() bool { return strings.Contains(f.Status().Err, "the vault is sealed") })
	password.Store(secret.FromString(first))
	await(t, "the right one is taken", func() bool { return f.Status().Connected })
	take(t, f.Budget("farm", slow(10)), 1)

	// It is changed, and connections are cut.
	c := redis.NewClient(&redis.Options{Addr: r.Address, Password: first, Protocol: 2})
	defer c.Close() //nolint:errcheck // of the test
	run(t, c, "CONFIG", "SET", "requirepass", second)
	run(t, c, "CLIENT", "KILL", "TYPE", "normal")
	await(t, "the old one is refused", func() bool { return f.Status().Outages > 1 })
	password.Store(secret.FromString(second))
	await(t, "the new one is taken", func() bool { return f.Status().Connected })
	if asked.Load() < 3 {
		t.Errorf("asked %d times", asked.Load())
	}
	if said := log.String() + f.Status().Err; strings.Contains(said, "canary") {
		t.Errorf("the password was said:\n%s", said)
	}
}

func TestTLS(t *testing.T) {
	r := parts.Redis(t, parts.RedisOptions{TLS: true, Password: "canary-first-0123456789"})
	pem, err := os.ReadFile(r.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	password := func() (secret.Value, error) { return secret.FromString("canary-first-0123456789"), nil }
	good := open(t, fleet.Options{URL: r.URL, Roots: roots, Password: password})
	b := good.Budget("farm", slow(10))
	take(t, b, 1)
	if s := good.Status(); !s.Connected {
		t.Errorf("%+v", s)
	}
	var asked atomic.Bool
	bad := open(t, fleet.Options{URL: r.URL, Password: func() (secret.Value, error) {
		asked.Store(true)
		return password()
	}})
	await(t, "a certificate of nobody's is refused", func() bool { return strings.Contains(bad.Status().Err, "certificate") })
	if asked.Load() {
		t.Error("the password was opened for a server that proved nothing")
	}
	if g, err := bad.Budget("farm", limit.Options{Rate: 10}).Take(t.Context(), limit.Ask{Cost: 1}); err != nil {
		t.Errorf("without Redis the share is there: %v, %v", g, err)
	}
}

// TestTheAccessListOfTheDocsIsEnough has all that a fleet does done by the user
// that docs/limits.md describes.
func TestTheAccessListOfTheDocsIsEnough(t *testing.T) {
	text, err := os.ReadFile("../docs/limits.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "    user stagedoor on ")
	rules, _, _ := strings.Cut(rest, "\n")
	if !found {
		t.Fatal("docs/limits.md has no access list")
	}
	rules = strings.NewReplacer(">PASSWORD", ">canary-0123456789", "PREFIX", fleet.DefaultPrefix).Replace(rules)
	r := parts.Redis(t, parts.RedisOptions{})
	args := []any{"ACL", "SETUSER", "stagedoor", "on"}
	for rule := range strings.FieldsSeq(rules) {
		args = append(args, rule)
	}
	run(t, shell(t, r), args...)
	h := &heard{}
	f := open(t, fleet.Options{URL: r.URL, User: "stagedoor", Node: "r0417", OnBrakes: h.hear, Password: func() (secret.Value, error) {
		return secret.FromString("canary-0123456789"), nil
	}})
	o := limit.Options{Rate: 5, Burst: 1}
	b := f.Budget("site", o)
	for range 4 { // the last ones are promised, and asked for again
		take(t, b, 1)
	}
	set(t, f, brake("farm", 1, time.Hour))
	h.await(t, "script:farm=1 ")
	lift(t, f, "farm")
	h.await(t, "")
	run(t, shell(t, r), "SET", "stagedoor:brakes", "no hash")
	run(t, shell(t, r), "SET", "stagedoor:budget:site", "no hash")
	set(t, f, brake("farm", 1, time.Hour))
	take(t, b, 1)
	if s := f.Status(); !s.Connected || s.Outages != 0 {
		t.Errorf("%+v", s)
	}
}
