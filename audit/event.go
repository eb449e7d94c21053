// Package audit writes what Stagedoor decided and what became of it, one JSON
// line per event, before the call leaves.
//
// Lines hold facts about a call, never a value of its data and never a secret.
// Every line carries the format's version, a sequence number without gaps and
// the hash of the line before, so that [Verify] finds a line that was changed,
// left out or put in. The package imports the standard library only.
package audit

import "time"

// Version is the "v" of every line. A reader must refuse one that it doesn't
// know; a new optional field does not change it.
const Version = 1

// Kind is the "ev" of a line: a closed set.
type Kind string

const (
	// Intent is a call about to leave; an Outcome with the same id follows. An
	// intent without one is a call whose end is not known (a crash).
	Intent Kind = "intent"
	// Outcome is what became of an Intent.
	Outcome Kind = "outcome"
	// RefusedCall is a call that didn't leave, refused or, without a Reason and
	// with ResultAborted, because its caller hung up before. Nothing follows.
	RefusedCall Kind = "refused"
	// Repeat stands for Count further refusals like the one named by FirstID.
	Repeat Kind = "repeat"
	// Start is the first line of a process, written by Open.
	Start Kind = "start"
	// Reload is a new configuration in force, or one that was refused.
	Reload Kind = "reload"
	// Stop is the last line of a process, written by Close.
	Stop Kind = "stop"
	// Probe is written by the log itself after a failure of its sink: it says
	// that there was one, and what it cost.
	Probe Kind = "probe"
)

// Decision is allow or refuse.
type Decision string

const (
	// Allow is a call that the policy lets through.
	Allow Decision = "allow"
	// Refuse is a call that was not let through, for whatever Reason.
	Refuse Decision = "refuse"
)

// Credential is what the caller sent as its own, compared and thrown away: how
// a studio finds the keys that still lie in its tools.
type Credential string

const (
	// CredNone is a call without any.
	CredNone Credential = "none"
	// CredPlaceholder is a script credential that is no key of ours.
	CredPlaceholder Credential = "placeholder"
	// CredLiveKey is the key that is in force.
	CredLiveKey Credential = "live_key"
	// CredOldKey is one that was.
	CredOldKey Credential = "old_key"
	// CredSession is a session or bearer token that is none of ours.
	CredSession Credential = "session"
	// CredHandle is a handle that we gave out.
	CredHandle Credential = "handle"
	// CredUser is a user name and password.
	CredUser Credential = "user"
)

// Result is how an intent ended.
type Result string

const (
	// ResultOK is an answer of the site without a fault.
	ResultOK Result = "ok"
	// ResultFault is an answer of the site with a fault.
	ResultFault Result = "fault"
	// ResultSiteError is an HTTP error of the site.
	ResultSiteError Result = "site_error"
	// ResultUnreachable is a call of which no byte reached the site.
	ResultUnreachable Result = "unreachable"
	// ResultTimeout is a site that didn't answer in time.
	ResultTimeout Result = "timeout"
	// ResultAborted is a call cut short: by the caller, or by a crash of ours.
	ResultAborted Result = "aborted"
)

// Event is one line. Which fields belong to which Kind is said below; a field
// with its zero value is left out of the line, except where the Kind always
// has it. Strings may come from outside as they are: they are cut at
// [MaxString] and escaped. An Event may be reused once the call it was handed
// to has returned.
type Event struct {
	Kind Kind
	// ID is the request id, the same in every line about one call.
	ID string

	// What was asked, and decided: Intent, RefusedCall.

	Listener string
	// Caller is the local user where the kernel has told who calls, else the
	// peer's address without its port: refusals are counted together by it.
	Caller string
	// Script is its name here, SiteName the one the site knows.
	Script, SiteName string
	// CallKind is the way in by which it came: rpc, upload, download, rest,
	// storage. It is "kind" in the line; "ev" is the Kind.
	CallKind string
	// Method is the call, Group what it counts as (read, create ...).
	Method, Group string
	// Types are the entity types it touches; [MaxList] of them are written, and
	// [MaxRefusedTypes] of a refusal.
	Types     []string
	moreTypes int // of a Repeat: how many are not in Types
	// Parts is how many calls a batch holds, Cost what it takes of the limit.
	Parts, Cost int
	Decision    Decision
	// Rule is "file:line" of the rule that decided, Reason the word for a
	// refusal.
	Rule, Reason     string
	KeyVersion       string
	CallerCredential Credential
	// Shape is what the call asks for, as JSON: names of methods, entity types and
	// fields, never a value. It is written as it is, up to [MaxShape]; the log
	// keeps none of it. A Repeat has that of the first.
	Shape []byte
	// Observed is the Reason for which an allowed call would have been refused were
	// its script not in observe mode; AllowWith is the smallest rule that would
	// allow it, of a refusal as well.
	Observed, AllowWith string
	// Served is how a call was answered without the site: "cache" or "shared", with
	// ServedBy the id of the call whose answer it was.
	Served, ServedBy string
	// DroppedAuth names what was left out of the caller's auth object.
	DroppedAuth []string
	SudoAsLogin string
	SessionUUID string
	// BytesIn is the length of the caller's body; of a call with a file, in its
	// outcome.
	BytesIn int64

	// What became of it: Outcome; Status, Fault, Hold and Total also of a
	// RefusedCall.

	// Status is the HTTP status the caller got; 0 is none.
	Status int
	// Fault is the error_code in the answer; 0 is none.
	Fault int
	// BytesOut is the length of the answer's body as the caller got it.
	BytesOut int64
	// Upstream is the time the site took, Hold the time held for the limit,
	// Total from the first byte in to the last byte out.
	Upstream, Hold, Total time.Duration
	// Result of a RefusedCall or Repeat is written only where it is
	// ResultAborted and there is no Reason.
	Result Result
	// Retried is why the call was sent twice, empty when it wasn't.
	Retried string
	// Redacted is how many echoes of a secret were removed.
	Redacted int

	// Repeat.

	Count           int
	FirstID, LastID string

	// The process: Start, Reload, Stop, Probe.

	// Software is Stagedoor's version, Config a fingerprint of the
	// configuration.
	Software, Config string
	// Torn says that the line before this one is incomplete: the process died,
	// or the disk was full, in the middle of it.
	Torn bool
	// Lost is how many outcomes could not be written.
	Lost int
}
