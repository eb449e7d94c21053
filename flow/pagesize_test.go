package flow_test

import (
	"fmt"
	"testing"

	"stagedoor/flow"
)

// TestAPageSizeCountsAsTheSiteMayReadIt: what is written in another way is counted
// as well, or refused; max_rows and cost go by it.
func TestAPageSizeCountsAsTheSiteMayReadIt(t *testing.T) {
	const refused = -1
	for size, want := range map[string]int{
		`5000`: 5000, `"5000"`: 5000, `0`: 0, `null`: 0, `2147483648`: 1 << 30,
		`5e3`: refused, `5000.0`: refused, `-1`: refused, `"5_000"`: refused, `" 5000"`: refused, `""`: refused,
		`true`: refused, `99999999999999999999`: refused, `[5000]`: refused,
	} {
		rpc := fmt.Sprintf(`{"method_name":"read","params":[{},{"type":"Shot","return_fields":["id"],"filters":{"logical_operator":"and","conditions":[]},"paging":{"entities_per_page":%s,"current_page":1}}]}`, size)
		if m, err := flow.ParseRPC([]byte(rpc), nil, 64); (err != nil) != (want == refused) || err == nil && m.Call.PageSize != want {
			t.Errorf("api3 %s: %+v %v", size, m, err)
		}
		body := fmt.Sprintf(`{"filters":[],"fields":["code"],"page":{"size":%s}}`, size)
		r, err := new(flow.Parser).ParseREST(flow.RESTRequest{
			Method: "POST", Path: "/api/v1/entity/shots/_search", ContentType: []string{flow.TypeArray}, Body: []byte(body),
		}, flow.NewTypes("Shot"), nil, 64)
		if (err != nil) != (want == refused) || err == nil && r.Call.PageSize != want {
			t.Errorf("REST %s: %+v %v", size, r, err)
		}
	}
}
