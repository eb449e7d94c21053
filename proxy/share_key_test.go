package proxy_test

import (
	"net/http"
	"strings"
	"testing"

	"stagedoor/caller"
	"stagedoor/flow"
	"stagedoor/limit"
	"stagedoor/policy"
	"stagedoor/proxy"
	"stagedoor/secret"
)

// What is equal but for one thing is not equal.
func TestCallsThatDifferShareNothing(t *testing.T) {
	base := reading("Shot", "code")
	header := func(name, value string) edits { return func(r *http.Request) { r.Header.Set(name, value) } }
	for _, tt := range []struct {
		name, call string
		edit       edits
		before     func(*hall)
		shares     bool
	}{
		{name: "nothing", call: base, shares: true},
		{name: "white space", call: strings.ReplaceAll(base, ":", " : "), shares: true},
		{name: "what the tool says its key is", call: strings.Replace(base, `{}`, `{"script_name":"pub","script_key":"other"}`, 1), shares: true},
		{name: "user agent", call: base, edit: header("User-Agent", "other"), shares: true},
		{name: "caller", call: base, edit: func(r *http.Request) { r.RemoteAddr = "127.0.0.2:5" }, shares: true},
		{name: "fields", call: reading("Shot", "code", "id")},
		{name: "type", call: reading("Asset", "code")},
		{name: "page", call: strings.Replace(base, `"return_fields"`, `"paging":{"entities_per_page":5,"current_page":1},"return_fields"`, 1)},
		{name: "session_uuid", call: strings.Replace(base, `{}`, `{"session_uuid":"a-1"}`, 1)},
		{name: "product", call: strings.Replace(base, `{}`, `{"product":"rv"}`, 1)},
		{name: "sudo", call: strings.Replace(base, `{}`, `{"sudo_as_login":"joe"}`, 1)},
		{name: "locale", call: base, edit: header("Locale", "auto")},
		{name: "language", call: base, edit: header("Accept-Language", "ja")},
		{name: "form of the answer", call: base, edit: header("Accept", "*/*")},
		{name: "host", call: base, edit: func(r *http.Request) { r.Host = "127.0.0.1" }},
		{name: "way", call: "GET /api/v1/entity/Shot?fields=code"},
		{name: "script", call: strings.Replace(base, `{}`, `{"script_name":"other"}`, 1)},
		{name: "key version", call: base, before: func(h *hall) { h.keys.rolls("2") }},
		{name: "name on the site", call: base, before: func(h *hall) { h.keys.cred.SiteName = "pub-2027" }},
		{name: "configuration", call: base, before: func(h *hall) { again := *h.state; h.proxy.Replace(&again) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inHall(t, 30, func(h *hall) {
				h.site.atOnce()
				h.asks(base)
				if h.asks(base) {
					h.t.Fatal("the very same call was not shared")
				}
				if tt.before != nil {
					tt.before(h)
				}
				edit := tt.edit
				if edit == nil {
					edit = func(*http.Request) {}
				}
				before := h.site.calls()
				if h.does(tt.call, edit); (h.site.calls() == before) != tt.shares {
					t.Errorf("shared: %t", !tt.shares)
				}
			}, func(_ *proxy.Config, st *proxy.State) {
				st.Scripts["other"] = &proxy.Script{Limiter: limit.New(limit.Options{}), Policy: shares(30)}
				st.Listeners["local"].Scripts, st.Listeners["local"].Default = []string{"pub", "other"}, "pub"
			})
		})
	}
}

func (k *keys) rolls(version string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.cred = secret.Credential{SiteName: k.cred.SiteName, Key: secret.FromString(key2), Version: version}
}

func TestListenersShareNothing(t *testing.T) {
	inHall(t, 30, func(h *hall) {
		h.site.atOnce()
		h.asks(schemaRead)
		<-h.sendsOn(h.state.Listeners["second"], schemaRead, &page{sink: sink{header: http.Header{}}, audit: h.audit})
		if h.site.calls() != 2 {
			t.Errorf("%d calls", h.site.calls())
		}
	}, func(_ *proxy.Config, st *proxy.State) {
		second := *st.Listeners["local"]
		second.Name, second.Door = "second", caller.NewDoor("80")
		st.Listeners["second"] = &second
	})
}

func TestRESTCallsShare(t *testing.T) {
	base := "GET /api/v1/entity/Shot?fields=code"
	for _, tt := range []struct {
		name, call string
		shares     bool
	}{
		{"nothing", base, true},
		{"spelling of the type", "GET /api/v1/entity/shots?fields=code", true},
		{"fields", base + ",id", false},
		{"path", "GET /api/v1/entity/Shot/1?fields=code", false},
		{"type", "GET /api/v1/entity/Asset?fields=code", false},
		{"version of the API", "GET /api/v1.1/entity/Shot?fields=code", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inHall(t, 30, func(h *hall) {
				h.site.auto = func(string) string { return `{"data":[]}` }
				h.does(base)
				before := h.site.calls() // with the one for a token
				if got := h.does(tt.call); got != `{"data":[]}` {
					h.t.Fatal(got)
				}
				if (h.site.calls() == before) != tt.shares {
					t.Errorf("shared: %t", !tt.shares)
				}
			})
		})
	}
	t.Run("body", func(t *testing.T) {
		search := func(h *hall, filters string) bool {
			before := h.site.calls()
			h.does(`POST /api/v1/entity/Shot/_search {"fields":["code"],"filters":`+filters+`}`, func(r *http.Request) { r.Header.Set("Content-Type", flow.TypeArray) })
			return h.site.calls() > before
		}
		inHall(t, 30, func(h *hall) {
			h.site.auto = func(string) string { return `{"data":[]}` }
			search(h, `[["code","is","a"]]`)
			if search(h, `[["code","is","a"]]`) || !search(h, `[["code","is","b"]]`) {
				t.Error("the body does not tell calls apart, or nothing is shared")
			}
		})
	})
}

// Those parts of the key that one configuration may hold several of for a call.
func TestVerdictsThatDifferShareNothing(t *testing.T) {
	base := policy.Verdict{Rule: "t.yaml:1"}
	same := policy.Verdict{Rule: "t.yaml:1", Allow: true}
	if proxy.ShareKeyOf(base) != proxy.ShareKeyOf(same) {
		t.Fatal("no two keys are equal")
	}
	for name, v := range map[string]policy.Verdict{
		"rule":           {Rule: "t.yaml:2"},
		"filter":         {Rule: "t.yaml:1", Filter: []int64{122}},
		"another filter": {Rule: "t.yaml:1", Filter: []int64{122, 145}},
	} {
		if proxy.ShareKeyOf(base) == proxy.ShareKeyOf(v) {
			t.Error(name)
		}
	}
}
