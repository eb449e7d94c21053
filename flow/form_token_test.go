package flow_test

import (
	"errors"
	"strings"
	"testing"

	"stagedoor/flow"
	"stagedoor/secret"
)

const typeForm = "application/x-www-form-urlencoded"

func TestTokenRequestsOfTheClients(t *testing.T) {
	for _, tt := range []struct {
		name, query, contentType, body string
		grant, cred, script, sudo      string
	}{
		{"curl", "", typeForm, "grant_type=client_credentials&client_id=tool&client_secret=x", flow.GrantClient, flow.CredPlaceholder, "tool", ""},
		{"any charset", "", "Application/x-www-form-urlencoded ; charset=latin1", "grant_type=client_credentials", flow.GrantClient, flow.CredNone, "", ""},
		{"nodejs", "client_id=tool&client_secret=" + realKey + "&grant_type=client_credentials", "", "", flow.GrantClient, flow.CredLiveKey, "tool", ""},
		{"nodejs without credentials", "", "", "", flow.GrantClient, flow.CredNone, "", ""},
		{"nodejs without values", "client_id=&client_secret=&grant_type=client_credentials&scope=&session_uuid=", "", "", flow.GrantClient, flow.CredNone, "", ""},
		{"nodejs again", "refresh_token=h1&grant_type=refresh", typeForm, "", flow.GrantRefresh, flow.CredSession, "", ""},
		{"the right word", "", typeForm, "grant_type=refresh_token&refresh_token=h1", flow.GrantRefresh, flow.CredSession, "", ""},
		{"a session", "", "", "session_token=h1&grant_type=session_token", flow.GrantSession, flow.CredSession, "", ""},
		{"for someone", "scope=sudo_as_login%3Ajoe%40example.com", typeForm, "grant_type=client_credentials&client_id=tool", flow.GrantClient, flow.CredNone, "tool", "joe@example.com"},
		{"a person", "", typeForm, "grant_type=password&username=joe&password=pw&auth_token=1", flow.GrantPassword, flow.CredUser, "", ""},
		{"a person without a name", "grant_type=password", "", "", flow.GrantPassword, flow.CredUser, "", ""},
		{"a script and a person", "grant_type=client_credentials&username=joe", "", "", flow.GrantClient, flow.CredUser, "", ""},
		{"sudo that the site ignores", "grant_type=client_credentials&sudo_as_login=joe", "", "", flow.GrantClient, flow.CredNone, "", ""},
	} {
		r, err := flow.ParseTokenRequest(tt.query, tt.contentType, []byte(tt.body))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		c := r.Call
		if r.Grant != tt.grant || r.CallerCredential(cred()) != tt.cred || c.ScriptName != tt.script || c.SudoAsLogin != tt.sudo || c.UserAuth != (tt.cred == flow.CredUser) {
			t.Errorf("%s: %s %s %+v", tt.name, r.Grant, r.CallerCredential(cred()), c)
		}
		if c.Kind != flow.KindREST || c.Method != "access_token" || c.Group != flow.GroupSession {
			t.Errorf("%s: %+v", tt.name, c)
		}
		if (tt.cred == flow.CredSession) != r.Token().Same(secret.FromString("h1")) {
			t.Errorf("%s: another token", tt.name)
		}
	}
	r, err := flow.ParseTokenRequest("grant_type=client_credentials&session_uuid=5f-0a&x=1", "", nil)
	if err != nil || r.Call.SessionUUID != "5f-0a" || strings.Join(r.Call.DroppedAuth, " ") != "x" {
		t.Errorf("%v %+v", err, r)
	}
}

func TestRefusedTokenRequests(t *testing.T) {
	const client = "grant_type=client_credentials"
	for _, tt := range []struct{ query, contentType, body, says string }{
		{"", "application/json", `{"grant_type":"client_credentials"}`, "Content-Type"},
		{client, "application/json", "", "Content-Type"},
		{"", "text/plain", client, "Content-Type"},
		{"", "multipart/form-data; boundary=B", client, "Content-Type"},
		{"", "application/x-www-form-urlencoded, text/plain", client, "Content-Type"},
		{"", typeForm, `{"grant_type":"client_credentials"}`, "without ="},
		{client, typeForm, client, "in the query and in the body: grant_type"},
		{"client_id=a", typeForm, client + "&client_id=b", "in the query and in the body: client_id"},
		{client + "&" + client, "", "", "twice: grant_type"},
		{client + "&Client_Id=a", "", "", "client_id in other letters"},
		{client + "&_method=x", "", "", "_method"},
		{client + "&scope[]=x", "", "", "brackets"},
		{client + ";x=y", "", "", "escaped"},
		{client + "&x=%zz", "", "", "hexadecimal"},
		{client + "&x=%00", "", "", "U+0000"},
		{"client_id=a", "", "", "grant_type is missing"},
		{"grant_type=", "", "", "grant_type is missing"},
		{"x=y", "", "", "grant_type is missing"},
		{"grant_type=authorization_code", "", "", "not known: authorization_code"},
		{"grant_type=a%20b", "", "", "(a name that is no identifier)"},
		{"grant_type=Client_credentials", "", "", "not known"},
		{"grant_type=refresh_token", "", "", "refresh_token is missing"},
		{"grant_type=refresh", "", "refresh_token=", "refresh_token is missing"},
		{"grant_type=session_token", "", "", "session_token is missing"},
		{"grant_type=session_token&refresh_token=a", "", "", "not about"},
		{"grant_type=session_token&session_token=b&refresh_token=a", "", "", "not about"},
		{client + "&session_token=a", "", "", "not about"},
		{client + "&scope=all", "", "", "scope"},
		{client + "&scope=sudo_as_login:", "", "", "scope"},
		{client + "&scope=Sudo_as_login:joe", "", "", "scope"},
		{client + "&scope=sudo_as_login:joe+all", "", "", "scope"},
		{client + "&scope=sudo_as_login:joe,amy", "", "", "scope"},
		{client + "&scope=sudo_as_login:joe%0aamy", "", "", "scope"},
		{client + "&session_uuid=a_b", "", "", "session_uuid"},
		{"", typeForm, "x=" + strings.Repeat("a", flow.MaxTokenForm), "more than"},
		{"x=" + strings.Repeat("a", flow.MaxTokenForm), "", "", "more than"},
		{manyFields(flow.MaxFormFields + 1), "", "", "more than"},
	} {
		_, err := flow.ParseTokenRequest(tt.query, tt.contentType, []byte(tt.body))
		var p *flow.ParseError
		if !errors.As(err, &p) || p.Flaw == "" || p.Method != "access_token" || !strings.Contains(p.Msg, tt.says) {
			t.Errorf("%.60s %s %.60s: %v, want one that says %q", tt.query, tt.contentType, tt.body, err, tt.says)
		}
	}
}
