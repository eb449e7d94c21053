package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"stagedoor/flow"
	"stagedoor/policy"
	"stagedoor/proxy"
)

func (c *commands) policyExplain() *cobra.Command {
	var o explainOptions
	cmd := &cobra.Command{
		Use:   "explain [CALL]",
		Short: "Say what would become of one call, and why",
		Long: `Say what the configuration makes of one call, and why. CALL is one of

  01KB2M7Q...                    the request id of a refusal, looked up in the
                                 audit log of the configuration, or in --from
  '{"method_name": ...}'         the body of an api3 call
  'curl -d ... URL'              a curl line; without quotes after --
  'GET /api/v1/entity/shots'     a REST call, its body after an empty line
  '{"v":1,"ev":"intent", ...}'   a record of an audit log
  FILE, or - for standard input  one of these

Audit records hold the names in a call, no values: where a decision depends on
more, that is said. Exit code 0 is allowed, 1 refused, 2 can't be told.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.explain(&o, args, cmd.InOrStdin())
		},
	}
	cmd.Flags().StringVar(&o.script, "script", "", "the script that makes the call, by its `NAME` in the configuration")
	cmd.Flags().StringVar(&o.login, "login", "", "the caller's own `LOGIN` on the site, for sudo_as_login: caller")
	cmd.Flags().StringArrayVar(&o.from, "from", nil, "audit logs to look a request id up in, a file or a `PATTERN`; may be given again")
	cmd.Flags().BoolVar(&o.json, "json", false, "print the result as JSON")
	return cmd
}

type explainOptions struct {
	script, login string
	from          []string
	json          bool
}

func (c *commands) explain(o *explainOptions, args []string, stdin io.Reader) error {
	b, err := c.rulebook()
	if err != nil {
		return err
	}
	a, err := b.asked(o, args, stdin)
	if u, ok := errors.AsType[*proxy.Unreadable](err); ok {
		return c.explainUnreadable(o, u)
	}
	if err != nil {
		return cannotStart(err)
	}
	sent := a.query.Call.ScriptName
	if a.record != nil {
		sent = a.record.Script
	}
	s, err := b.script(o.script, sent)
	if err != nil {
		return err
	}
	switch {
	case o.login != "":
		a.query.Login = o.login
	case a.query.Login == "" && s.SudoCaller: // whoever it is
		a.query.Login = cmp.Or(a.query.Call.SudoAsLogin, flow.ShapeLogin)
	}
	var r ruling
	if a.record != nil {
		r = s.decideRecord(a.query, a.cut, time.Now())
	} else {
		r = s.decide(a.query, time.Now())
	}
	x := &explanation{b: b, s: s, a: a, r: r}
	if o.json {
		err = c.printJSON(x.json())
	} else {
		c.printf("%s", x.text())
	}
	if err != nil {
		return err
	}
	return x.exit()
}

// asked finds the call.
func (b *rulebook) asked(o *explainOptions, args []string, stdin io.Reader) (*asked, error) {
	if len(args) == 1 && isRequestID(args[0]) {
		paths, err := b.trail(o.from)
		if err != nil {
			return nil, err
		}
		line, err := (&trailReader{stdin: stdin}).find(paths, args[0])
		if err != nil {
			return nil, err
		}
		return line.asked()
	}
	text, words, err := callText(args, stdin)
	if err != nil {
		return nil, err
	}
	return b.read(text, words)
}

// explainUnreadable tells of a call that would not even be read.
func (c *commands) explainUnreadable(o *explainOptions, u *proxy.Unreadable) error {
	if o.json {
		if err := c.printJSON(map[string]string{"decision": wordRefused, "reason": string(u.Reason), "what": u.Msg}); err != nil {
			return err
		}
		return no(nil)
	}
	c.printf("refused   before anything is decided: %s\ndecided   %s\n", u.Reason, u.Msg)
	return no(nil)
}

// explanation is a decision and what there is to say of it.
type explanation struct {
	b *rulebook
	s *bookScript
	a *asked
	r ruling
}

func (x *explanation) exit() error {
	switch x.r.word {
	case wordRefused:
		return no(nil)
	case wordDepends:
		return cannotStart(nil)
	}
	return nil
}

// column is how wide the words at the left are.
const column = "%-10s%s\n"

func (x *explanation) text() string {
	var b strings.Builder
	line := func(word, text string) {
		_, _ = fmt.Fprintf(&b, column, word, strings.ReplaceAll(text, "\n", "\n          "))
	}
	line(x.r.word, x.head())
	if then := x.then(); then != "" {
		line("recorded", then)
	}
	call := callWords(x.a.query.Call)
	if login := x.a.query.Call.SudoAsLogin; login != "" {
		call += "   sudo_as_login " + printable(login)
	}
	line("call", call)
	if x.r.depends != "" {
		line("depends", "on "+x.r.depends)
	}
	line("decided", x.decided())
	if x.r.Suggest != "" {
		line("would do", x.r.Suggest)
	}
	if w := x.wider(); w != "" {
		line("", w)
	}
	if len(x.r.Filter) > 0 {
		line("adds", "a filter: project is one of "+idsText(x.r.Filter))
	}
	if who := x.r.Sudo; who == flow.ShapeLogin {
		line("acts as", "the caller's own login")
	} else if who != "" && who != x.a.query.Call.SudoAsLogin {
		line("acts as", who+", the caller's own login")
	}
	if s := shareText(x.r.Share); s != "" {
		line("shares", "its answer: "+s)
	}
	return b.String()
}

// head says when and from where the call came, as far as is known, and whose it is.
func (x *explanation) head() string {
	l := x.a.record
	if l == nil {
		return x.s.Name
	}
	return fmt.Sprintf("%s  listener %s  caller %s  %s", l.T.UTC().Format(time.DateTime), l.Listener, l.Caller, x.s.Name)
}

// then says what was decided when the call came, where that was something else.
func (x *explanation) then() string {
	l := x.a.record
	if l == nil {
		return ""
	}
	was := wordAllowed
	switch {
	case l.Reason != "":
		was = wordRefused
	case l.Observed != "":
		was = wordObserved
	}
	if was == x.r.word {
		return ""
	}
	out := was + " then"
	if why := l.Reason + l.Observed; why != "" {
		out += ": " + why
	}
	if l.Rule != "" {
		out += ", by " + l.Rule
	}
	return out
}

// decided names the rule and its text, or why there is none.
func (x *explanation) decided() string {
	v := &x.r.Verdict
	place := v.Rule
	if place == "" {
		place = x.s.Where()
	}
	switch v.Reason {
	case "":
		if r, ok := x.rule(); ok {
			return place + "  - " + ruleWords(r)
		}
		return ruleWord(place)
	case policy.NoRule:
		return place + "  scripts." + x.s.Name + ".allow: " + whyNot(x.s, x.lack())
	case policy.SecretField:
		return v.What + ": it holds a credential, and no rule can allow that"
	case policy.UserAuth:
		return v.What + ": with the script's key in their place any password would seem right"
	case policy.Sudo:
		return x.s.Where() + "  scripts." + x.s.Name + ".sudo_as_login does not grant it: " + v.What
	case policy.Denied, policy.Project, policy.Rows, policy.Batch, policy.Unmet:
	}
	out := place + "  " + reasonWords(v.Reason)
	if r, ok := x.rule(); ok {
		out = place + "  - " + ruleWords(r) + "\n" + reasonWords(v.Reason) + ": may not " + v.What
	}
	return out
}

// rule is the one that decided. The verbs of one item are rules at one place; of
// those it is the first that gives, or forbids, something that the call needs.
func (x *explanation) rule() (*policy.Rule, bool) {
	first, ok := x.s.rule(x.r.Rule)
	needs := x.s.policy.Needs(x.a.query.Call)
	for i := range x.s.Deny {
		if r := &x.s.Deny[i]; r.Where() == x.r.Rule && slices.ContainsFunc(needs, func(n policy.Need) bool { return forbids(r, n) }) {
			return r, true
		}
	}
	for i := range x.s.Allow {
		if r := &x.s.Allow[i]; r.Where() == x.r.Rule && slices.ContainsFunc(needs, func(n policy.Need) bool { return gives([]policy.Rule{*r}, n) }) {
			return r, true
		}
	}
	return first, ok
}

func reasonWords(r policy.Reason) string {
	switch r {
	case policy.Denied:
		return "a deny rule forbids it"
	case policy.Project:
		return "the call does not show that it stays within the rule's projects"
	case policy.Rows:
		return "it asks for more rows a page than the rule gives"
	case policy.Batch:
		return "it has more parts than the rule gives"
	case policy.Unmet:
		return "the rule's condition does not hold"
	case policy.NoRule, policy.SecretField, policy.UserAuth, policy.Sudo:
	}
	return string(r)
}

// ruleWord explains a word that stands in a rule's place.
func ruleWord(word string) string {
	switch word {
	case "info":
		return "info needs no rule"
	case "handle":
		return "a session needs no rule: the answer is a handle, which gives no more than the script has"
	}
	return word
}

// lack is the first thing that the call needs and no rule gives, as precisely
// as it can be said.
func (x *explanation) lack() policy.Need {
	var first policy.Need
	for _, n := range x.s.policy.Needs(x.a.query.Call) {
		switch {
		case gives(x.s.Allow, n):
		case first == (policy.Need{}):
			first = n
		case n.Verb == first.Verb && n.Type == first.Type && first.Field == "" && n.Field != "":
			return n
		}
	}
	return first
}

// wider says what the next larger rule would open.
func (x *explanation) wider() string {
	n := x.lack()
	if x.r.Reason != policy.NoRule || n.Field == "" || n.Field == flow.EveryField {
		return ""
	}
	others := "every other field of it"
	if t, ok := x.b.fields(n.Type); ok {
		others = many(max(0, t-1), "other field")
	}
	return fmt.Sprintf("(%s: %s would also open %s)", n.Verb, n.Type, others)
}

// Where is the place of the script's allow list.
func (s *bookScript) Where() string {
	if s.AllowWhere != "" {
		return s.AllowWhere
	}
	return fmt.Sprintf("line %d", s.Line)
}

// json is the explanation for a program.
func (x *explanation) json() any {
	v := &x.r.Verdict
	return struct {
		Decision  string  `json:"decision"`
		Script    string  `json:"script"`
		ID        string  `json:"id,omitempty"`
		Method    string  `json:"method"`
		Call      string  `json:"call"`
		Rule      string  `json:"rule,omitempty"`
		Reason    string  `json:"reason,omitempty"`
		What      string  `json:"what,omitempty"`
		AllowWith string  `json:"allow_with,omitempty"`
		Depends   string  `json:"depends,omitempty"`
		Filter    []int64 `json:"filter,omitempty"`
		Sudo      string  `json:"sudo_as_login,omitempty"`
	}{
		x.r.word, x.s.Name, x.id(), x.a.query.Call.Method, callWords(x.a.query.Call), v.Rule,
		string(v.Reason), v.What, v.Suggest, x.r.depends, v.Filter, v.Sudo,
	}
}

func (x *explanation) id() string {
	if x.a.record == nil {
		return ""
	}
	return x.a.record.ID
}
