package flowsite

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"time"
)

// Server is a site that listens.
type Server struct {
	// URL is its base URL, such as https://127.0.0.1:41873.
	URL string
	// CAPEM is the certificate to trust; nil for plain HTTP.
	CAPEM []byte

	srv  *http.Server
	done chan struct{}
}

// Start serves the site over TLS, HTTP/1.1 and HTTP/2, on a free port of
// 127.0.0.1, with a certificate of its own for 127.0.0.1 and localhost. From
// then on, a request that names another host is a violation.
func (s *Site) Start() (*Server, error) { return s.startTLS(s, &s.hosts) }

// startTLS serves h. Its names are added to hosts, which Site.mu guards.
func (s *Site) startTLS(h http.Handler, hosts *[]string) (*Server, error) {
	ca, err := s.ca()
	if err != nil {
		return nil, err
	}
	cert, err := ca.certificate()
	if err != nil {
		return nil, err
	}
	srv, l, err := s.listen(h, hosts)
	if err != nil {
		return nil, err
	}
	srv.srv.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	srv.CAPEM = bytes.Clone(ca.pem)
	srv.URL = "https://" + l.Addr().String()
	go func() {
		defer close(srv.done)
		_ = srv.srv.ServeTLS(l, "", "") // always ErrServerClosed or a closed listener
	}()
	return srv, nil
}

// StartPlain is Start without TLS.
func (s *Site) StartPlain() (*Server, error) {
	srv, l, err := s.listen(s, &s.hosts)
	if err != nil {
		return nil, err
	}
	srv.URL = "http://" + l.Addr().String()
	go func() {
		defer close(srv.done)
		_ = srv.srv.Serve(l) // as above
	}()
	return srv, nil
}

func (s *Site) listen(h http.Handler, hosts *[]string) (*Server, net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, nil, fmt.Errorf("starting the stand-in site: %w", err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return nil, nil, fmt.Errorf("starting the stand-in site: %w", err)
	}
	s.mu.Lock()
	*hosts = append(*hosts, "127.0.0.1:"+port, "localhost:"+port)
	s.mu.Unlock()
	return &Server{
		srv: &http.Server{
			Handler: h, ConnContext: s.ConnContext(), ReadHeaderTimeout: time.Minute,
			// Aborted handshakes and dropped calls are what tests make.
			ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
		},
		done: make(chan struct{}),
	}, l, nil
}

// Close drops every connection and waits until nothing is served any more.
func (s *Server) Close() error {
	err := s.srv.Close()
	<-s.done
	if err != nil {
		return fmt.Errorf("stopping the stand-in site: %w", err)
	}
	return nil
}

// authority is the CA of a site: its server and its storage service have
// certificates of the same one.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(now time.Time) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a CA: %w", err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return nil, fmt.Errorf("making a CA: %w", err)
	}
	cert := &x509.Certificate{
		// Its own name: verifiers tell CAs apart by it.
		SerialNumber: serial, Subject: pkix.Name{CommonName: "Stand-in site CA " + serial.String()},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("making a CA: %w", err)
	}
	return &authority{cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}, nil
}

// certificate makes a server certificate for 127.0.0.1 and localhost.
func (a *authority) certificate() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("making a certificate: %w", err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("making a certificate: %w", err)
	}
	leaf := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "localhost"},
		NotBefore: a.cert.NotBefore, NotAfter: a.cert.NotAfter, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, a.cert, key.Public(), a.key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("making a certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
