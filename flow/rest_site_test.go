package flow_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"stagedoor/flow"
	"stagedoor/flowsite"
)

// bearer gets a token from the stand-in site.
func bearer(t *testing.T, site *flowsite.Site) string {
	t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {"tool"}, "client_secret": {realKey}}
	r := httptest.NewRequest(http.MethodPost, "/api/v1/auth/access_token", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	site.ServeHTTP(w, r)
	var got struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got.Token == "" {
		t.Fatalf("%d %s: %v", w.Code, w.Body, err)
	}
	return got.Token
}

// TestRESTSiteTakesWhatIsSent: the stand-in site, which shares no code with the
// parser, finds nothing in what is sent that no client would send, and knows
// every route.
func TestRESTSiteTakesWhatIsSent(t *testing.T) {
	site, err := flowsite.New(flowsite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	site.Demo()
	site.AddScript("tool", realKey, flowsite.Role{})
	token := bearer(t, site)
	may := func(f flow.Seen) bool { return f.Type == "Shot" && f.Field == "code" }
	for _, tt := range restCalls() {
		if strings.Contains(tt.line, "entity_filters") {
			continue // shotgrid-rs sends it beside entity_types; the stand-in knows it not
		}
		out := rest(t, tt.line)
		target := out.Path
		if out.Query != "" {
			target += "?" + out.Query
		}
		r := httptest.NewRequest(out.Verb, target, strings.NewReader(string(out.Body)))
		if out.ContentType != "" {
			r.Header.Set("Content-Type", out.ContentType)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		site.ServeHTTP(w, r)
		if w.Code == http.StatusMethodNotAllowed || w.Code == http.StatusUnsupportedMediaType || w.Code == http.StatusUnauthorized {
			t.Errorf("%s: %d %s", tt.line, w.Code, w.Body)
		}
		if w.Code >= 300 {
			continue // a row that the stand-in does not have
		}
		filtered, _, err := flow.FilterRecords(w.Body.Bytes(), out.Filter, may)
		if err != nil {
			t.Errorf("%s: %v: %s", tt.line, err, w.Body)
		}
		if out.Filter.Records && out.Verb == http.MethodGet && strings.Contains(string(filtered), `"created_at"`) {
			t.Errorf("%s: %s", tt.line, filtered)
		}
	}
	for _, v := range site.Violations() {
		t.Error(v)
	}
}
