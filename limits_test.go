package main_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"stagedoor/flowsite"
	"stagedoor/internal/parts"
	"stagedoor/proxy"
)

// shortHome is a home folder whose path leaves room for that of a socket.
func shortHome(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sd") //nolint:usetesting // t.TempDir has the test's name in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// command runs another command of the same user beside the proxy.
func (s *stagedoor) command(args ...string) (out string, code int) {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), parts.Binary(s.t), args...)
	cmd.Env = s.cmd.Env
	text, err := cmd.CombinedOutput()
	exit, failed := errors.AsType[*exec.ExitError](err)
	switch {
	case err == nil:
		return string(text), 0
	case failed:
		return string(text), exit.ExitCode()
	}
	s.t.Fatal(err)
	return "", 0
}

// awaitCall repeats a read until its answer matches.
func (s *stagedoor) awaitCall(pattern string) string {
	s.t.Helper()
	want := regexp.MustCompile(pattern)
	end := time.Now().Add(patience)
	for {
		_, answer := s.Call("tools", findShots)
		switch {
		case want.MatchString(answer):
			return answer
		case time.Now().After(end):
			s.t.Fatalf("no answer matches %s; the last is %s", pattern, answer)
		}
	}
}

// awaitPage repeats a question to the admin address until it matches.
func (s *stagedoor) awaitPage(path, pattern string) string {
	s.t.Helper()
	want := regexp.MustCompile(pattern)
	end := time.Now().Add(patience)
	for {
		_, page := s.Get(path)
		switch {
		case want.MatchString(page):
			return page
		case time.Now().After(end):
			s.t.Fatalf("%s does not say %s:\n%s", path, pattern, page)
		}
	}
}

// TestTheBrakeOfOneProxy: in force at once, named where people look, lifted.
func TestTheBrakeOfOneProxy(t *testing.T) {
	t.Parallel()
	site := startSite(t, flowsite.Options{})
	s := serveIn(t, shortHome(t), nil, scriptConfig(site, "file: "+keyFile(t), "")+compRules)
	p := startTool(t, parts.NewestClient, s.base("tools"))
	p.Run("sg = new()")
	p.OK(oneShot)
	out, code := s.command("pause", "comp-publisher", "--for", "10m", "--why", "site restore")
	if code != 0 || !regexp.MustCompile(`^script comp-publisher is paused until \d\d:\d\d:\d\d, on this proxy alone\n$`).MatchString(out) {
		t.Fatalf("pause: %d %s", code, out)
	}
	saw := calls(site)
	got := p.Do(oneShot)
	id := artistReads(t, "paused", got.Text, "comp-publisher is paused until ", "")
	if got.Class != "Fault" || !strings.Contains(got.Text, ": site restore. Ask ") || calls(site) != saw {
		t.Errorf("a paused script's tool reads %s; the site saw %d calls", got, calls(site)-saw)
	}
	s.recorded("paused", id, proxy.Braked)
	s.awaitPage("/readyz", `(?m)^ok   brakes: 1 in force`)
	s.awaitPage("/metrics", `(?m)^stagedoor_brake_rate\{name="comp-publisher",scope="script"\} 0$`)
	if out, _ := s.command("brakes"); !regexp.MustCompile(`script +comp-publisher +paused .* site restore`).MatchString(out) {
		t.Errorf("brakes: %s", out)
	}
	if out, code := s.command("resume", "comp-publisher"); code != 0 || !strings.Contains(out, "goes on as configured") {
		t.Errorf("resume: %d %s", code, out)
	}
	if out, code := s.command("resume", "comp-publisher"); code != 1 || !strings.Contains(out, "no brake is on script comp-publisher") {
		t.Errorf("resume again: %d %s", code, out)
	}
	p.OK(oneShot)
	if out, code := s.command("slow", "comp-publishr", "--why", "x"); code != 1 || !strings.Contains(out, "there is no script") {
		t.Errorf("a script that is none: %d %s", code, out)
	}
	if out, code := s.command("slow", "comp-publisher"); code != 2 || !strings.Contains(out, "--why") {
		t.Errorf("no reason: %d %s", code, out)
	}
	// By the caller: everybody here comes from one address.
	if out, code := s.command("slow", "127.0.0.1", "--caller", "--to", "1/h", "--for", "1h", "--why", "a loop"); code != 0 {
		t.Fatalf("slow: %d %s", code, out)
	}
	s.awaitCall(`the caller 127\.0\.0\.1 is slowed to .*: a loop`)
}

