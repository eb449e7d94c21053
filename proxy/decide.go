package proxy

import (
	"log/slog"
	"strings"
	"time"

	"stagedoor/policy"
)

// observes says whether the script is in observe mode at a time.
func (s *Script) observes(now time.Time) bool {
	return s.Observe && (s.ObserveEnd.IsZero() || now.Before(s.ObserveEnd))
}

// decide asks the policy, and makes of the call what the policy says it has to
// be: as whom it goes, and within which projects.
func (x *exchange) decide() bool {
	if x.script == nil { // info, the one call that belongs to nobody
		x.verdict = policy.Verdict{Allow: true, Rule: "info"}
		return true
	}
	if x.way == wayStorage { // the site gave the link out in the answer to a call that was allowed
		x.verdict = policy.Verdict{Allow: true, Rule: "storage: relay"}
		return true
	}
	q := policy.Query{
		Call: x.call, UserCheck: x.call.UserAuth && x.rpc != nil && x.rpc.UserCheck(),
		Login: x.login(), Observe: x.script.observes(x.began),
	}
	x.verdict = x.script.Policy.Decide(q)
	if !x.verdict.Allow {
		x.charge(x.cost())
		return x.refuseVerdict()
	}
	if x.filters() {
		x.reader = x.script.Policy.Reader(q)
	}
	if x.verdict.Observed {
		x.observed()
	}
	return x.actAs() && x.confine()
}

// observed tells of a call that goes only because nothing is enforced yet.
func (x *exchange) observed() {
	v := &x.verdict
	x.p.cfg.Metrics.Observed(x.scriptName, string(reasonOf(v.Reason)))
	x.p.cfg.Logger.Debug("a call was let through that its script's rules do not allow yet",
		slog.String("id", x.id), slog.String("script", x.scriptName), slog.String("reason", string(v.Reason)))
}

// actAs makes the call go out as the login that the policy says. What was minted
// or is kept for other logins is no use to it: all of that is found by the
// call's own.
func (x *exchange) actAs() bool {
	if x.verdict.Sudo != "" && !x.call.UserAuth { // a person's own password goes as that person
		x.call.SudoAsLogin = x.verdict.Sudo
	}
	return true
}

// confine adds the project filter that the call was allowed under. A way that
// can't carry it is no way for the call.
func (x *exchange) confine() bool {
	ids := x.verdict.Filter
	switch {
	case ids == nil:
		return true
	case len(ids) == 0: // no project at all: it would be no filter
	case x.rpc != nil && x.rpc.CanConfine():
		x.rpc.Confine(ids)
		return true
	case x.rest != nil && x.rest.CanConfine():
		x.rest.Confine(ids)
		return true
	}
	x.charge(x.cost())
	return x.refuse(Project, x.scriptName+" may "+x.call.Method+" "+shown(x.call.Type)+" in some projects only, and a call of this form can't be confined to them",
		"to allow it as it is, name the project in its filters, or send it by api3")
}

// reasonOf is the policy's word for a reason in this package's list.
func reasonOf(r policy.Reason) Reason {
	switch r {
	case policy.NoRule:
		return NoRule
	case policy.Denied:
		return Denied
	case policy.Project:
		return Project
	case policy.Rows:
		return Rows
	case policy.Batch:
		return Batch
	case policy.Unmet:
		return Condition
	case policy.SecretField:
		return SecretField
	case policy.UserAuth:
		return UserAuth
	case policy.Sudo:
		return Sudo
	}
	return NoRule
}

func (x *exchange) refuseVerdict() bool {
	v, name := &x.verdict, x.scriptName
	what, advice := name+" may not "+v.What, ""
	if v.Suggest != "" {
		advice = "to allow it, under scripts." + name + ".allow:  " + strings.ReplaceAll(v.Suggest, "\n", "\n    ")
	}
	switch v.Reason { //nolint:exhaustive // the others say all of it themselves
	case policy.UserAuth:
		what += "; with the script's key in their place any password would seem right"
		advice = "use script_name and api_key=\"x\"; for a tool that checks passwords: user_auth: forward under scripts." + name
	case policy.Sudo:
		return x.refuseSudo()
	case policy.SecretField:
		what, advice = what+"; it holds a credential", "no rule can allow it"
	case policy.NoRule:
		what += "; no rule allows it"
	case policy.Denied:
		advice = "to allow it, take it out of that deny rule"
	}
	return x.refuse(reasonOf(v.Reason), what, advice)
}

// refuseSudo is about whom the script may act as.
func (x *exchange) refuseSudo() bool {
	name, who := x.scriptName, shown(x.call.SudoAsLogin)
	switch login := x.login(); {
	case x.script.Policy.SudoCaller && login == "":
		return x.refuseUnnamed()
	case x.script.Policy.SudoCaller:
		return x.refuse(Sudo, name+" may not act as "+who+"; its calls go as the caller's own login, "+shownCaller(login), "leave sudo_as_login out of the tool")
	}
	advice := ""
	switch suggest := x.verdict.Suggest; {
	case suggest == "":
	case len(x.script.Policy.Sudo) > 0:
		advice = "to allow it, under scripts." + name + " in place of its sudo_as_login:  " + suggest
	default:
		advice = "to allow it, under scripts." + name + ":  " + suggest
	}
	return x.refuse(Sudo, name+" may not act as "+who+"; no sudo_as_login grants it", advice)
}

// refuseUnnamed is about a caller whose login is wanted and not known.
func (x *exchange) refuseUnnamed() bool {
	what := x.scriptName + " acts as whoever calls, and it is not known here who that is"
	if x.peer != nil {
		return x.refuse(CallerUnknown, what+" (user "+shownCaller(x.caller)+" has no name on this host)", "")
	}
	return x.refuse(CallerUnknown, what, "to know it: identity: kernel on this listener")
}
