// Package flow is Flow's wire: bytes to a [Message] (what is asked, and where
// the credential goes) and back to bytes, faults, and the scrubbing of answers.
//
// It has no policy and never touches the network; of this module it imports
// package secret only.
package flow

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// DefaultMaxDepth is the nesting of a call's argument up to which it is read.
// The deepest call of the real clients nests nine levels (batch, fields,
// value, entity), filters as deep as their author groups them.
const DefaultMaxDepth = 64

// Bounds of one call. A name of two bytes costs hundreds here, so max_body
// alone would not bound the memory and the time that a call takes.
const (
	// MaxParts is how many parts a batch may have; no client has a bound.
	MaxParts = 1 << 16
	// MaxReach is how many types, fields and presets a call may name, counted
	// once in each of its parts. The largest site has a few thousand fields.
	MaxReach = 1 << 18
	// MaxTypes is how many different entity types a call may name, in all its
	// parts: as many as one audit record lists, so that none can hide.
	MaxTypes = 64
	// MaxHops is how many fields a path may go through. Real ones have two or
	// three.
	MaxHops = 16
	// MaxMembers is how many members an object of a body may have. They are
	// held against each other, to find a name that stands twice.
	MaxMembers = 1 << 16
	// maxCrowd is how many members the objects of a body may have that are
	// longer than crowd, all together. From there on the decoder keeps a table
	// of their names.
	maxCrowd = 1 << 19
	crowd    = 64
	// minMember is the shortest member, in bytes: "":0 and a comma.
	minMember = 5
	// maxPointer is the longest JSON pointer that an error repeats, in bytes.
	maxPointer = 256
)

// Flaw is a kind of body that is not a call.
type Flaw string

// The flaws.
const (
	FlawJSON    Flaw = "json"    // not strict JSON
	FlawDepth   Flaw = "depth"   // nested too deep
	FlawShape   Flaw = "shape"   // JSON, but not as the protocol has it
	FlawUnknown Flaw = "unknown" // an RPC method that no client sends
)

// ParseError says what is wrong with a body and where. Its text repeats no
// bytes of the body but identifiers ([IsName]).
type ParseError struct {
	Flaw Flaw
	Msg  string
	// Method is the method's name where that much could be read.
	Method string
}

func (e *ParseError) Error() string { return e.Msg }

// Message is a call that was read completely, with everything needed to send it
// on with another credential. It is immutable, but for [Message.Confine] and its
// [Carried], and keeps no byte of the body that it was read from.
type Message struct {
	Carried

	Call Call

	arg     []byte      // the checked argument, encoded again; nil when there is none
	place   filterPlace // in arg
	auth    bool        // the call goes with an auth object
	product []byte      // quoted JSON string, nil when absent
	user    []byte      // the user's own auth object, rebuilt; nil when there is none
}

// Parser reads calls. It keeps the decoders that it reads with, since making
// one costs a third of reading a small call, and nothing of what they read but
// the names of members. The zero value is ready; it is safe for concurrent use.
type Parser struct{ decoders sync.Pool }

// maxKept is the longest body, in bytes, whose decoder is kept: its tables grow
// with what it reads.
const maxKept = 64 << 10

// ParseRPC is [Parser.ParseRPC] for a call that comes alone.
func ParseRPC(body []byte, l *Links, maxDepth int) (*Message, error) {
	return new(Parser).ParseRPC(body, l, maxDepth)
}

// ParseRPC reads the body of POST /api3/json (flow-protocol §1.2). It returns
// a *ParseError for anything but one complete call. l turns back the links in
// written data; nil leaves them.
func (p *Parser) ParseRPC(body []byte, l *Links, maxDepth int) (*Message, error) {
	dec, ok := p.decoders.Get().(*jsontext.Decoder)
	if !ok {
		dec = jsontext.NewDecoder(nothing{})
	}
	m, err := parseRPC(dec, body, l, maxDepth)
	if len(body) <= maxKept {
		dec.Reset(nothing{}) // lets go of the body
		p.decoders.Put(dec)
	}
	return m, err
}

