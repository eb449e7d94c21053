package cli

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"stagedoor/flow"
	"stagedoor/policy"
	"stagedoor/proxy"
)

// maxCallText bounds a call that is given to explain, in bytes: as large as the
// largest body that a configuration lets through by default.
const maxCallText = 32 << 20

// asked is a call that is given to explain.
type asked struct {
	query  policy.Query
	record *auditLine // where it was found, nil for a call that is only given
	cut    bool       // the record does not hold all of the call
}

// callText is what explain's arguments give: the text itself, that of a file, or
// that of standard input. words is set for a curl line that the shell has taken
// apart already.
func callText(args []string, stdin io.Reader) (text string, words []string, err error) {
	switch {
	case len(args) > 1 && args[0] == "curl":
		return "", args, nil
	case len(args) > 1:
		return "", nil, fmt.Errorf("one call at a time; put a call in quotes, or write: -- curl %s", "...")
	case len(args) == 0, args[0] == "-":
		b, err := readBounded(stdin, maxCallText)
		return string(b), nil, err
	case looksLikeCall(args[0]):
		return args[0], nil, nil
	}
	f, err := os.Open(filepath.Clean(args[0]))
	if err != nil {
		return "", nil, fmt.Errorf("%q is no call, no request id, and no file: %w", args[0], err)
	}
	defer f.Close() //nolint:errcheck // only read
	b, err := readBounded(f, maxCallText)
	return string(b), nil, err
}

// looksLikeCall tells a call from the name of a file.
func looksLikeCall(s string) bool {
	s = strings.TrimSpace(s)
	return strings.HasPrefix(s, "{") || strings.HasPrefix(s, "curl ") || isRequestLine(s)
}

func readBounded(r io.Reader, most int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, most+1)) //nolint:forbidigo // bounded, and what is longer is an error
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading the call: %w", err)
	case int64(len(b)) > most:
		return nil, fmt.Errorf("the call is longer than %d bytes", most)
	}
	return b, nil
}

// read makes a call of a text: an api3 body, an audit record, a curl line or an
// HTTP request.
func (b *rulebook) read(text string, words []string) (*asked, error) {
	text = strings.TrimSpace(text)
	switch {
	case len(words) > 0 || strings.HasPrefix(text, "curl "):
		r, err := curlRequest(text, words)
		if err != nil {
			return nil, err
		}
		return b.readRequest(r)
	case strings.HasPrefix(text, "{"):
		return b.readJSON([]byte(text))
	case isRequestLine(text):
		r, err := plainRequest(text)
		if err != nil {
			return nil, err
		}
		return b.readRequest(r)
	case text == "":
		return nil, errors.New("nothing was given; give a call as JSON, a curl line, an audit record or a request id")
	}
	return nil, errors.New("this is no call: an api3 body and an audit record begin with {, a curl line with curl, a REST call with its verb")
}

// readJSON tells an api3 body from an audit record by its members.
func (b *rulebook) readJSON(text []byte) (*asked, error) {
	var members map[string]json.RawMessage
	if json.NewDecoder(bytes.NewReader(text)).Decode(&members) == nil && members["ev"] != nil {
		line, err := readAuditLine(text)
		if err != nil {
			return nil, err
		}
		return line.asked()
	}
	return b.readRequest(&rawRequest{method: http.MethodPost, target: "/api3/json", header: jsonHeader(), body: text})
}

// rawRequest is a request as a tool would send it.
type rawRequest struct {
	method, target string
	header         http.Header
	body           []byte
}

func jsonHeader() http.Header { return http.Header{"Content-Type": {"application/json"}} }

// readRequest reads a request by the proxy's own routes and parsers.
func (b *rulebook) readRequest(raw *rawRequest) (*asked, error) {
	r, err := raw.served()
	if err != nil {
		return nil, err
	}
	q, err := proxy.ReadCall(r, raw.body, b.types, b.cfg.MaxDepth)
	if err != nil {
		return nil, err
	}
	return &asked{query: q}, nil
}

