package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"stagedoor/policy"
	"stagedoor/proxy"
)

// Bounds of a file of fixtures.
const (
	maxFixtureFile = 1 << 20 // bytes, as of a configuration
	maxFixtures    = 5000
)

// fixtureFile is a file of fixtures, read strictly.
//
//	config: stagedoor.yaml       # beside this file; --config wins
//	script: publisher            # of tests that name none
//	tests:
//	  - name: a status may be set
//	    call: {method: update, type: Version, id: 7, fields: [sg_status_list]}
//	    in_project: 122
//	    expect: allow
//	    rule: 31
type fixtureFile struct {
	Config string     `yaml:"config"`
	Script string     `yaml:"script"`
	Tests  []ast.Node `yaml:"tests"`
}

// fixture is one call and what is expected of it.
type fixture struct {
	file string
	line int

	Name   string `yaml:"name"`
	Script string `yaml:"script"`

	// One of these is the call.
	Call *shortCall `yaml:"call"`
	API3 any        `yaml:"api3"`
	REST string     `yaml:"rest"`
	Curl string     `yaml:"curl"`

	// SudoAsLogin is the login that the tool asks for, Login the caller's own.
	SudoAsLogin string `yaml:"sudo_as_login"`
	Login       string `yaml:"login"`
	// InProject is where the records lie that the call names by id, in their
	// order, the last one for all that follow; 0 is in no project.
	InProject ids `yaml:"in_project"`
	// At is when the call comes, for observe_until; without it, now.
	At string `yaml:"at"`

	Expect string `yaml:"expect"`
	Reason string `yaml:"reason"`
	Rule   any    `yaml:"rule"`
	Filter *ids   `yaml:"filter"`
	ActsAs string `yaml:"acts_as"`
}

// ids is a list of numbers, or one.
type ids []int64

// UnmarshalYAML reads 122 or [122, 145].
func (l *ids) UnmarshalYAML(text []byte) error {
	var many []int64
	if err := yaml.UnmarshalWithOptions(text, &many, yaml.Strict()); err == nil {
		*l = many
		return nil
	}
	var one int64
	if err := yaml.UnmarshalWithOptions(text, &one, yaml.Strict()); err != nil {
		return errors.New("an id or a list of ids is wanted here")
	}
	*l = ids{one}
	return nil
}

// The words of expect.
const (
	expectAllow   = "allow"
	expectRefuse  = "refuse"
	expectObserve = "observe"
)

