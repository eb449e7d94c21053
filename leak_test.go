package main_test

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"stagedoor/flowsite"
	"stagedoor/internal/parts"
)

// The site is careless and repeats the key in every answer and its headers, in
// a dozen spellings, packed or in pieces of a few bytes. Still the key is in
// nothing that Stagedoor wrote to the tool, to its log, to its metrics or to
// the audit log, and nowhere in the tool's process: not in its environment, not
// in its arguments, not in its memory.
func TestTheKeyIsInNothingThatLeavesTheProxy(t *testing.T) {
	t.Parallel()
	vault := vaultKey(t, parts.Vault(t, parts.VaultOptions{}))
	for _, plain := range []bool{false, true} {
		t.Run(fmt.Sprintf("plain %t", plain), func(t *testing.T) {
			t.Parallel()
			for _, version := range clients() {
				keepsTheKey(t, version, vault, plain)
			}
		})
	}
}

func keepsTheKey(t *testing.T, version, vault string, plain bool) {
	t.Helper()
	site := startSite(t, flowsite.Options{Echo: true, Plain: plain})
	site.Seed("Shot", map[string]any{"id": 500, "code": "long", "description": strings.Repeat("a long text ", 8000)})
	site.Fail(flowsite.Fault{Method: "read", Type: "Task", Slow: pace(t), Chunk: 3}, 0)
	site.Fail(flowsite.Fault{Method: "read", Type: "Shot", Slow: pace(t), Chunk: 61}, 0)
	site.Fail(flowsite.Fault{Method: "summarize", Status: 503, Message: "no script has the key " + siteKey}, 0)
	site.Fail(flowsite.Fault{Method: "followers", Code: 100, Message: siteKey}, 0)
	s := serve(t, scriptConfig(site, "active: scripts/comp-publisher", vault+"log: {format: json, level: debug}\n")+
		"    allow: [{read: '*'}, {create: Playlist}, {update: Shot.code}, {schema: '*'}, {follow: Shot}]\n")

	const placeholder = "a placeholder of this test alone"
	p := startTool(t, version, s.base("tools"), `api_key="`+placeholder+`"`)
	w := tap(t, s.Address("tools"))
	p.through(w, s.Address("tools"))
	for expression, want := range map[string]string{
		`len(sg.find('Task', [], ['content', 'entity'])) > 20`:                                                                      "true",
		`len(sg.find_one('Shot', [['id', 'is', 500]], ['description'])['description'])`:                                             "96000",
		`sg.create('Playlist', {'code': 'Tuesday', 'project': {'type': 'Project', 'id': 65}})['code']`:                              `"Tuesday"`,
		`[r['code'] for r in sg.batch([{'request_type': 'update', 'entity_type': 'Shot', 'entity_id': 1, 'data': {'code': 'x'}}])]`: `["x"]`,
		`'Shot' in sg.schema_read()`: "true",
	} {
		if got := p.OK(expression); got != want {
			t.Errorf("%s gave %s", expression, got)
		}
	}
	for expression, want := range map[string]string{
		`sg.find('Shot', [['no_such', 'is', 1]])`:                        "Fault: API read()",
		`sg.summarize('Shot', [], [{'field': 'id', 'type': 'count'}])`:   "ProtocolError: ",
		`sg.followers({'type': 'Shot', 'id': 1})`:                        "Fault: [redacted by stagedoor]",
		`sg.delete('Shot', 1)`:                                           "Fault: Stagedoor: comp-publisher may not delete Shot",
		`sg.find('HumanUser', [], ['salted_password'])`:                  "Fault: Stagedoor: ",
		`sg.authenticate_human_user('ann', 'a password') and 'accepted'`: "",
	} {
		if got := p.Do(expression).String(); !strings.HasPrefix(got, want) {
			t.Errorf("%s gave %s", expression, got)
		}
	}
	checkProcess(t, p, placeholder)

	wrote := w.Written()
	if strings.Contains(wrote, "Content-Encoding") || !strings.Contains(wrote, "Content-Language: [redacted by stagedoor]") {
		t.Error("the answers are packed, or were not looked through")
	}
	for _, name := range []string{"Set-Cookie", "Strict-Transport-Security", "Access-Control", "X-Echo", "Server:"} {
		if strings.Contains(wrote, name) {
			t.Errorf("the tool is told the site's %s", name)
		}
	}
	if n := strings.Count(wrote, "[redacted by stagedoor]"); n < 10*5 {
		t.Errorf("%d echoes were replaced", n)
	}
	_, metrics := s.Get("/metrics")
	if counted, want := redactions(t, metrics), s.redacted(); counted == 0 || counted != want {
		t.Errorf("stagedoor_redactions_total is %d, the audit log has %d", counted, want)
	}
	s.Stop()
	for where, text := range map[string]string{"the answer": wrote, "the log": s.Log(), "the audit log": s.Audit(), "the metrics": metrics} {
		lacks(t, where, text)
		if strings.Contains(text, flowsite.CookieCanary) || strings.Contains(text, "a long text") && where != "the answer" {
			t.Errorf("%s holds what it should not", where)
		}
	}
}

