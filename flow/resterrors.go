package flow

import "strconv"

// AppendErrors writes REST's way to say no, an answer of JSON:API with one error
// (flow-protocol §5.7): the HTTP status, the code of a fault, what is wrong in
// short and in full, and the id of the request.
func AppendErrors(dst []byte, status, code int, title, detail, id string) []byte {
	dst = append(dst, `{"errors":[{"id":`...)
	dst = appendQuoted(dst, id)
	dst = append(dst, `,"status":`...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = append(dst, `,"code":`...)
	dst = strconv.AppendInt(dst, int64(code), 10)
	dst = append(dst, `,"title":`...)
	dst = appendQuoted(dst, title)
	dst = append(dst, `,"source":null,"detail":`...)
	dst = appendQuoted(dst, detail)
	return append(dst, `,"meta":null}]}`...)
}
