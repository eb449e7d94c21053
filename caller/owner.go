package caller

import (
	"errors"
	"net"
	"net/netip"
)

// ErrNobody is a peer that the kernel knows no owner of: it is no socket of this
// network namespace (a remote host, another container), or nobody holds it any
// more. Any other error of [Owner] says that the question could not be answered.
var ErrNobody = errors.New("nobody on this host that is known holds the other end of the connection")

// errNotTCP is a connection that the kernel can't be asked about.
var errNotTCP = errors.New("not a TCP connection")

// overflowUID is what the kernel calls every user that the user namespace of
// this process does not know. It is nobody's own.
const overflowUID = 65534

// ends are both ends of an accepted connection, IPv4 in its short form.
func ends(conn net.Conn) (local, remote netip.AddrPort, err error) {
	l, isTCP := conn.LocalAddr().(*net.TCPAddr)
	r, alsoTCP := conn.RemoteAddr().(*net.TCPAddr)
	if !isTCP || !alsoTCP {
		return local, remote, errNotTCP
	}
	plain := func(a *net.TCPAddr) netip.AddrPort {
		p := a.AddrPort()
		return netip.AddrPortFrom(p.Addr().Unmap().WithZone(""), p.Port())
	}
	return plain(l), plain(r), nil
}
