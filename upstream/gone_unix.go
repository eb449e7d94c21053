//go:build unix

package upstream

import (
	"errors"
	"net"

	"golang.org/x/sys/unix"
)

// goneFunc makes what says whether an idle connection was closed by the other
// side, or holds bytes that no call has asked for. Finding that out before a
// call is written is what keeps a write from ending in doubt. It is made once
// for each connection and belongs to whoever uses that.
func goneFunc(c net.Conn) func() bool {
	tc, ok := c.(*net.TCPConn)
	if !ok {
		return func() bool { return false }
	}
	raw, err := tc.SyscallConn()
	if err != nil {
		return func() bool { return true }
	}
	var dead bool
	look := func(fd uintptr) {
		var b [1]byte
		_, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		dead = !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR)
	}
	// Control and not Read: the deadline of the last call doesn't count here.
	return func() bool { return raw.Control(look) != nil || dead }
}
