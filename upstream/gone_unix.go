//go:build unix

package upstream

import (
	"errors"
	"net"

	"golang.org/x/sys/unix"
)

// gone says whether an idle connection was closed by the other side, or holds
// bytes that no call has asked for. Finding that out before a call is written
// is what keeps a write from ending in doubt.
func gone(c net.Conn) bool {
	tc, ok := c.(*net.TCPConn)
	if !ok {
		return false
	}
	raw, err := tc.SyscallConn()
	if err != nil {
		return true
	}
	dead := false
	err = raw.Read(func(fd uintptr) bool {
		var b [1]byte
		_, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		dead = !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR)
		return true
	})
	return dead || err != nil
}
