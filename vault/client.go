package vault

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"stagedoor/internal/trust"
	"stagedoor/secret"
)

const (
	// maxAnswer bounds an answer of Vault in bytes: a secret with a key is a
	// few hundred, and Vault itself takes no more than 512 KiB a value.
	maxAnswer = 1 << 20
	// maxCA bounds the CA file in bytes.
	maxCA = 1 << 20
	// maxRetries is how often one question is asked again by vault/api, all
	// within its timeout. More than that is the refresher's business.
	maxRetries                 = 2
	minRetryWait, maxRetryWait = 100 * time.Millisecond, time.Second
	// idleConn keeps a connection for one round of reads and drops it before
	// the next: nothing between us and Vault gets to forget it first.
	idleConn = 30 * time.Second
)

// environment is every variable that vault/api reads.
func environment() []string {
	return []string{
		api.EnvVaultAddress, api.EnvVaultAgentAddr, api.EnvVaultCACert, api.EnvVaultCACertBytes, api.EnvVaultCAPath,
		api.EnvVaultClientCert, api.EnvVaultClientKey, api.EnvVaultClientTimeout, api.EnvVaultHeaders,
		api.EnvVaultSRVLookup, api.EnvVaultSkipVerify, api.EnvVaultNamespace, api.EnvVaultTLSServerName,
		api.EnvVaultWrapTTL, api.EnvVaultMaxRetries, api.EnvVaultToken, api.EnvVaultMFA, api.EnvRateLimit,
		api.EnvHTTPProxy, api.EnvVaultProxyAddr, api.EnvVaultDisableRedirects,
	}
}

// newClient makes a client with a token of its own, "" for none, so that no two
// reads ever share a token that changes under them. after runs its argument
// when the store closes; nil leaves the client to its deadlines.
func (s *Store) newClient(token secret.Value, after func(func()) func() bool) (*api.Client, error) {
	// NewClient fills a configuration from the environment even where it is
	// handed another one, and fails when a variable there is malformed. No
	// setting turns that off, so the variables have to go. They are ours to take:
	// nothing else in this process talks to Vault.
	for _, name := range environment() {
		if err := os.Unsetenv(name); err != nil {
			return nil, fmt.Errorf("clearing the environment of %s: %w", name, err)
		}
	}
	c, err := api.NewClient(&api.Config{
		Address: s.opt.Address,
		HttpClient: &http.Client{
			Transport:     &wire{base: s.transport, after: after},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		Timeout:          s.opt.Timeout,
		MaxRetries:       maxRetries,
		MinRetryWait:     minRetryWait,
		MaxRetryWait:     maxRetryWait,
		CheckRetry:       again,
		Backoff:          s.pause,
		DisableRedirects: true,
	})
	if err != nil {
		return nil, errors.New("making a Vault client: the address can't be used")
	}
	// All headers, so that none comes from elsewhere. X-Vault-Request keeps a
	// Vault Agent from being used by web pages.
	h := http.Header{api.RequestHeaderName: {"true"}, "User-Agent": {s.opt.UserAgent}}
	if s.opt.Namespace != "" {
		h.Set(api.NamespaceHeaderName, s.opt.Namespace)
	}
	c.SetHeaders(h)
	c.SetWrappingLookupFunc(func(string, string) string { return "" })
	c.SetToken(text(token))
	return c, nil
}

// newTransport dials Vault itself: no proxy, whatever the environment says, and
// HTTP/1.1, where a connection that died unseen ends with the question that ran
// into it instead of with all of them.
func newTransport(caFile string) (*http.Transport, error) {
	t := &http.Transport{
		DialContext:         (&net.Dialer{KeepAlive: idleConn}).DialContext,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12},
		MaxIdleConnsPerHost: parallel,
		MaxConnsPerHost:     2 * parallel, // every script may ask at once, after the site refused them all
		IdleConnTimeout:     idleConn,
		DisableCompression:  true,
		TLSNextProto:        map[string]func(string, *tls.Conn) http.RoundTripper{},
	}
	if caFile == "" {
		return t, nil
	}
	pem, err := trust.Read(caFile, maxCA)
	if err != nil {
		return nil, fmt.Errorf("reading the CA file of Vault: %w", err)
	}
	t.TLSClientConfig.RootCAs = x509.NewCertPool()
	if !t.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("reading the CA file of Vault: %s holds no PEM certificate", caFile)
	}
	return t, nil
}

