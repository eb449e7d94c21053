package caller

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// Numbers of the kernel's sock_diag interface (linux/sock_diag.h,
// linux/inet_diag.h), which package syscall does not have.
const (
	netlinkSockDiag  = 4
	sockDiagByFamily = 20

	requestLen = 16 + 56 // nlmsghdr, inet_diag_req_v2
	answerLen  = 16 + 72 // nlmsghdr, inet_diag_msg
	idLen      = 48      // inet_diag_sockid
)

// States of a TCP socket.
const (
	established = 1
	finWait1    = 4
	finWait2    = 5
	closeWait   = 8
)

// askTime bounds the wait for the kernel's answer, which it gives at once.
const askTime = time.Second

// Owner asks the kernel which user holds the other end of an accepted TCP
// connection on this host. It is to be asked when the connection is new. The
// error is [ErrNobody], or says why it could not be told: only a nil error names
// anybody. It does not block on the peer.
//
// The answer is about this connection and no other that had or gets the same
// ports: sockets that only wait for their end, or that no process holds, are
// nobody's (the kernel says user 0 for them), and as long as our own end still
// stands, which is looked at last, nobody else can have taken the other end's
// place.
func Owner(conn net.Conn) (uid uint32, err error) {
	local, remote, err := ends(conn)
	if err != nil {
		return 0, err
	}
	answer, err := ask(request(remote, local))
	if err != nil {
		return 0, err
	}
	if uid, err = holder(answer, remote, local); err != nil {
		return 0, err
	}
	switch state, err := stateOf(conn); {
	case err != nil:
		return 0, fmt.Errorf("looking at the connection's own end: %w", err)
	case state != established && state != closeWait:
		return 0, ErrNobody
	}
	return uid, nil
}

// request asks for the one socket whose own end is at from.
func request(from, to netip.AddrPort) []byte {
	b := make([]byte, requestLen)
	ne := binary.NativeEndian
	ne.PutUint32(b[0:], requestLen)
	ne.PutUint16(b[4:], sockDiagByFamily)
	ne.PutUint16(b[6:], syscall.NLM_F_REQUEST)
	req := b[16:]
	req[0], req[1] = syscall.AF_INET, syscall.IPPROTO_TCP
	if from.Addr().Is6() {
		req[0] = syscall.AF_INET6
	}
	ne.PutUint32(req[4:], 1<<established|1<<finWait1|1<<finWait2)
	id := req[8:]
	binary.BigEndian.PutUint16(id[0:], from.Port())
	binary.BigEndian.PutUint16(id[2:], to.Port())
	copy(id[4:20], from.Addr().AsSlice())
	copy(id[20:36], to.Addr().AsSlice())
	for i := 40; i < idLen; i++ { // the cookie: of any socket
		id[i] = 0xff
	}
	return b
}

// ask sends one request to the kernel and returns its answer's inet_diag_msg.
func ask(request []byte) ([]byte, error) {
	fd, err := syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, netlinkSockDiag)
	if err != nil {
		return nil, fmt.Errorf("opening a sock_diag socket: %w", err)
	}
	defer syscall.Close(fd) //nolint:errcheck // nothing is lost with it
	wait := syscall.NsecToTimeval(askTime.Nanoseconds())
	if err := syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &wait); err != nil {
		return nil, fmt.Errorf("bounding the wait for sock_diag: %w", err)
	}
	if err := syscall.Sendto(fd, request, 0, &syscall.SockaddrNetlink{Family: syscall.AF_NETLINK}); err != nil {
		return nil, fmt.Errorf("asking sock_diag: %w", err)
	}
	buf := make([]byte, 4<<10)
	n, from, err := syscall.Recvfrom(fd, buf, 0)
	if err != nil {
		return nil, fmt.Errorf("reading sock_diag's answer: %w", err)
	}
	if nl, ok := from.(*syscall.SockaddrNetlink); !ok || nl.Pid != 0 {
		return nil, errors.New("the answer is not the kernel's")
	}
	return diagMsg(buf[:n])
}

// diagMsg takes the answer out of its netlink message.
func diagMsg(b []byte) ([]byte, error) {
	ne := binary.NativeEndian
	const header, errnoEnd = 16, 20
	if len(b) < errnoEnd {
		return nil, errShortAnswer
	}
	switch length, kind := int(ne.Uint32(b)), ne.Uint16(b[4:]); {
	case kind == syscall.NLMSG_ERROR:
		errno := syscall.Errno(-int32(ne.Uint32(b[header:]))) //nolint:gosec // it is a negative errno
		if errno == syscall.ENOENT {
			return nil, ErrNobody
		}
		return nil, fmt.Errorf("sock_diag: %w", errno)
	case kind != sockDiagByFamily, length < answerLen, length > len(b):
		return nil, errShortAnswer
	}
	return b[header:], nil
}

var errShortAnswer = errors.New("sock_diag's answer is not as its header has it")

// holder reads an inet_diag_msg. The kernel answers with a listening socket
// where it finds no connection, so all of it is held against what was asked.
func holder(msg []byte, from, to netip.AddrPort) (uint32, error) {
	ne := binary.NativeEndian
	at := func(port, addr []byte) netip.AddrPort {
		const short = 4
		if msg[0] == syscall.AF_INET {
			addr = addr[:short]
		}
		a, _ := netip.AddrFromSlice(addr)
		return netip.AddrPortFrom(a.Unmap(), binary.BigEndian.Uint16(port))
	}
	id, state := msg[4:4+idLen], msg[1]
	if at(id[0:2], id[4:20]) != from || at(id[2:4], id[20:36]) != to {
		return 0, ErrNobody
	}
	if state != established && state != finWait1 && state != finWait2 {
		return 0, ErrNobody
	}
	uid, inode := ne.Uint32(msg[64:]), ne.Uint32(msg[68:])
	if inode == 0 || uid == overflowUID {
		return 0, ErrNobody
	}
	return uid, nil
}

// stateOf is the state of our own end of a connection.
func stateOf(conn net.Conn) (state byte, err error) {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return 0, errNotTCP
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return 0, err
	}
	var info [4]byte // tcp_info begins with the state
	if ctl := raw.Control(func(fd uintptr) {
		info, err = syscall.GetsockoptInet4Addr(int(fd), syscall.IPPROTO_TCP, syscall.TCP_INFO)
	}); ctl != nil {
		return 0, ctl
	}
	return info[0], err
}