// The search finds the key in whatever the careless site makes of it.
func TestTheSearchForTheKeyFindsIt(t *testing.T) {
	t.Parallel()
	echoes := flowsite.Echoes(siteKey)
	for i := range 3 {
		text := strings.Repeat("-", i) + siteKey + "--"
		echoes[fmt.Sprint("base64 ", i)] = base64.StdEncoding.EncodeToString([]byte(text))
		echoes[fmt.Sprint("base64url ", i)] = base64.RawURLEncoding.EncodeToString([]byte(text))
	}
	asJSON, err := json.Marshal(siteKey)
	if err != nil {
		t.Fatal(err)
	}
	echoes["JSON"] = string(asJSON)
	for name, text := range echoes {
		if spelled("before "+text+" after", siteKey) == nil {
			t.Errorf("%s is not found: %s", name, text)
		}
	}
	if found := spelled(siteKey[:len(siteKey)-1]+strings.ToUpper(siteKey), siteKey); found != nil {
		t.Errorf("what is not there is found: %v", found)
	}
}

// through leads the tool's connections to a listener through a relay.
func (p *tool) through(w *wire, listener string) {
	p.t.Helper()
	p.Run(fmt.Sprintf(`
import socket
connect = socket.socket.connect
socket.socket.connect = lambda self, to: connect(self, (to[0], %s) + to[2:] if to[1] == %s else to)
`, portOf(w.Address), portOf(listener)))
}

func portOf(address string) string { return address[strings.LastIndexByte(address, ':')+1:] }

// pace lets a Slow answer go on at once, piece by piece.
func pace(t *testing.T) <-chan struct{} {
	t.Helper()
	c := make(chan struct{})
	go func() {
		for {
			select {
			case c <- struct{}{}:
			case <-t.Context().Done():
				close(c)
				return
			}
		}
	}()
	return c
}

// checkProcess looks for the key in the tool's process, and for what has to be
// there to see that it looks.
func checkProcess(t *testing.T, p *tool, placeholder string) {
	t.Helper()
	lacks(t, "os.environ and sys.argv", p.OK(`[dict(os.environ), sys.argv]`))
	if runtime.GOOS != "linux" {
		return // there is no /proc
	}
	// The environment has nothing at all in it but what Python adds itself.
	lacks(t, "/proc/self/environ and cmdline", p.OK(`whole_file('/proc/self/environ') + whole_file('/proc/self/cmdline')`))
	memory := memoryOf(t, p.cmd.Process.Pid)
	if !strings.Contains(memory, placeholder) {
		t.Error("the tool's memory does not even hold its own placeholder")
	}
	lacks(t, "the tool's memory", memory)
}

// memoryOf is all that a process has in memory.
func memoryOf(t *testing.T, pid int) string {
	t.Helper()
	maps, err := os.Open(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer maps.Close() //nolint:errcheck // only read
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close() //nolint:errcheck // only read
	var all strings.Builder
	sc := bufio.NewScanner(maps)
	for sc.Scan() {
		var from, to int64
		var rights string
		if _, err := fmt.Sscanf(sc.Text(), "%x-%x %s", &from, &to, &rights); err != nil || rights[0] != 'r' {
			continue
		}
		// Some regions, such as the kernel's own, can't be read.
		_, _ = io.Copy(&all, io.NewSectionReader(mem, from, to-from))
	}
	return all.String()
}

// redacted is how many echoes were removed, by the audit log.
func (s *stagedoor) redacted() int {
	s.t.Helper()
	n := 0
	for _, r := range s.Records() {
		if f, ok := r["redacted"].(float64); ok {
			n += int(f)
		}
	}
	return n
}

func redactions(t *testing.T, metrics string) int {
	t.Helper()
	m := regexp.MustCompile(`(?m)^stagedoor_redactions_total (\d+)$`).FindStringSubmatch(metrics)
	if m == nil {
		t.Fatal("there is no metric stagedoor_redactions_total")
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}
