// Black-box tests of the whole binary: the real client, a real Vault, real
// sockets. Only the Flow site is a stand-in, and it refuses every call whose
// credential is not exactly right.
package main_test

import (
	"strings"
	"testing"

	"stagedoor/flowsite"
)

// A tool that sends no credential gets its answer, and the site saw the key.
func TestACallWithoutACredentialIsServed(t *testing.T) {
	site := startSite(t, flowsite.Options{})
	s := serve(t, scriptConfig(site, "file: "+keyFile(t), "")+"    allow: [{read: {Shot: code}}]\n")
	status, answer := s.Call("tools", `{"method_name":"read","params":[{"type":"Shot","return_fields":["code"],`+
		`"filters":{"logical_operator":"and","conditions":[]},"return_only":"active","paging":{"entities_per_page":1,"current_page":1}}]}`)
	if status != 200 || !strings.Contains(answer, `"code":"harbour_sq01_0010"`) {
		t.Errorf("status %d, %s", status, answer)
	}
	if v := site.Violations(); len(v) > 0 {
		t.Errorf("the site saw what no client sends: %v", v)
	}
}