// fleetConfig is a script whose budget all proxies share.
func fleetConfig(t *testing.T, site *theSite, redis *parts.RedisServer, limit string) string {
	t.Helper()
	return scriptConfig(site, "file: "+keyFile(t), fmt.Sprintf("limits:\n  fleet: {redis: %q, share: 1/50, lease: 1s}\n", redis.URL)) +
		"    limit: " + limit + "\n    allow: [{read: Shot}, {read: Project}, {read: Note}, {create: Note}]\n"
}

// TestAFleetSharesABudgetAndABrake: what one proxy used up another has not, a
// brake pulled at one is in force at all, and while Redis is away each lives by
// its share and says so.
func TestAFleetSharesABudgetAndABrake(t *testing.T) {
	t.Parallel()
	redis := parts.Redis(t, parts.RedisOptions{})
	site := startSite(t, flowsite.Options{})
	config := fleetConfig(t, site, redis, "{fleet: 12/m, node: 50/s, max_hold: 0s}")
	a, b := serveIn(t, shortHome(t), nil, config), serveIn(t, shortHome(t), nil, config)
	for _, s := range []*stagedoor{a, b} {
		s.awaitPage("/readyz", `(?m)^ok   fleet: budgets are shared through Redis$`)
		s.awaitPage("/metrics", `(?m)^stagedoor_fleet_connected 1$`)
	}

	a.awaitCall(`over its limit for all hosts together`)
	saw := calls(site)
	if saw == 0 {
		t.Error("nothing of the budget was let through")
	}
	if _, answer := b.Call("tools", findShots); !strings.Contains(answer, "over its limit for all hosts together") {
		t.Errorf("what one proxy used up, another had: %s", answer)
	}

	set := time.Now()
	if out, code := a.command("pause", "comp-publisher", "--for", "5m", "--why", "for all"); code != 0 || !strings.Contains(out, "on all proxies of the fleet") {
		t.Fatalf("pause: %d %s", code, out)
	}
	b.awaitCall(`comp-publisher is paused until .*: for all`)
	t.Logf("the other proxy obeyed after %v", time.Since(set))
	b.AwaitLog(`"msg":"a brake is in force","scope":"script","name":"comp-publisher","brake":"paused"`)
	var list []struct{ Name, Why string }
	if out, code := b.command("brakes", "--json"); code != 0 || json.Unmarshal([]byte(out), &list) != nil || len(list) != 1 || list[0].Why != "for all" {
		t.Errorf("brakes: %d %s", code, out)
	}
	if out, code := b.command("resume", "comp-publisher"); code != 0 {
		t.Fatalf("resume: %d %s", code, out)
	}
	a.awaitCall(`over its limit for all hosts together|results`)
	b.AwaitLog(`"msg":"a brake is over","scope":"script","name":"comp-publisher"`)

	redis.Stop()
	a.awaitPage("/readyz", `(?m)^ok   fleet: budgets are NOT shared, this proxy lives by its share \(1/50\)`)
	a.awaitPage("/metrics", `(?m)^stagedoor_fleet_connected 0$`)
	if status, page := a.Get("/readyz"); status != 200 {
		t.Errorf("being limited is never unready: %s", page)
	}
	if out, code := a.command("pause", "comp-publisher", "--for", "5m", "--why", "alone"); code != 0 || !strings.Contains(out, "on this proxy alone") {
		t.Fatalf("pause: %d %s", code, out)
	}
	a.awaitCall(`comp-publisher is paused until .*: alone`)
	// What only this proxy knows, it can take away; a brake that ends is told of.
	if out, code := a.command("resume", "comp-publisher"); code != 0 || !strings.Contains(out, "on this proxy alone") {
		t.Fatalf("resume: %d %s", code, out)
	}
	if out, code := a.command("pause", "comp-publisher", "--for", "5m", "--why", "alone"); code != 0 {
		t.Fatalf("pause: %d %s", code, out)
	}
	if out, code := a.command("slow", "10.0.0.1", "--caller", "--for", "1s", "--why", "short"); code != 0 {
		t.Fatalf("slow: %d %s", code, out)
	}
	a.AwaitLog(`"msg":"a brake is over","scope":"caller","name":"10.0.0.1"`)
	redis.Restart()
	a.awaitPage("/readyz", `(?m)^ok   fleet: budgets are shared through Redis$`)
	a.awaitCall(`comp-publisher is paused until .*: alone`)
	if _, answer := b.Call("tools", findShots); strings.Contains(answer, "paused") {
		t.Errorf("a brake that the fleet was not told: %s", answer)
	}
}

