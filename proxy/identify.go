package proxy

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"sync"

	"stagedoor/caller"
)

// IdentityKernel is a listener's Identity where the kernel has to say who calls.
const IdentityKernel = "kernel"

// peer is who holds the other end of a connection, asked once, when it was
// accepted. It travels in the connection's context.
type peer struct {
	uid uint32
	err error // why it is not known

	once sync.Once
	name string // of the user; "" for none that is known
}

type peerKey struct{}

// user is the name that goes with the uid. It is asked for once, by the first
// call and not at accept: it may come from a directory that takes its time.
func (p *peer) user(login func(uid uint32) (string, bool)) string {
	p.once.Do(func() {
		if login == nil {
			return
		}
		if name, ok := login(p.uid); ok {
			p.name = name
		}
	})
	return p.name
}

// withPeer asks owner who holds the connection. The error is why it could not
// be told, which is in the context as well.
func withPeer(ctx context.Context, c net.Conn, owner func(net.Conn) (uint32, error)) (context.Context, error) {
	uid, err := owner(c)
	ctx = context.WithValue(ctx, peerKey{}, &peer{uid: uid, err: err})
	if errors.Is(err, caller.ErrNobody) {
		return ctx, nil
	}
	return ctx, err
}

// called says who calls, as limits, brakes and records know them: by the name
// or number of the user where the listener asks the kernel, else by the address.
func (x *exchange) called() {
	x.caller = host(x.r.RemoteAddr)
	if x.l.Identity != IdentityKernel {
		return
	}
	p, ok := x.r.Context().Value(peerKey{}).(*peer)
	if !ok || p.err != nil {
		return
	}
	x.peer = p
	if x.caller = p.user(x.st.Login); x.caller == "" {
		x.caller = "uid:" + strconv.FormatUint(uint64(p.uid), 10)
	}
}

// identify turns away whom the kernel does not name, where the listener wants
// to know. Of its three answers (this user, nobody, could not tell) only the
// first is served.
func (x *exchange) identify() bool {
	if x.l.Identity != IdentityKernel || x.peer != nil {
		return true
	}
	x.w.Header()["Connection"] = []string{"close"} // the next one is asked about again
	p, ok := x.r.Context().Value(peerKey{}).(*peer)
	switch {
	case !ok:
		return x.refuse(CallerUnknown, "nobody asked who calls when this connection was opened; connect again", "")
	case errors.Is(p.err, caller.ErrNobody):
		return x.refuse(CallerUnknown, "the kernel knows nobody on this host who holds this connection", "call from this host, and outside of other network or user namespaces")
	}
	return x.refuse(CallerUnknown, "it could not be told who calls", "try again; Stagedoor's log says why")
}

// login is the caller's own login on the site, "" where it is not known.
func (x *exchange) login() string {
	if x.peer == nil || x.peer.name == "" || !x.script.Policy.SudoCaller {
		return ""
	}
	if x.script.FlowLogin == "" {
		return x.peer.name
	}
	return strings.ReplaceAll(x.script.FlowLogin, userMark, x.peer.name)
}

// userMark stands for the user's name in a script's FlowLogin.
const userMark = "{user}"