// nothing is a reader at its end.
type nothing struct{}

func (nothing) Read([]byte) (int, error) { return 0, io.EOF }

// parseRPC is ParseRPC with a decoder, which it resets.
func parseRPC(dec *jsontext.Decoder, body []byte, l *Links, maxDepth int) (*Message, error) {
	if err := crowded(body); err != nil {
		return nil, err
	}
	env, err := readEnvelope(dec, body)
	if err != nil {
		return nil, err
	}
	info, ok := Method(env.method)
	if !ok {
		return nil, &ParseError{Flaw: FlawUnknown, Method: safeName(env.method), Msg: "no method " + quoteName(env.method) + " is known"}
	}
	m := &Message{Call: Call{Kind: KindRPC, Method: env.method, Group: info.Group, Writes: info.Writes}, auth: info.Group != GroupInfo}
	authRaw, argRaw, err := env.split()
	if err != nil {
		return nil, err
	}
	if authRaw != nil {
		if err := m.readAuth(env.dec, authRaw, maxDepth); err != nil {
			return nil, at(err, "params[0]", env.method)
		}
	}
	w := newWalker(env.dec, argRaw, maxDepth)
	w.links = l
	if err := w.argument(&m.Call, argRaw != nil); err != nil {
		return nil, at(err, "params", env.method)
	}
	if argRaw != nil {
		m.arg, m.place = w.out, w.place
	}
	return m, nil
}

// envelope is the outer object, its members still raw.
type envelope struct {
	method string
	params [][]byte
	two    [2][]byte // what params is made of
	dec    *jsontext.Decoder
}

// readEnvelope reads the whole body once with every strict check on: names
// repeated at any depth, UTF-8, escapes, numbers, and nothing after the end.
func readEnvelope(dec *jsontext.Decoder, body []byte) (*envelope, error) {
	dec.Reset(bytes.NewBuffer(body)) // the default options are the strict ones
	env := &envelope{dec: dec}
	tok, err := dec.ReadToken()
	if err != nil {
		return nil, syntax(body, err)
	}
	if tok.Kind() != '{' {
		return nil, shape("the body is not a JSON object")
	}
	var hasMethod, hasParams bool
	for dec.PeekKind() != '}' {
		quoted, err := dec.ReadValue()
		if err != nil {
			return nil, syntax(body, err)
		}
		switch name := memberName(quoted); name {
		case "method_name":
			v, err := dec.ReadToken()
			if err != nil {
				return nil, syntax(body, err)
			}
			if v.Kind() != '"' {
				return nil, shape("method_name is not a string")
			}
			env.method, hasMethod = v.String(), true
		case "params":
			if err := env.readParams(body, dec); err != nil {
				return nil, err
			}
			hasParams = true
		default:
			return nil, shape("the body has a member beside method_name and params: " + quoteName(name))
		}
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, syntax(body, err)
	}
	if rest := bytes.TrimLeft(body[dec.InputOffset():], " \t\r\n"); len(rest) > 0 {
		return nil, &ParseError{Flaw: FlawJSON, Msg: fmt.Sprintf("data after the end of the call at byte %d", len(body)-len(rest))}
	}
	if !hasMethod || !hasParams {
		return nil, shape("method_name or params is missing")
	}
	return env, nil
}

func (env *envelope) readParams(body []byte, dec *jsontext.Decoder) error {
	tok, err := dec.ReadToken()
	if err != nil {
		return syntax(body, err)
	}
	if tok.Kind() != '[' {
		return shape("params is not an array")
	}
	env.params = env.two[:0]
	for dec.PeekKind() != ']' {
		v, err := dec.ReadValue()
		if err != nil {
			return syntax(body, err)
		}
		if len(env.params) == 2 {
			return shape("params has more than two members")
		}
		end := dec.InputOffset()
		env.params = append(env.params, body[end-int64(len(v)):end])
	}
	_, err = dec.ReadToken()
	if err != nil {
		return syntax(body, err)
	}
	return nil
}