// served is the request as a server sees it.
func (raw *rawRequest) served() (*http.Request, error) {
	target, err := pathOf(raw.target)
	if err != nil {
		return nil, err
	}
	if !flow.IsName(raw.method) {
		return nil, fmt.Errorf("%q is no HTTP verb", raw.method)
	}
	head := raw.method + " " + target + " HTTP/1.1\r\nHost: stagedoor\r\n\r\n"
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(head)))
	if err != nil {
		return nil, fmt.Errorf("reading the request: %w", err)
	}
	maps.Copy(r.Header, raw.header)
	return r, nil
}

// pathOf is a URL's path and query as they are sent.
func pathOf(target string) (string, error) {
	if strings.ContainsAny(target, " \t\r\n") {
		return "", errors.New("the URL has white space in it")
	}
	target, _, _ = strings.Cut(target, "#")
	if strings.HasPrefix(target, "/") {
		return target, nil
	}
	if !strings.Contains(target, "://") {
		target = "http://" + target // as curl does
	}
	u, err := url.Parse(target)
	if err != nil || u.Host == "" {
		return "", errors.New("the URL can't be read")
	}
	return u.RequestURI(), nil
}

// isRequestLine says whether a text begins like an HTTP request.
func isRequestLine(text string) bool {
	verb, rest, ok := strings.Cut(text, " ")
	if !ok || !strings.HasPrefix(rest, "/") {
		return false
	}
	switch verb {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

// plainRequest reads VERB /path, headers, an empty line, and the body. A body
// without a Content-Type is JSON.
func plainRequest(text string) (*rawRequest, error) {
	head, body, hasBody := strings.Cut(strings.ReplaceAll(text, "\r\n", "\n"), "\n\n")
	lines := strings.Split(strings.TrimSpace(head), "\n")
	verb, target, _ := strings.Cut(strings.TrimSuffix(strings.TrimSpace(lines[0]), " HTTP/1.1"), " ")
	r := &rawRequest{method: verb, target: strings.TrimSpace(target), header: http.Header{}}
	for _, l := range lines[1:] {
		if err := r.addHeader(l); err != nil {
			return nil, err
		}
	}
	if hasBody {
		r.body = []byte(strings.TrimSpace(body))
	}
	if len(r.body) > 0 && len(r.header["Content-Type"]) == 0 {
		r.header.Set("Content-Type", "application/json")
	}
	return r, nil
}

func (raw *rawRequest) addHeader(line string) error {
	name, value, ok := strings.Cut(line, ":")
	if !ok || name == "" || strings.ContainsAny(name, " \t") {
		return fmt.Errorf("a header is NAME: VALUE, this is none: %.40q", line)
	}
	raw.header.Add(name, strings.TrimSpace(value))
	return nil
}

// asked is the call of a record, as far as the record holds it.
func (l *auditLine) asked() (*asked, error) {
	switch {
	case l.Ev == "outcome":
		return nil, fmt.Errorf("an outcome does not say what was asked; give the request id %s", l.ID)
	case len(l.Shape) == 0:
		return nil, fmt.Errorf("the record of %s holds no shape of its call: it was refused before it was read, or is older than shapes", l.ID)
	}
	c, cut, err := l.call()
	if err != nil {
		return nil, err
	}
	q := policy.Query{Call: c, Login: l.SudoAsLogin, UserCheck: l.Rule == forwardRule}
	return &asked{query: q, record: l, cut: cut}, nil
}

// errShape is call's error for a shape that can't be read.
var errShape = errors.New("the shape")

// call reads the record's shape.
func (l *auditLine) call() (c *flow.Call, cut bool, err error) {
	shape, cut, err := flow.ReadShape(bytes.Clone(l.Shape))
	if err != nil {
		return nil, false, fmt.Errorf("%w of %s: %w", errShape, cmp.Or(l.ID, l.LastID), err)
	}
	shape.SudoAsLogin = l.SudoAsLogin
	return &shape, cut, nil
}