// readFixtures reads a file.
func readFixtures(path string) (config string, tests []*fixture, err error) {
	f, err := os.Open(filepath.Clean(path))
	if err != nil {
		return "", nil, fmt.Errorf("opening the fixtures: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	text, err := readBounded(f, maxFixtureFile)
	if err != nil {
		return "", nil, fmt.Errorf("%s: %w", path, err)
	}
	tree, err := parser.ParseBytes(text, 0)
	if err != nil {
		return "", nil, fmt.Errorf("%s: %w", path, yamlError(err))
	}
	if len(tree.Docs) != 1 || tree.Docs[0].Body == nil {
		return "", nil, fmt.Errorf("%s: one document with tests is wanted", path)
	}
	var file fixtureFile
	if err := yaml.NodeToValue(tree.Docs[0].Body, &file, yaml.Strict()); err != nil {
		return "", nil, fmt.Errorf("%s: %w", path, yamlError(err))
	}
	if len(file.Tests) == 0 || len(file.Tests) > maxFixtures {
		return "", nil, fmt.Errorf("%s: %d tests; 1 to %d are wanted", path, len(file.Tests), maxFixtures)
	}
	for _, n := range file.Tests {
		t := &fixture{file: path, line: nodeLine(n), Script: file.Script}
		if err := yaml.NodeToValue(n, t, yaml.Strict()); err != nil {
			return "", nil, fmt.Errorf("%s:%d: %w", path, t.line, yamlError(err))
		}
		if err := t.check(); err != nil {
			return "", nil, fmt.Errorf("%s: %w", t.where(), err)
		}
		tests = append(tests, t)
	}
	if file.Config != "" && !filepath.IsAbs(file.Config) {
		file.Config = filepath.Join(filepath.Dir(path), file.Config)
	}
	return file.Config, tests, nil
}

// nodeLine is the line in which a mapping begins.
func nodeLine(n ast.Node) int {
	if m, ok := n.(*ast.MappingNode); ok && len(m.Values) > 0 {
		return m.Values[0].Key.GetToken().Position.Line
	}
	return n.GetToken().Position.Line
}

// yamlError is the first line of a parser's message, which goes on with a
// picture of the place.
func yamlError(err error) error { return errors.New(firstLine(err.Error())) }

// where is "policy.test.yaml:12".
func (t *fixture) where() string { return t.file + ":" + strconv.Itoa(t.line) }

// check refuses what can't be a test.
func (t *fixture) check() error {
	calls := 0
	for _, given := range []bool{t.Call != nil, t.API3 != nil, t.REST != "", t.Curl != ""} {
		if given {
			calls++
		}
	}
	switch {
	case t.Name == "":
		return errors.New("the test has no name")
	case calls != 1:
		return fmt.Errorf("%q: one of call, api3, rest and curl is wanted", t.Name)
	case !slices.Contains([]string{expectAllow, expectRefuse, expectObserve}, t.Expect):
		return fmt.Errorf("%q: expect is allow, refuse or observe", t.Name)
	case t.Expect == expectAllow && t.Reason != "":
		return fmt.Errorf("%q: what is allowed has no reason", t.Name)
	}
	if _, err := t.time(time.Time{}); err != nil {
		return fmt.Errorf("%q: at is a day, such as 2026-12-20", t.Name)
	}
	return nil
}

func (t *fixture) time(now time.Time) (time.Time, error) {
	if t.At == "" {
		return now, nil
	}
	return time.Parse(time.DateOnly, t.At)
}

// request is the fixture's call as a request.
func (t *fixture) request(script string) (*rawRequest, error) {
	switch {
	case t.Call != nil:
		return t.Call.request(script)
	case t.API3 != nil:
		body, err := jsonOf(t.API3)
		if err != nil {
			return nil, err
		}
		return &rawRequest{method: "POST", target: "/api3/json", header: jsonHeader(), body: body}, nil
	case t.REST != "":
		if !isRequestLine(t.REST) {
			return nil, errors.New("rest is a verb and a path, such as GET /api/v1/entity/shots")
		}
		return plainRequest(t.REST)
	}
	return curlRequest(strings.TrimSpace(t.Curl), nil)
}

// run decides, and says in a few words what differs from what is expected, or
// "" where nothing does. An error is a fixture that can't be decided.
func (t *fixture) run(b *rulebook) (differs []string, call string, err error) {
	s, err := b.script(t.Script, "")
	if err != nil {
		return nil, "", err
	}
	raw, err := t.request(s.Name)
	if err != nil {
		return nil, "", err
	}
	a, err := b.readRequest(raw)
	if u, ok := errors.AsType[*proxy.Unreadable](err); ok {
		r := ruling{word: wordRefused, Verdict: policy.Verdict{Reason: policy.Reason(u.Reason), What: "make a call that can't be read: " + u.Msg}}
		return t.differs(s, &r), raw.method + " " + raw.target, nil
	}
	if err != nil {
		return nil, "", err
	}
	if t.SudoAsLogin != "" {
		a.query.Call.SudoAsLogin = t.SudoAsLogin
	}
	a.query.Login = t.Login
	now, err := t.time(time.Now())
	if err != nil {
		return nil, "", fmt.Errorf("at: %w", err)
	}
	r := s.decide(a.query, now)
	if err := t.lookUp(&r); err != nil {
		return nil, "", err
	}
	return t.differs(s, &r), callWords(a.query.Call), nil
}

// lookUp puts in_project in the place of the site, where the decision depends on
// where records lie.
func (t *fixture) lookUp(r *ruling) error {
	if !r.Allow {
		return nil
	}
	for i, c := range r.Lookup {
		if len(t.InProject) == 0 {
			return fmt.Errorf("it depends: %s; say where it lies: in_project: ID", lookupWords(r.Lookup))
		}
		at := t.InProject[min(i, len(t.InProject)-1)]
		if slices.Contains(c.Projects, at) == c.Except {
			r.word, r.Allow, r.Reason, r.What = wordRefused, false, policy.Project, fmt.Sprintf("reach a record in project %d", at)
			return nil
		}
	}
	if len(r.Lookup) > 0 {
		r.word, r.depends = wordAllowed, ""
	}
	return nil
}

func (t *fixture) differs(s *bookScript, r *ruling) (out []string) {
	got := map[string]string{wordAllowed: expectAllow, wordRefused: expectRefuse, wordObserved: expectObserve}[r.word]
	differ := func(what, want, got string) {
		out = append(out, fmt.Sprintf("%-9s %s, not %s", what, got, want))
	}
	if got != t.Expect {
		why := got
		if r.Reason != "" {
			why += " (" + string(r.Reason) + ": may not " + r.What + ")"
		}
		differ("decision", t.Expect, why)
	}
	if t.Reason != "" && t.Reason != string(r.Reason) {
		differ("reason", t.Reason, orNone(string(r.Reason)))
	}
	if t.Rule != nil && !isPlace(r.Rule, fmt.Sprint(t.Rule)) {
		text := orNone(r.Rule)
		if rule, ok := s.rule(r.Rule); ok {
			text += "  - " + ruleWords(rule)
		}
		differ("rule", fmt.Sprint(t.Rule), text)
	}
	if t.Filter != nil && !slices.Equal([]int64(*t.Filter), r.Filter) {
		differ("filter", "["+idsText(*t.Filter)+"]", "["+idsText(r.Filter)+"]")
	}
	as := r.Sudo
	if r.Allow && as == "" {
		as = t.SudoAsLogin // granted, so sent as it is
	}
	if t.ActsAs != "" && t.ActsAs != as {
		differ("acts_as", t.ActsAs, orNone(as))
	}
	return out
}

// isPlace compares a rule's place with a line, or a file and a line.
func isPlace(where, want string) bool {
	_, line, _ := strings.Cut(where, ":")
	return where == want || line == want
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// jsonOf writes what YAML gave as JSON.
func jsonOf(v any) ([]byte, error) {
	out, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("writing the call: %w", err)
	}
	return out, nil
}
