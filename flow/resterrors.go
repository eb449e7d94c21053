package flow

import (
	"strconv"

	"github.com/go-json-experiment/json"
)

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

// ReadErrors is the code of the first error of an answer in the form that
// AppendErrors writes (flow-protocol §5.7), 0 for any other answer.
func ReadErrors(body []byte) (code int) {
	var answer struct {
		Errors []struct {
			Code int `json:"code"`
		} `json:"errors"`
	}
	if json.Unmarshal(body, &answer) != nil || len(answer.Errors) == 0 {
		return 0
	}
	return answer.Errors[0].Code
}
