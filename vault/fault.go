package vault

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"
)

// kind says what a failure means for a key in hand.
type kind int

const (
	// unavailable: nobody who is Vault answered. Keys stay.
	unavailable kind = iota
	// sealed: Vault answered that it is sealed. Keys stay.
	sealed
	// odd: Vault answered this question with an error of its own. The key stays.
	odd
	// noLogin: no token that works, and nothing to get one with now. Keys stay.
	noLogin
	// unusable: the secret is there and holds no usable key. Keys stay.
	unusable
	// denied: a live token was refused. The key goes.
	denied
	// refused: the login itself was refused. All keys go.
	refused
	// gone: the secret or its newest version is gone. The key goes.
	gone
)

// fault is a failure in our own words: what, where, what to do. It never holds
// anything that Vault wrote, which could repeat what it was sent.
type fault struct {
	kind kind
	text string
}

// Error is one sentence without its full stop.
func (f *fault) Error() string { return f.text }

// no says whether Vault decided against the script.
func (f *fault) no() bool { return f.kind == denied || f.kind == refused || f.kind == gone }

// down says whether asking Vault anything else now is in vain.
func (f *fault) down() bool {
	return f.kind == unavailable || f.kind == sealed || f.kind == noLogin || f.kind == refused
}

func faultf(k kind, format string, args ...any) *fault {
	return &fault{kind: k, text: fmt.Sprintf(format, args...)}
}

// errRedirect is Vault, or something before it, pointing elsewhere.
var errRedirect = errors.New("it answered with a redirect")

// status is the HTTP status of an answer that is an error, else 0.
func status(err error) int {
	if re, ok := errors.AsType[*api.ResponseError](err); ok {
		return re.StatusCode
	}
	return 0
}

// refusal is the HTTP status of an error that Vault itself gave: its errors are
// a list under that name, those of what stands before it are not. Else 0.
func refusal(err error) int {
	re, ok := errors.AsType[*api.ResponseError](err)
	if !ok || re.RawError || re.Errors == nil {
		return 0
	}
	return re.StatusCode
}

// says looks for a phrase in what Vault wrote, which itself goes nowhere.
func says(err error, phrase string) bool {
	re, ok := errors.AsType[*api.ResponseError](err)
	if !ok {
		return false
	}
	for _, s := range re.Errors {
		if strings.Contains(strings.ToLower(s), phrase) {
			return true
		}
	}
	return false
}

// outage is the fault for an error that is not an answer to the question asked.
// It never returns a kind that costs a key.
func (s *Store) outage(err error) *fault {
	switch code := status(err); {
	case code == http.StatusServiceUnavailable && says(err, "sealed"):
		return faultf(sealed, "Vault at %s is sealed; unseal it", s.opt.Address)
	case code == http.StatusServiceUnavailable:
		return faultf(unavailable, "Vault at %s answers with status 503, not available", s.opt.Address)
	case code == http.StatusTooManyRequests:
		return faultf(unavailable, "Vault at %s answers 429, too many requests; raise its quota or lengthen vault.refresh", s.opt.Address)
	case code != 0:
		return faultf(odd, "Vault at %s answers with status %d", s.opt.Address, code)
	}
	return faultf(unavailable, "Vault at %s can't be asked: %s", s.opt.Address, cause(err, s.opt.Timeout))
}

// cause is the part of a network error that says something and quotes nothing.
func cause(err error, timeout time.Duration) string {
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err
	}
	_, isOp := errors.AsType[*net.OpError](err)
	_, unknown := errors.AsType[x509.UnknownAuthorityError](err)
	_, name := errors.AsType[x509.HostnameError](err)
	_, invalid := errors.AsType[x509.CertificateInvalidError](err)
	waited, slow := errors.AsType[net.Error](err)
	_, long := errors.AsType[*http.MaxBytesError](err)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Sprintf("no answer within %s", timeout)
	case errors.Is(err, context.Canceled):
		return "the attempt was given up"
	case errors.Is(err, errRedirect):
		return errRedirect.Error() + ", which is never followed; set vault.address to where Vault itself answers"
	case unknown:
		return "its certificate is signed by nobody we know; set vault.ca"
	case name:
		return "its certificate is for another name; set vault.address to the name in it"
	case invalid:
		return "its certificate is not valid now; renew it"
	case long:
		return "its answer is too long"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "it closed the connection before it answered"
	case slow && waited.Timeout():
		return fmt.Sprintf("no answer within %s", timeout)
	case isOp:
		return opCause(err)
	}
	return "the answer is not one of Vault's"
}

// opCause leaves out what a connection error repeats of the address.
func opCause(err error) string {
	op, ok := errors.AsType[*net.OpError](err)
	if !ok || op.Err == nil {
		return "the connection failed"
	}
	if op.Op == "remote error" || op.Op == "local error" { // TLS alerts
		return "the TLS handshake failed"
	}
	return op.Op + " failed: " + op.Err.Error()
}
