package proxy_test

import (
	"net/http"
	"strings"
	"testing"

	"stagedoor/policy"
	"stagedoor/proxy"
)

// TestAnswersThatCannotBeCheckedDoNotGoOut: where old values of a credential
// field may stand in what is no JSON, nothing of it is handed on, and a write
// is not called undone.
func TestAnswersThatCannotBeCheckedDoNotGoOut(t *testing.T) {
	s := start(t, answering(`{"results":[{"type":"EventLogEntry","id":1,"x":NaN,"meta":{"attribute_name":"Password_Proxy","new_value":"hash"}}]}`), func(st *proxy.State, _ *proxy.Listener) {
		st.Scripts["pub"].Policy = policy.Compile(policy.Script{Name: "pub", Rules: []policy.Rule{
			{Verb: "read", Targets: []policy.Target{{Type: "EventLogEntry"}}}, {Verb: "update", Targets: []policy.Target{{Type: "EventLogEntry"}}},
		}})
	})
	for body, says := range map[string]string{
		readEvents: "can't be read as JSON",
		`{"method_name":"update","params":[{},{"type":"EventLogEntry","id":1,"fields":[],"return_fields":["meta"]}]}`: "it may have been done",
	} {
		got := s.post(body)
		if strings.Contains(got.body, "hash") || !strings.Contains(got.body, says) || got.header.Get("Stagedoor-Refused") != string(proxy.SiteFailed) {
			t.Errorf("%+v", got)
		}
		if got.header.Get("Content-Length") == "" || got.status == http.StatusOK && !strings.Contains(got.body, `"exception":true`) {
			t.Errorf("%+v", got)
		}
	}
}
