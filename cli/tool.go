package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
)

// maxAnswer bounds an answer that check and demo read, in bytes.
const maxAnswer = 1 << 20

// reply is the site's answer as a tool gets it.
type reply struct {
	status  int
	id      string // the request id, which is the audit record's too
	refused string // Stagedoor's reason, when it is a refusal of ours
	body    struct {
		Exception bool            `json:"exception"`
		Message   string          `json:"message"`
		Code      int             `json:"error_code"`
		Results   json.RawMessage `json:"results"`
		Version   []any           `json:"version"`
	}
}

// readCall is find(typ, [], [field]) with a limit of one, as shotgun_api3 sends
// it (flow-protocol §2.1). It holds a placeholder where the key would be.
func readCall(typ, field string) string {
	return fmt.Sprintf(`{"method_name":"read","params":[{"script_name":"x","script_key":"x"},{"type":%q,"return_fields":[%q],`+
		`"filters":{"logical_operator":"and","conditions":[]},"return_only":"active","paging":{"entities_per_page":1,"current_page":1},`+
		`"api_return_image_urls":true,"return_paging_info_without_counts":false}]}`, typ, field)
}

// post sends one api3 call as a tool would: plain HTTP, no credential.
func post(ctx context.Context, addr netip.AddrPort, body string) (*reply, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	return postUpTo(ctx, addr, body, maxAnswer)
}

// postUpTo is post for an answer of up to so many bytes, in the time that ctx
// gives.
func postUpTo(ctx context.Context, addr netip.AddrPort, body string, most int64) (*reply, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr.String()+"/api3/json", strings.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("making a call: %w", err)
	}
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	// A transport of its own: no environment proxy, and nothing left open.
	t := &http.Transport{DisableKeepAlives: true}
	res, err := t.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("calling %s: %w", addr, err)
	}
	defer res.Body.Close()                                 //nolint:errcheck // only read
	raw, err := io.ReadAll(io.LimitReader(res.Body, most)) //nolint:forbidigo // bounded; a cut answer is no JSON
	if err != nil {
		return nil, fmt.Errorf("reading the answer of %s: %w", addr, err)
	}
	a := &reply{status: res.StatusCode, id: res.Header.Get("Stagedoor-Request-Id"), refused: res.Header.Get("Stagedoor-Refused")}
	if err := json.Unmarshal(raw, &a.body); err != nil {
		return nil, fmt.Errorf("status %d, and the answer is not JSON", res.StatusCode)
	}
	return a, nil
}

// problem is what the user of a client would see raised.
func (a *reply) problem() error {
	switch {
	case a.body.Exception:
		return fmt.Errorf("%s (fault %d)", a.body.Message, a.body.Code)
	case a.status != http.StatusOK:
		return fmt.Errorf("status %d", a.status)
	case a.body.Results == nil && a.body.Version == nil:
		return errors.New("the answer holds no results")
	}
	return nil
}

func (a *reply) version() string {
	return strings.ReplaceAll(strings.Trim(fmt.Sprint(a.body.Version), "[]"), " ", ".")
}

func (a *reply) rows() int {
	var r struct {
		Entities []json.RawMessage `json:"entities"`
	}
	if json.Unmarshal(a.body.Results, &r) != nil {
		return 0
	}
	return len(r.Entities)
}
