package proxy

import (
	"net/http"

	"stagedoor/flow"
)

// Reason is why a call was refused or failed: a word of a closed, append-only
// list. It is part of the public interface: the header Stagedoor-Refused, the
// metric's label and the audit record carry it.
type Reason string

// The reasons, in the order in which a call can meet them.
const (
	// At the door: nothing of the call is understood yet.
	BadTarget   Reason = "bad_target"
	BadHost     Reason = "bad_host"
	Browser     Reason = "browser"
	Upgrade     Reason = "upgrade"
	Override    Reason = "override"
	BadRoute    Reason = "bad_route"
	BadVerb     Reason = "bad_verb"
	ContentType Reason = "content_type"
	BadFraming  Reason = "bad_framing"
	TooSlow     Reason = "too_slow"

	// Reading the call.
	QueryString     Reason = "query_string"
	ContentEncoding Reason = "content_encoding"
	TooBig          Reason = "too_big"
	BadJSON         Reason = "bad_json"
	BadCall         Reason = "bad_call"
	TooDeep         Reason = "too_deep"
	UnknownMethod   Reason = "unknown_method"

	// Deciding it.
	CallerUnknown Reason = "caller_unknown"
	ScriptUnnamed Reason = "script_unnamed"
	ScriptUnknown Reason = "script_unknown"
	NoRule        Reason = "no_rule"
	Denied        Reason = "denied"
	Project       Reason = "project"
	Rows          Reason = "rows"
	Batch         Reason = "batch"
	Condition     Reason = "condition"
	SecretField   Reason = "secret_field"
	Sudo          Reason = "sudo"
	UserAuth      Reason = "user_auth"
	BadHandle     Reason = "bad_handle"

	// Making it possible.
	Braked      Reason = "braked"
	RateLimit   Reason = "rate_limit"
	QueueFull   Reason = "queue_full"
	Busy        Reason = "busy"
	NoKey       Reason = "no_key"
	AuditFailed Reason = "audit_failed"

	// What the site did with it.
	KeyRefused   Reason = "key_refused"
	SiteFailed   Reason = "site_failed"
	SiteRedirect Reason = "site_redirect"

	// A fault of our own.
	Internal Reason = "internal"
)

// Reasons lists them all, for metrics that exist before they count.
func Reasons() []Reason {
	return []Reason{
		BadTarget, BadHost, Browser, Upgrade, Override, BadRoute, BadVerb, ContentType, BadFraming, TooSlow,
		QueryString, ContentEncoding, TooBig, BadJSON, BadCall, TooDeep, UnknownMethod,
		CallerUnknown, ScriptUnnamed, ScriptUnknown, NoRule, Denied, Project, Rows, Batch, Condition, SecretField, Sudo, UserAuth, BadHandle,
		Braked, RateLimit, QueueFull, Busy, NoKey, AuditFailed, KeyRefused, SiteFailed, SiteRedirect, Internal,
	}
}

// answer is how a reason reaches the client (architecture.md, "Answers").
type answer struct {
	status int
	fault  int // 0: a plain 4xx, for what was not understood as a call
	rest   int // the status for REST and for files, where fault is not 0
	says   string
}

// answer is the one table of reasons. says completes "Stagedoor: ..." where the
// refusal brings no text of its own.
//
//nolint:funlen // one line per reason
func (r Reason) answer() answer {
	switch r {
	case BadTarget:
		return answer{http.StatusBadRequest, 0, 0, "the request's target is not a path; this is no forward proxy: set the tool's base URL to this address"}
	case BadHost:
		return answer{http.StatusMisdirectedRequest, 0, 0, "the Host header is not this listener's name; use http://127.0.0.1:PORT, or add the name to the listener's hosts"}
	case Browser:
		return answer{http.StatusForbidden, 0, 0, "web pages may not call this proxy (the request has Origin or Sec-Fetch-Site)"}
	case Upgrade:
		return answer{http.StatusBadRequest, 0, 0, "no protocol upgrades here"}
	case Override:
		return answer{http.StatusBadRequest, 0, 0, "method override headers are refused"}
	case BadRoute:
		return answer{http.StatusNotFound, 0, 0, "no such route; Stagedoor serves what Flow's API clients use, and nothing of the web site"}
	case BadVerb:
		return answer{http.StatusMethodNotAllowed, 0, 0, "this route does not take this verb"}
	case ContentType:
		return answer{http.StatusUnsupportedMediaType, 0, 0, "the Content-Type has to be application/json in UTF-8, or a form's for uploads"}
	case BadFraming:
		return answer{http.StatusBadRequest, 0, 0, "the request broke off, is framed wrongly, or is not HTTP/1.1"}
	case TooSlow:
		return answer{http.StatusRequestTimeout, 0, 0, "the request body came too slowly"}
	case QueryString:
		return answer{http.StatusOK, flow.FaultBadRequest, http.StatusBadRequest, "the request's URL has a query string, which api3 calls do not; the site might read it before the body"}
	case ContentEncoding:
		return answer{http.StatusOK, flow.FaultBadRequest, http.StatusBadRequest, "the request's body has a Content-Encoding; send it as it is"}
	case TooBig:
		return answer{http.StatusOK, flow.FaultBadRequest, http.StatusBadRequest, "the request's body is larger than max_body"}
	case BadJSON, BadCall, TooDeep:
		return answer{http.StatusOK, flow.FaultBadRequest, http.StatusBadRequest, "the call could not be read"}
	case CallerUnknown, UnknownMethod, ScriptUnnamed, ScriptUnknown, NoRule, Denied, Project, Rows, Batch, Condition, SecretField, Sudo:
		return answer{http.StatusOK, flow.FaultDenied, http.StatusForbidden, "the call is not allowed"}
	case BadHandle:
		return answer{http.StatusOK, flow.FaultAuth, http.StatusUnauthorized, "the session token is not valid here"}
	case UserAuth:
		return answer{http.StatusOK, flow.FaultAuth, http.StatusBadRequest, "user and password are not accepted here"}
	case Braked, RateLimit, QueueFull, Busy:
		return answer{http.StatusOK, flow.FaultServer, http.StatusTooManyRequests, "too many calls"}
	case NoKey:
		return answer{http.StatusOK, flow.FaultServer, http.StatusFailedDependency, "there is no usable key"}
	case AuditFailed:
		return answer{http.StatusOK, flow.FaultServer, http.StatusFailedDependency, "the audit record could not be written, so the call was not sent; tell whoever runs Stagedoor on this host"}
	case KeyRefused:
		return answer{http.StatusOK, flow.FaultServer, http.StatusFailedDependency, "the site refuses the key"}
	case SiteFailed:
		return answer{http.StatusInternalServerError, flow.FaultServer, http.StatusInternalServerError, "the site failed"}
	case SiteRedirect:
		return answer{http.StatusInternalServerError, flow.FaultServer, http.StatusInternalServerError, "the site answered with a redirect that would lead past the proxy"}
	case Internal:
		return answer{http.StatusInternalServerError, flow.FaultServer, http.StatusInternalServerError, "a fault inside Stagedoor; please report it with the request id"}
	}
	return Internal.answer()
}
