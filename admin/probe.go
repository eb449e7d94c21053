package admin

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

const (
	// ProbeTimeout is how long Probe waits for an answer: 5 s.
	ProbeTimeout = 5 * time.Second
	// maxReport is how many bytes of an answer end up in Probe's error.
	maxReport = 4 << 10
)

// Probe asks the server at addr (host:port) how it is: what is "ready", "live"
// or "startup". The error holds the server's own words when it isn't well. An
// address that means "all interfaces" is asked on loopback.
func Probe(ctx context.Context, addr, what string) error {
	path, err := probePath(what)
	if err != nil {
		return err
	}
	addr, err = probeAddr(addr)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, ProbeTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+path, http.NoBody)
	if err != nil {
		return fmt.Errorf("health: asking %s: %w", addr, err)
	}
	// A transport of its own: no environment proxy, no redirect, no connection
	// left behind.
	tr := &http.Transport{DisableKeepAlives: true, MaxResponseHeaderBytes: maxHeader}
	res, err := tr.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("health: nothing answers at %s; is Stagedoor running with this admin address? %w", addr, err)
	}
	defer res.Body.Close() //nolint:errcheck // only read
	if res.StatusCode == http.StatusOK {
		return nil
	}
	var body strings.Builder
	if _, err := io.Copy(&body, io.LimitReader(res.Body, maxReport)); err != nil {
		return fmt.Errorf("health: reading the answer of %s: %w", addr, err)
	}
	return fmt.Errorf("health: not %s (%d):\n%s", what, res.StatusCode, strings.TrimSpace(body.String()))
}

func probePath(what string) (string, error) {
	switch what {
	case "ready":
		return "/readyz", nil
	case "live":
		return "/livez", nil
	case "startup":
		return "/startupz", nil
	}
	return "", fmt.Errorf("health: %q can't be asked for; ready, live or startup can", what)
}

func probeAddr(addr string) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", fmt.Errorf("health: the admin address: %w", err)
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
		if ip.Is6() {
			host = "::1"
		}
	}
	return net.JoinHostPort(host, port), nil
}
