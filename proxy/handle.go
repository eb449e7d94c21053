package proxy

import (
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"stagedoor/audit"
	"stagedoor/flow"
	"stagedoor/handle"
	"stagedoor/secret"
)

// accessLife is how long a handle lives that stands for a bearer token: as the
// site's own do (flow-protocol §5.2). The others live as the configuration says.
const accessLife = 10 * time.Minute

// cookieName is the site's session cookie.
const cookieName = "_session_id"

// maxToken is the longest token in a header that is looked at, in bytes. The
// site's have 530.
const maxToken = 4 << 10

// headerToken is the token that a request carries outside of its body, as a
// bearer or in the session cookie: the first that has our form, else the first.
func (x *exchange) headerToken() secret.Value {
	var first string
	for _, t := range x.headerTokens() {
		if handle.Count(t) > 0 {
			return secret.FromString(t)
		}
		if first == "" {
			first = t
		}
	}
	return secret.FromString(first)
}

func (x *exchange) headerTokens() (out []string) {
	for _, v := range x.r.Header["Authorization"] {
		if scheme, token, ok := strings.Cut(v, " "); ok && is(scheme, "bearer") && len(token) <= maxToken {
			out = append(out, strings.TrimSpace(token))
		}
	}
	for _, line := range x.r.Header["Cookie"] {
		for pair := range strings.SplitSeq(line, ";") {
			if name, v, ok := strings.Cut(strings.TrimSpace(pair), "="); ok && name == cookieName && len(v) <= maxToken {
				out = append(out, v)
			}
		}
	}
	return out
}

// isStray says whether a handle stands in a header where none is looked for, or
// beside the one that is: two readers would not agree on who calls.
func (x *exchange) isStray() bool {
	n := 0
	for _, values := range [2][]string{x.r.Header["Authorization"], x.r.Header["Cookie"]} {
		for _, v := range values {
			n += handle.Count(v)
		}
	}
	most := 0
	if x.held != nil && (x.way == wayREST || x.way == wayDownload || x.way == wayStorage) {
		most = 1
	}
	return n > most
}

// handle looks at the token that the call carries. One that is none of ours is
// a placeholder and says nothing; one of ours says who calls, or the call is
// refused: it is never taken for a call without any.
func (x *exchange) handle() bool {
	if t := x.msg.Token(); !t.IsZero() && !x.openHandle(t) {
		x.charge(x.cost())
		return false
	}
	if x.isStray() {
		x.charge(x.cost())
		return x.refuse(BadHandle, "a session token stands where none is looked for", "send it once: as session_token, as the _session_id cookie of a file, or as a REST bearer")
	}
	return true
}

// openHandle takes a token for a handle, if it is one.
func (x *exchange) openHandle(t secret.Value) bool {
	h, err := x.st.Handles.Open(t, x.l.Name)
	switch {
	case errors.Is(err, handle.ErrNotOurs):
		return true
	case errors.Is(err, handle.ErrNoKey):
		return x.refuse(NoKey, "the key that handles are signed with is not at hand", "see handles in the configuration; a call without a session token is served")
	case errors.Is(err, handle.ErrExpired):
		return x.refuse(BadHandle, "the session has expired; log in again", "")
	case errors.Is(err, handle.ErrForeign):
		return x.refuse(BadHandle, "the session token was given out on another listener", "get one from this address")
	case err != nil:
		return x.refuse(BadHandle, "the session token is none that this proxy knows", "get a new one; after a change of the handle key all are void")
	case (h.Use == handle.UseRefresh) != (x.way == wayToken && x.token.Grant == flow.GrantRefresh):
		return x.refuse(BadHandle, "the token is for "+h.Use+", which this call is not", "")
	}
	x.held = &h
	return true
}

// useHandle takes from a handle who acts and why, where the call says nothing
// of it itself. That it may still do so is decided as for any other call.
func (x *exchange) useHandle() {
	if x.held == nil {
		return
	}
	if x.call.SudoAsLogin == "" {
		x.call.SudoAsLogin = x.held.Sudo
	}
	if x.call.SessionUUID == "" {
		x.call.SessionUUID = x.held.UUID
	}
}

// newHandle makes a handle for the caller.
func (x *exchange) newHandle(use string, life time.Duration) (string, error) {
	return x.st.Handles.Sign(handle.Handle{
		Script: x.scriptName, Listener: x.l.Name, Use: use, Expires: x.p.cfg.Now().Add(life),
		Sudo: x.call.SudoAsLogin, UUID: x.call.SessionUUID,
	})
}

// answerHere answers a call that needs no site: what it asks for is a handle,
// or nothing at all.
func (x *exchange) answerHere() {
	out, err := x.localAnswer()
	if err != nil {
		x.p.cfg.Logger.Warn("no handle could be made", slog.String("id", x.id), slog.Any("error", err))
		x.refuse(NoKey, "no handle could be signed: its key is not at hand", "see handles in the configuration")
		x.deny()
		return
	}
	h := x.w.Header()
	h["Content-Type"] = []string{"application/json; charset=utf-8"}
	h["Content-Length"] = []string{strconv.Itoa(len(out))}
	x.status, x.result = http.StatusOK, audit.ResultOK
	x.writeHeader(x.status)
	n, _ := x.w.Write(out)
	x.sent = int64(n)
}

func (x *exchange) localAnswer() ([]byte, error) {
	switch x.way { //nolint:exhaustive // the others go to the site
	case wayMetrics:
		return []byte("{}"), nil
	case wayRPC:
		token, err := x.newHandle(handle.UseSession, x.st.HandleLife)
		return flow.AppendSession(nil, token), err
	}
	access, err := x.newHandle(handle.UseAccess, accessLife)
	if err != nil {
		return nil, err
	}
	refresh, err := x.newHandle(handle.UseRefresh, x.st.HandleLife)
	return flow.AppendToken(nil, access, refresh), err
}

// isLocal says whether the call is answered here.
func (x *exchange) isLocal() bool {
	return x.way == wayMetrics || x.way == wayToken || x.call.Group == flow.GroupSession
}
