package caller_test

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"stagedoor/caller"
)

// nobodyElse is a user that no test runs as.
const nobodyElse = 4711

// dialer is this program as another process, which connects to an address and
// does what it is told: see TestMain.
const dialer = "STAGEDOOR_TEST_DIAL"

func TestMain(m *testing.M) {
	if addr := os.Getenv(dialer); addr != "" {
		dial(addr)
		return
	}
	m.Run()
}

// dial connects, says so, and lets go of the connection when its input ends.
func dial(addr string) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		panic(err)
	}
	_, _ = os.Stdout.WriteString(c.LocalAddr().String() + "\n")
	_, _ = io.Copy(io.Discard, os.Stdin)
	_ = c.Close()
}

// pair is one connection over an address: the accepted end and the other.
func pair(t *testing.T, addr string) (accepted, other *net.TCPConn) {
	t.Helper()
	ln := listen(t, addr)
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return accept(t, ln), tcp(t, c)
}

func listen(t *testing.T, addr string) net.Listener {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", addr)
	if err != nil {
		t.Skip("no such address here: ", err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln
}

func accept(t *testing.T, ln net.Listener) *net.TCPConn {
	t.Helper()
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return tcp(t, c)
}

func tcp(t *testing.T, c net.Conn) *net.TCPConn {
	t.Helper()
	conn, ok := c.(*net.TCPConn)
	if !ok {
		t.Fatalf("a %T", c)
	}
	return conn
}

func TestTheOwnerOfAConnectionIsWhoMadeIt(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0", "127.0.0.7:0", ":0"} {
		accepted, other := pair(t, addr)
		for _, what := range []string{"while it is open", "after it has said all that it will"} {
			uid, err := caller.Owner(accepted)
			if err != nil || int(uid) != os.Getuid() {
				t.Errorf("%s, %s: user %d, %v", addr, what, uid, err)
			}
			_ = other.CloseWrite()
		}
	}
}

func TestAnotherUsersConnectionIsThatUsers(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can be another user")
	}
	ln := listen(t, "127.0.0.1:0")
	self := program(t)
	for _, uid := range []uint32{nobodyElse, 65534} {
		cmd := exec.CommandContext(t.Context(), self)
		cmd.Env = append(os.Environ(), dialer+"="+ln.Addr().String())
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		accepted := accept(t, ln)
		got, err := caller.Owner(accepted)
		switch {
		case uid == nobodyElse && (err != nil || got != nobodyElse):
			t.Errorf("user %d, %v", got, err)
		case uid != nobodyElse && !errors.Is(err, caller.ErrNobody): // whom a namespace does not know is called that
			t.Errorf("user 65534 is taken for somebody: %d, %v", got, err)
		}
		_ = in.Close()
		_ = cmd.Wait()
		// Its process has gone: the kernel says user 0 for what is left.
		if got, err := caller.Owner(accepted); !errors.Is(err, caller.ErrNobody) {
			t.Errorf("nobody's connection is user %d's: %v", got, err)
		}
	}
}

// program is this program where every user may run it.
func program(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "owner") //nolint:usetesting // the one of the test is closed to others
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "dialer")
	b, err := os.ReadFile("/proc/self/exe")
	if err = errors.Join(err, os.WriteFile(path, b, 0o755), os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestAConnectionWhoseEndHasGoneIsNobodys: closed, or reset, with its port taken
// by another socket since.
func TestAConnectionWhoseEndHasGoneIsNobodys(t *testing.T) {
	accepted, other := pair(t, "127.0.0.1:0")
	_ = other.Close()
	if uid, err := caller.Owner(accepted); !errors.Is(err, caller.ErrNobody) {
		t.Errorf("closed: user %d, %v", uid, err)
	}

	accepted, other = pair(t, "127.0.0.1:0")
	from := other.LocalAddr().String()
	_ = other.SetLinger(0)
	_ = other.Close() // with a reset
	if uid, err := caller.Owner(accepted); !errors.Is(err, caller.ErrNobody) {
		t.Errorf("reset: user %d, %v", uid, err)
	}
	// A listening socket at the same port is what the kernel would answer with.
	listen(t, from)
	if uid, err := caller.Owner(accepted); !errors.Is(err, caller.ErrNobody) {
		t.Errorf("a listening socket in its place: user %d, %v", uid, err)
	}
}

// TestAnotherConnectionFromTheSamePortIsNotTakenForIt: the bytes of the first are
// still to be read when the second has its place.
func TestAnotherConnectionFromTheSamePortIsNotTakenForIt(t *testing.T) {
	ln := listen(t, "127.0.0.1:0")
	var from net.Addr
	dial := func() *net.TCPConn {
		d := net.Dialer{LocalAddr: from, Control: func(_, _ string, c syscall.RawConn) error {
			return c.Control(func(fd uintptr) {
				_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
			})
		}}
		c, err := d.DialContext(t.Context(), "tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return tcp(t, c)
	}
	first := dial()
	old := accept(t, ln)
	_, _ = io.WriteString(first, "words of the first")
	from = first.LocalAddr()
	_ = first.SetLinger(0)
	_ = first.Close()
	second := dial()
	defer func() { _ = second.Close() }()
	fresh := accept(t, ln)
	if fresh.RemoteAddr().String() != old.RemoteAddr().String() {
		t.Fatalf("the second comes from %s, not %s", fresh.RemoteAddr(), old.RemoteAddr())
	}
	if uid, err := caller.Owner(fresh); err != nil || int(uid) != os.Getuid() {
		t.Errorf("the second: user %d, %v", uid, err)
	}
	if uid, err := caller.Owner(old); !errors.Is(err, caller.ErrNobody) {
		t.Errorf("the first is said to be of user %d, who has the second: %v", uid, err)
	}
}

func TestWhatIsNoTCPConnectionCanNotBeTold(t *testing.T) {
	a, b := net.Pipe()
	defer func() { _, _ = a.Close(), b.Close() }()
	if uid, err := caller.Owner(a); err == nil || errors.Is(err, caller.ErrNobody) {
		t.Errorf("user %d, %v", uid, err)
	}
}

// TestManyConnectionsAreAskedForAtOnce: each question has its own answer.
func TestManyConnectionsAreAskedForAtOnce(t *testing.T) {
	ln := listen(t, "127.0.0.1:0")
	const many = 50
	done := make(chan error, many)
	for range many {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		accepted := accept(t, ln)
		go func() {
			_, err := caller.Owner(accepted)
			done <- err
		}()
	}
	for range many {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
