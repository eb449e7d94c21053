package flow

import (
	"bytes"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// Fault codes (flow-protocol §1.5).
const (
	FaultServer     = 100 // anything that is none of the others
	FaultAuth       = 102 // the client raises AuthenticationFault
	FaultBadRequest = 103
	FaultDenied     = 104 // not found or not permitted
)

// AppendFault writes Flow's way to say no, which the client raises as Fault
// with this message (flow-protocol §1.4).
func AppendFault(dst []byte, code int, message string) []byte {
	dst = append(dst, `{"exception":true,"message":`...)
	dst = appendQuoted(dst, message)
	dst = append(dst, `,"error_code":`...)
	dst = strconv.AppendInt(dst, int64(code), 10)
	return append(dst, '}')
}

// MayBeFault says whether an answer's first bytes are worth reading as a
// fault. It never misses one in the form that the site sends.
func MayBeFault(head []byte) bool { return bytes.Contains(head, []byte(`"exception"`)) }

// ReadFault reads an answer as a fault; ok is false for anything else.
func ReadFault(body []byte) (code int, message string, ok bool) {
	dec := jsontext.NewDecoder(bytes.NewBuffer(body), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if tok, err := dec.ReadToken(); err != nil || tok.Kind() != '{' {
		return 0, "", false
	}
	for dec.PeekKind() == '"' {
		name, err := dec.ReadToken()
		if err != nil {
			return 0, "", false
		}
		key := name.String()
		val, err := dec.ReadValue()
		if err != nil {
			return 0, "", false
		}
		switch key {
		case "exception":
			ok = string(val) == "true"
		case "message":
			message, _ = unquote(val)
		case "error_code":
			code, _ = strconv.Atoi(string(val))
		}
	}
	if _, err := dec.ReadToken(); err != nil {
		return 0, "", false // cut off
	}
	return code, message, ok
}
