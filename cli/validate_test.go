package cli_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"stagedoor/cli"
)

const sharedConfig = `version: 1
site: https://acme.shotgrid.autodesk.com
listen: 127.0.0.1:8470
identity: none
shared: true
limits:
  site: {rate: 120/s}
  fleet: {redis: "rediss://redis.acme.lan:6379", share: 1/800}
scripts:
  farm: {file: /etc/farm.json, allow: [{read: Shot}], limit: {fleet: 40/s, node: 2/s}}
  maya: {file: /etc/maya.json, allow: [{read: Shot}], limit: {fleet: 40/s, lane: interactive}}
  own: {file: /etc/own.json, allow: [{read: Shot}], limit: {node: 5/s}}
`

func validate(t *testing.T, text string, args ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "stagedoor.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	if code := cli.Main(t.Context(), append([]string{"validate", "--config", path}, args...), strings.NewReader(""), &out, &errs); code != 0 {
		t.Fatalf("exit code %d: %s%s", code, &out, &errs)
	}
	return out.String()
}

// Whoever shares budgets chooses the fall-back: it is not found out at night.
func TestValidatePrintsWhatSharedBudgetsMean(t *testing.T) {
	out := validate(t, sharedConfig)
	for _, want := range []string{
		"fleet site             120 calls/s of all proxies together; each leases up to 30 calls, so that 800 proxies may be 600 calls beyond it, once\n",
		"a proxy has 1/800, one call every 6.667s and 1 call at once, also where it is the only busy one\n",
		"fleet farm             40 calls/s of all proxies together;",
		"a proxy has 1/800, one call every 20s and 1 call at once",
		"800 proxies make 40 calls/s together, after 800 at once; 1600 make 80\n",
		"that is longer than max_hold (2s): most calls that come together are refused then\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("lacks %q:\n%s", want, out)
		}
	}
	if n := strings.Count(out, "longer than max_hold"); n != 1 { // of maya; the farm waits 20 s
		t.Errorf("%d times longer than max_hold:\n%s", n, out)
	}
	if strings.Contains(out, "fleet own") {
		t.Errorf("of a budget that nobody shares:\n%s", out)
	}
}

func TestValidateSaysTheSameToPrograms(t *testing.T) {
	var got struct {
		OK    bool
		Fleet []map[string]any
	}
	if err := json.Unmarshal([]byte(validate(t, sharedConfig, "--json")), &got); err != nil || !got.OK || len(got.Fleet) != 3 {
		t.Fatalf("%v, %+v", err, got)
	}
	want := map[string]any{
		"name": "farm", "rate_per_second": 40.0, "proxies": 800.0, "alone_per_second": 0.05, "alone_every_seconds": 20.0,
		"alone_at_once": 1.0, "all_per_second": 40.0, "lease": 10.0, "overshoot": 200.0,
	}
	for k, v := range want {
		if got.Fleet[1][k] != v {
			t.Errorf("%s is %v, not %v", k, got.Fleet[1][k], v)
		}
	}
	if out := validate(t, strings.Replace(strings.ReplaceAll(sharedConfig, "fleet: 40/s, ", ""), "  fleet: {redis: \"rediss://redis.acme.lan:6379\", share: 1/800}\n", "", 1), "--json"); strings.Contains(out, "fleet") {
		t.Errorf("without a fleet: %s", out)
	}
}
