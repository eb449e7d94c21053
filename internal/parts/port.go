package parts

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// reservePort takes a free loopback port for the length of the test and
// returns it as IP:port. It is held by a socket that is bound but never
// listens, so that connections are refused while nobody serves there, and no
// other process gets the port between a stop and a restart. Who serves there
// must set SO_REUSEPORT.
func reservePort(tb testing.TB) string {
	tb.Helper()
	syscall.ForkLock.RLock() // or a process started now would inherit the socket
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		tb.Fatalf("reserving a port: %v", err)
	}
	tb.Cleanup(func() { _ = unix.Close(fd) })
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1),
		unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}),
	)
	if err != nil {
		tb.Fatalf("reserving a port: %v", err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		tb.Fatalf("reserving a port: %v", err)
	}
	inet, ok := name.(*unix.SockaddrInet4)
	if !ok {
		tb.Fatalf("reserving a port: got %T", name)
	}
	return fmt.Sprintf("127.0.0.1:%d", inet.Port)
}

// listenReserved listens on an address of reservePort.
func listenReserved(ctx context.Context, address string) (net.Listener, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var opt error
		err := c.Control(func(fd uintptr) {
			opt = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		})
		return errors.Join(err, opt)
	}}
	return lc.Listen(ctx, "tcp", address)
}

// loadPool reads the certificates of a PEM file.
func loadPool(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s holds no certificate", file)
	}
	return pool, nil
}

// trust is a client's TLS configuration that trusts pool alone.
func trust(pool *x509.CertPool) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
}