// checkAddress refuses what would carry a token in the open or elsewhere.
func checkAddress(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return errors.New("the address of Vault is not https://HOST:PORT")
	}
	ip := net.ParseIP(u.Hostname())
	local := u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
	if u.Scheme != "https" && (u.Scheme != "http" || !local) {
		return fmt.Errorf("the address of Vault is not https: http is for a Vault Agent on this host only, and %s is another", u.Hostname())
	}
	return nil
}

// wire sends one request and refuses the answers that could do harm.
type wire struct {
	base  *http.Transport
	after func(func()) func() bool
}

// RoundTrip turns a redirect into an error, so that no client above it can
// follow one with a token, and bounds the answer.
func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	// The lifetime watcher of vault/api renews with a context of its own, which
	// knows nothing of Close.
	ctx, cancel := context.WithCancel(req.Context())
	release := func() bool { return true }
	if w.after != nil {
		release = w.after(cancel)
	}
	resp, err := w.base.RoundTrip(req.WithContext(ctx))
	if err == nil && resp.StatusCode >= 300 && resp.StatusCode < 400 {
		_ = resp.Body.Close()
		err = errRedirect
	}
	if err != nil {
		release()
		cancel()
		return nil, err
	}
	resp.Body = &answer{ReadCloser: http.MaxBytesReader(nil, resp.Body, maxAnswer), done: func() { release(); cancel() }}
	return resp, nil
}

// answer is a body that lets go of its request's context when it is closed.
type answer struct {
	io.ReadCloser
	done func()
}

// Close closes the body.
func (a *answer) Close() error {
	defer a.done()
	return a.ReadCloser.Close()
}

// again decides whether vault/api asks once more by itself. A failed connection
// or a sealed Vault is left to the refresher, which knows when to pause. Only
// reads are repeated after an error of the server: a login may use up a secret
// id, and unwrapping uses up its token, even when the answer is lost. 429 was
// never processed and may always be repeated, unless it has to wait for longer
// than the question may take.
func again(ctx context.Context, resp *http.Response, err error) (bool, error) {
	if err != nil || ctx.Err() != nil {
		return false, err
	}
	switch resp.StatusCode {
	case http.StatusTooManyRequests:
	case http.StatusPreconditionFailed, http.StatusInternalServerError, http.StatusBadGateway, http.StatusGatewayTimeout:
		if resp.Request.Method != http.MethodGet {
			return false, nil
		}
	default:
		return false, nil
	}
	end, limited := ctx.Deadline()
	return !limited || retryAfter(resp) < time.Until(end), nil
}

// pause is how long vault/api waits before it asks again: what Vault says, else
// doubling from the least, with jitter.
func (s *Store) pause(least, most time.Duration, attempt int, resp *http.Response) time.Duration {
	d := min(least<<min(attempt, 10), most)
	d = time.Duration(float64(d) * (0.5 + s.opt.Jitter()/2))
	if resp != nil {
		d = max(d, retryAfter(resp))
	}
	return d
}

// retryAfter is the answer's Retry-After in seconds, the form that Vault uses;
// 0 where it has none.
func retryAfter(resp *http.Response) time.Duration {
	n, err := strconv.ParseUint(strings.TrimSpace(resp.Header.Get("Retry-After")), 10, 31)
	if err != nil {
		return 0
	}
	return time.Duration(n) * time.Second
}

// jitter spreads the questions of many proxies; nobody gains by guessing it.
func jitter() float64 { return rand.Float64() } //nolint:gosec // not a secret
