package parts

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// wireBuffer is how much one direction of a connection reads at a time.
const wireBuffer = 32 << 10

// Wire stands before a server of any protocol over TCP, at an address of its
// own, and makes the way to it slow, dead or closed at a word. It is safe for
// concurrent use, but for Accept, which is for the test's own goroutine.
type Wire struct {
	Address string // IP:port; stays the same across Refuse and Accept

	tb     testing.TB
	target string
	work   context.Context //nolint:containedctx // ends with the test
	wg     sync.WaitGroup

	mu    sync.Mutex // guards all below
	ln    net.Listener
	conns map[net.Conn]bool
	delay time.Duration
	heal  chan struct{} // nil: not cut; closed by Mend
}

// Wire starts a wire before this Redis; it ends with the test.
func (r *RedisServer) Wire() *Wire {
	r.tb.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.tb.Context()))
	w := &Wire{tb: r.tb, target: r.Address, work: ctx, Address: reservePort(r.tb), conns: make(map[net.Conn]bool)}
	r.tb.Cleanup(func() {
		cancel()
		w.Refuse()
		w.wg.Wait()
	})
	w.Accept()
	return w
}

// Delay makes every answer from now on wait before it is passed on; 0 ends that.
func (w *Wire) Delay(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.delay = d
}

// Cut lets nothing through any more, in either direction, and closes nothing: as
// where packets are dropped. New connections hang.
func (w *Wire) Cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.heal == nil {
		w.heal = make(chan struct{})
	}
}

// Mend ends Cut; what was sent meanwhile arrives.
func (w *Wire) Mend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.heal != nil {
		close(w.heal)
		w.heal = nil
	}
}

// Refuse cuts all connections; new ones are refused until Accept.
func (w *Wire) Refuse() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ln != nil {
		_ = w.ln.Close() // says only that it was closed
		w.ln = nil
	}
	for c := range w.conns {
		_ = c.Close()
	}
}

// Accept ends Refuse, at the same address.
func (w *Wire) Accept() {
	w.tb.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ln != nil {
		return
	}
	ln, err := listenReserved(w.work, w.Address)
	if err != nil {
		w.tb.Fatalf("starting a wire: %v", err)
	}
	w.ln = ln
	w.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			w.wg.Go(func() { w.serve(c) })
		}
	})
}

func (w *Wire) serve(c net.Conn) {
	defer w.track(c)()
	if !w.pass(0) {
		return
	}
	s, err := new(net.Dialer).DialContext(w.work, "tcp", w.target)
	if err != nil {
		return
	}
	defer w.track(s)()
	ended := make(chan struct{})
	w.wg.Go(func() {
		defer close(ended)
		w.copy(s, c, false)
		_ = s.Close()
	})
	w.copy(c, s, true)
	_ = c.Close()
	<-ended
}

func (w *Wire) track(c net.Conn) (end func()) {
	w.mu.Lock()
	w.conns[c] = true
	if w.ln == nil {
		_ = c.Close()
	}
	w.mu.Unlock()
	return func() {
		_ = c.Close()
		w.mu.Lock()
		delete(w.conns, c)
		w.mu.Unlock()
	}
}

// copy passes on what one side says.
func (w *Wire) copy(to, from net.Conn, answers bool) {
	buf := make([]byte, wireBuffer)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			w.mu.Lock()
			d := w.delay
			w.mu.Unlock()
			if !answers {
				d = 0
			}
			if !w.pass(d) {
				return
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// pass waits as the test said, and says whether to go on.
func (w *Wire) pass(d time.Duration) bool {
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-w.work.Done():
			return false
		}
	}
	w.mu.Lock()
	heal := w.heal
	w.mu.Unlock()
	if heal == nil {
		return true
	}
	select {
	case <-heal:
		return true
	case <-w.work.Done():
		return false
	}
}

// writeRedisCerts makes an authority and a certificate for ip, in dir.
func writeRedisCerts(dir, ip string) error {
	now := time.Now()
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Redis test CA"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	if err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "Redis"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		IPAddresses: []net.IP{net.ParseIP(ip)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, caKey)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	write := func(name, kind string, der []byte) error {
		return os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
	}
	return errors.Join(
		write("ca.pem", "CERTIFICATE", caDER), write("cert.pem", "CERTIFICATE", der), write("key.pem", "PRIVATE KEY", keyDER),
	)
}