// TestWhoWaitsForAKindIsSeen: the metric counts calls that wait for any of a
// script's budgets.
func TestWhoWaitsForAKindIsSeen(t *testing.T) {
	t.Parallel()
	s := serve(t, scriptConfig(startSite(t, flowsite.Options{}), "file: "+keyFile(t), "drain: 0s")+
		"    limit: {rate: 20/s, max_hold: 10m, kinds: {read: 1/m}}\n    allow: [{read: Shot}]\n")
	if _, answer := s.Call("tools", findShots); !strings.Contains(answer, "results") {
		t.Fatal(answer)
	}
	s.inBackground()
	s.awaitMetric(`stagedoor_queued{script="comp-publisher"} 1`)
}

// TestAReloadKeepsWhatIsSpent: another limit is in force at once, and gives no
// fresh burst.
func TestAReloadKeepsWhatIsSpent(t *testing.T) {
	t.Parallel()
	site := startSite(t, flowsite.Options{})
	rules := "    allow: [{read: Shot}, {read: Note}, {create: Note}]\n"
	head := scriptConfig(site, "file: "+keyFile(t), "")
	s := serve(t, head+"    limit: {rate: 2/m, burst: 3, max_hold: 0s}\n"+rules)
	s.awaitCall(`over its rate limit`)
	saw := calls(site)
	text, err := os.ReadFile(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	write(t, s.Config, 0o644, strings.Replace(string(text), "{rate: 2/m, burst: 3, max_hold: 0s}", "{rate: 3/m, burst: 100, max_hold: 0s, kinds: {write: 1/m}}", 1))
	s.Signal(syscall.SIGHUP)
	s.AwaitLog(`"msg":"configuration reloaded"`)
	if _, answer := s.Call("tools", findShots); !strings.Contains(answer, "over its rate limit") || calls(site) != saw {
		t.Errorf("a reload gave a fresh budget: %s", answer)
	}
}

// TestAThousandWorkersAskForTheSchemaOnce: a farm that starts asks the site once,
// and every worker's call has its own record.
func TestAThousandWorkersAskForTheSchemaOnce(t *testing.T) {
	t.Parallel()
	const workers = 1000
	site := startSite(t, flowsite.Options{})
	s := serve(t, scriptConfig(site, "file: "+keyFile(t), "max_connections: 2000")+
		"    limit: {rate: 1/m, burst: 1, max_hold: 0s}\n    allow: [{schema: \"*\", cache: 1m}]\n")
	const schema = `{"method_name":"schema_read","params":[{"script_name":"comp-publisher","script_key":"x"}]}`
	answers := make([]string, workers)
	var wait sync.WaitGroup
	for i := range answers {
		wait.Go(func() { _, answers[i] = s.Call("tools", schema) })
	}
	wait.Wait()
	for i, a := range answers {
		if a != answers[0] || !strings.Contains(a, `"Shot"`) {
			t.Fatalf("worker %d got %.200s", i, a)
		}
	}
	if n := calls(site); n != 1 {
		t.Errorf("the site saw %d calls", n)
	}
	intents, served := 0, 0
	for _, r := range s.Records() {
		if r["ev"] == "intent" {
			intents++
			if r["served"] != nil {
				served++
			}
		}
	}
	if intents != workers || served != workers-1 {
		t.Errorf("%d intents, %d of them served by another's answer", intents, served)
	}
}