// split tells the auth object from the argument. Two members are auth and
// argument, as every client sends them. One member is an auth object if it is
// empty or has a key of one, else the argument of a hand-written call that
// carries no auth (flow-protocol §1.2).
func (env *envelope) split() (auth, arg []byte, err error) {
	switch len(env.params) {
	case 0:
		return nil, nil, nil
	case 1:
		if env.params[0][0] == '{' && looksLikeAuth(env.dec, env.params[0]) {
			return env.params[0], nil, nil
		}
		return nil, env.params[0], nil
	}
	if env.params[0][0] != '{' {
		return nil, nil, shape("params[0] is not an auth object")
	}
	return env.params[0], env.params[1], nil
}

func looksLikeAuth(dec *jsontext.Decoder, raw []byte) bool {
	trust(dec, raw)
	if _, err := dec.ReadToken(); err != nil {
		return false
	}
	if dec.PeekKind() == '}' {
		return true
	}
	for n := 0; dec.PeekKind() == '"' && n < MaxAuthKeys; n++ {
		name, err := dec.ReadToken()
		if err != nil {
			return false
		}
		if isAuthKey(name.String()) {
			return true
		}
		if dec.SkipValue() != nil {
			return false
		}
	}
	return false
}

// trusted reads JSON that has passed readEnvelope: its names are known to be
// unique and its strings to be UTF-8, so neither is checked again.
func trusted(raw []byte) *jsontext.Decoder {
	return jsontext.NewDecoder(bytes.NewBuffer(raw), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}

// trust is trusted with a decoder that is done with what it read before.
func trust(dec *jsontext.Decoder, raw []byte) {
	dec.Reset(bytes.NewBuffer(raw), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}

func shape(msg string) *ParseError { return &ParseError{Flaw: FlawShape, Msg: msg} }

func at(err error, where, method string) error {
	if p, ok := errors.AsType[*ParseError](err); ok {
		p.Method = method
		p.Msg = where + ": " + p.Msg
	}
	return err
}

// syntax turns a decoder's error into ours, without the bytes that it quotes.
func syntax(body []byte, err error) *ParseError {
	var se *jsontext.SyntacticError
	if !errors.As(err, &se) {
		return &ParseError{Flaw: FlawJSON, Msg: fmt.Sprintf("the body ends at byte %d before the call is complete", len(body))}
	}
	where := fmt.Sprintf("at byte %d", se.ByteOffset)
	if p := safePointer(string(se.JSONPointer)); p != "" {
		where += " (" + p + ")"
	}
	what := "not strict JSON"
	rest := body[min(int(se.ByteOffset), len(body)):]
	text := err.Error()
	switch {
	case strings.Contains(text, "max depth"):
		return &ParseError{Flaw: FlawDepth, Msg: "nested too deep " + where}
	case errors.Is(err, jsontext.ErrDuplicateName):
		what = "a name that stands twice in one object"
	case strings.Contains(text, "UTF-8") || strings.Contains(text, "surrogate"):
		what = "invalid UTF-8"
	case bytes.HasPrefix(rest, []byte("NaN")):
		what = "NaN, which is not JSON,"
	case bytes.HasPrefix(rest, []byte("Infinity")), bytes.HasPrefix(rest, []byte("-I")), bytes.HasPrefix(rest, []byte("I")):
		what = "Infinity, which is not JSON,"
	case len(rest) == 0:
		what = "the end of the body in the middle of the call"
	}
	return &ParseError{Flaw: FlawJSON, Msg: what + " " + where}
}

// safePointer shows a JSON pointer of up to maxPointer bytes made of identifiers and
// indexes; anything else in it came from the caller and is not repeated.
func safePointer(p string) string {
	if len(p) > maxPointer {
		return ""
	}
	for s := range strings.SplitSeq(strings.TrimPrefix(p, "/"), "/") {
		if !IsName(s) && strings.Trim(s, "0123456789") != "" {
			return ""
		}
	}
	return p
}

func safeName(s string) string {
	if IsName(s) {
		return s
	}
	return ""
}

func quoteName(s string) string {
	if IsName(s) {
		return s
	}
	return "(a name that is no identifier)"
}
