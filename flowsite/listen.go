package flowsite

import (
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
	cert, ca, err := certificate(time.Now())
	if err != nil {
		return nil, err
	}
	srv, l, err := s.listen(h, hosts)
	if err != nil {
		return nil, err
	}
	srv.srv.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	srv.CAPEM = ca
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

// certificate makes a CA and a server certificate, good for a year.
func certificate(now time.Time) (tls.Certificate, []byte, error) {
	none := func(err error) (tls.Certificate, []byte, error) {
		return tls.Certificate{}, nil, fmt.Errorf("making a certificate: %w", err)
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return none(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return none(err)
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Stand-in site CA"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		return none(err)
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "localhost"},
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), caKey)
	if err != nil {
		return none(err)
	}
	pemCA := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER})
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pemCA, nil
}
