package proxy

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"stagedoor/audit"
	"stagedoor/flow"
	"stagedoor/limit"
	"stagedoor/policy"
)

// refuse notes why a call is not served. what says it in the caller's words;
// without it the reason's own text is used. advice becomes the second line.
func (x *exchange) refuse(reason Reason, what, advice string) bool {
	x.reason = reason
	if what == "" {
		what = reason.answer().says
	}
	x.message = "Stagedoor: " + what + ". " + x.ask()
	if advice != "" {
		x.message += "\n  " + advice
	}
	return false
}

// hungUp notes that the caller went before its call could leave. That is no
// refusal of ours, so it has no reason.
func (x *exchange) hungUp() bool {
	x.result = audit.ResultAborted
	return false
}

// ask is how a refusal's first line ends: whom to ask, and what to tell them.
func (x *exchange) ask() string {
	contact := x.st.Contact
	if x.script != nil && x.script.Contact != "" {
		contact = x.script.Contact
	}
	if contact == "" {
		contact = "whoever runs Stagedoor here"
	}
	return "Ask " + strings.TrimSuffix(contact, ", with the request id") + ", with the request id " + x.id + "."
}

func (x *exchange) refuseParse(err error) bool {
	p, ok := errors.AsType[*flow.ParseError](err)
	switch {
	case ok:
	case errors.Is(err, errNoRoom):
		return x.noRoom()
	case errors.Is(err, os.ErrDeadlineExceeded):
		x.w.Header()["Connection"] = []string{"close"}
		return x.refuse(TooSlow, "", "")
	case x.meter != nil && x.meter.err != nil:
		x.w.Header()["Connection"] = []string{"close"}
		return x.refuse(BadFraming, "", "")
	default:
		return x.refuse(Internal, "", "")
	}
	who := "the call"
	if p.Method != "" {
		who = "the call " + p.Method
	}
	switch p.Flaw {
	case flow.FlawUnknown:
		return x.refuse(UnknownMethod, p.Msg+"; Stagedoor serves what shotgun_api3 can send", "")
	case flow.FlawDepth:
		return x.refuse(TooDeep, who+": "+p.Msg, "max_depth is the bound")
	case flow.FlawShape:
		return x.refuse(BadCall, who+" is not as the protocol has it: "+p.Msg, "")
	case flow.FlawJSON:
		return x.refuse(BadJSON, who+" is not strict JSON: "+p.Msg, "")
	}
	return x.refuse(Internal, "", "")
}

func (x *exchange) refuseVerdict() bool {
	v, name := x.verdict, x.scriptName
	what := name + " may not " + v.What
	switch v.Reason {
	case policy.NoRule:
		advice := ""
		if v.Suggest != "" {
			advice = "to allow it, under scripts." + name + ".allow:  " + strings.ReplaceAll(v.Suggest, "\n", "\n    ")
		}
		return x.refuse(NoRule, what+"; no rule allows it", advice)
	case policy.SecretField:
		return x.refuse(SecretField, what+"; it holds a credential", "no rule can allow it")
	case policy.UserAuth:
		return x.refuse(UserAuth, name+" may not "+v.What+"; with the script's key in their place any password would seem right",
			"use script_name and api_key=\"x\"; for a tool that checks passwords: user_auth: forward under scripts."+name)
	case policy.Sudo:
		who, advice := shown(x.call.SudoAsLogin), ""
		if who == x.call.SudoAsLogin {
			advice = "to allow it, under scripts." + name + ":  sudo_as_login: [" + who + "]"
		}
		return x.refuse(Sudo, name+" may not act as "+who+"; no sudo_as_login grants it", advice)
	}
	return x.refuse(NoRule, what, "")
}

func (x *exchange) refuseLimit(err error) bool {
	var r *limit.Refused
	if !errors.As(err, &r) {
		if gone(x.r.Context()) {
			return x.hungUp()
		}
		return x.refuse(Busy, "Stagedoor is stopping here and the call was still held; it was not sent", "")
	}
	// No Charge: what the limiter itself refused has cost a wait, and tokens
	// taken for it would put off those that still wait.
	x.retryAfter, x.hold = r.RetryAfter, r.Held
	if x.hold > 0 {
		x.p.cfg.Metrics.Held(x.scriptName, x.hold)
	}
	who := x.scriptName
	if who == "" {
		who = "this listener"
	}
	wait := max(time.Second, r.RetryAfter.Round(time.Second))
	if r.Reason == limit.ReasonQueueFull {
		return x.refuse(QueueFull, fmt.Sprintf("%s is over its rate limit and too many of its calls are waiting; try again in %s", who, wait), "")
	}
	return x.refuse(RateLimit, fmt.Sprintf("%s is over its rate limit, after a wait of %s; try again in %s", who, r.Held.Round(time.Millisecond), wait), "")
}

// maxNames is how many of a listener's scripts a refusal names.
const maxNames = 20

// some lists names of our own configuration.
func some(names []string) string {
	if len(names) > maxNames {
		return strings.Join(names[:maxNames], ", ") + " and others"
	}
	return strings.Join(names, ", ")
}

// shown repeats an identifier of the call, or says that it may not.
func shown(s string) string {
	if len(s) > flow.MaxName || s == "" {
		return "(a name that is not shown)"
	}
	for i := range len(s) {
		if c := s[i]; !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '.') {
			return "(a name that is not shown)"
		}
	}
	return s
}
