package proxy

import (
	"errors"
	"os"
	"strings"

	"stagedoor/audit"
	"stagedoor/flow"
)

// refuse notes why a call is not served. what says it in the caller's words;
// without it the reason's own text is used. advice becomes the second line.
func (x *exchange) refuse(reason Reason, what, advice string) bool {
	x.reason = reason
	if what == "" {
		what = reason.answer().says
	}
	x.what, x.advice = what, advice
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
