package flow

import (
	"bytes"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"stagedoor/secret"
)

// MaxDropped bounds Call.DroppedAuth: how many unknown keys of an auth object
// are named in the record.
const MaxDropped = 16

// MaxAuthKeys is how many members an auth object may have. The clients know
// ten.
const MaxAuthKeys = 64

// MaxProduct is the longest product that is kept, in bytes.
const MaxProduct = 256

// maxUserCheck is the longest argument that may be a check of a password, in
// bytes. The client's has 250 and a login.
const maxUserCheck = 4 << 10

// maxSessionUUID is the longest session_uuid, in bytes. A UUID has 36.
const maxSessionUUID = 64

// isAuthKey says whether a key is one that the clients put into an auth object
// (flow-protocol §1.3).
func isAuthKey(k string) bool { return slices.Contains(authKeys(), k) }

func authKeys() []string {
	return []string{
		"script_name", "script_key", "user_login", "user_password", "auth_token",
		"session_token", "reject_if_expired", "session_uuid", "sudo_as_login", "product",
	}
}

// likeAuthKey says which key of an auth object k is spelled like, but for case
// (U+017F and U+212A fold to s and k). A site that folds names would read it.
func likeAuthKey(k string) (string, bool) {
	if isAuthKey(k) || len(k) > MaxName {
		return "", false
	}
	for _, key := range authKeys() {
		if strings.EqualFold(k, key) {
			return key, true
		}
	}
	return "", false
}

// readAuth takes from the caller's auth object what a policy may grant, and
// what kind of credential it held. Nothing else of it is kept.
func (m *Message) readAuth(dec *jsontext.Decoder, raw []byte, maxDepth int) error {
	trust(dec, raw)
	if _, err := dec.ReadToken(); err != nil {
		return syntax(raw, err)
	}
	var user userAuth
	for n := 0; dec.PeekKind() == '"'; n++ {
		if n == MaxAuthKeys {
			return shape("the auth object has more than " + strconv.Itoa(MaxAuthKeys) + " members")
		}
		name, err := dec.ReadValue()
		if err != nil {
			return syntax(raw, err)
		}
		key := memberName(name)
		if like, ok := likeAuthKey(key); ok {
			return shape("the auth object has a key that is " + like + " in other letters")
		}
		val, err := dec.ReadValue()
		if err != nil {
			return syntax(raw, err)
		}
		if k := val.Kind(); k == '{' || k == '[' {
			// It is dropped, but no part of a body goes past the bound.
			if err := newWalker(trusted(nil), bytes.Clone(val), maxDepth).value(nil); err != nil {
				return err
			}
		}
		if err := m.authMember(key, val, &user); err != nil {
			return err
		}
	}
	if m.Call.UserAuth {
		m.user = user.object()
	}
	return nil
}

func (m *Message) authMember(key string, val jsontext.Value, user *userAuth) error {
	text, isString := unquote(val)
	if isString && hasNUL(val) {
		return shape("the auth object holds the character U+0000")
	}
	if val.Kind() == 'n' || isString && text == "" { // empty counts as absent: §1.3
		if !isAuthKey(key) {
			m.drop(key)
		}
		return nil
	}
	switch key {
	case "script_name":
		m.Call.ScriptName = text
	case "script_key":
		m.key = secret.FromString(text)
	case "session_token":
		if !isString {
			return shape(key + " is not a string")
		}
		m.token = secret.FromString(text)
	case "reject_if_expired":
	case "user_login", "user_password", "auth_token":
		if !isString {
			return shape(key + " is not a string")
		}
		m.Call.UserAuth, m.Carried.user = true, true
		user.set(key, val)
	case "session_uuid":
		if !isSessionUUID(text) {
			return shape("session_uuid is not 1 to " + strconv.Itoa(maxSessionUUID) + " letters, digits and hyphens")
		}
		m.Call.SessionUUID = text
	case "sudo_as_login":
		if !isString {
			return shape("sudo_as_login is not a string")
		}
		m.Call.SudoAsLogin = text
	case "product":
		if !isString || len(val) > MaxProduct {
			m.drop(key)
			return nil
		}
		m.product = appendString(nil, val)
	default:
		m.drop(key)
	}
	return nil
}

func (m *Message) drop(key string) {
	if len(m.Call.DroppedAuth) < MaxDropped {
		m.Call.DroppedAuth = append(m.Call.DroppedAuth, quoteName(key))
	}
}

func isSessionUUID(s string) bool {
	if s == "" || len(s) > maxSessionUUID {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-') {
			return false
		}
	}
	return true
}

// userAuth collects a person's own credentials, in the order of §1.3.
type userAuth struct{ login, password, token []byte }

func (u *userAuth) set(key string, val jsontext.Value) {
	b := appendScalar(nil, val)
	switch key {
	case "user_login":
		u.login = b
	case "user_password":
		u.password = b
	default:
		u.token = b
	}
}

func (u *userAuth) object() []byte {
	out := []byte{'{'}
	add := func(key string, val []byte) {
		if val == nil {
			return
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(append(append(append(out, '"'), key...), '"', ':'), val...)
	}
	add("user_login", u.login)
	add("user_password", u.password)
	add("auth_token", u.token)
	return append(out, '}')
}

// Carried is the credential that a request brought along. Nothing of it is sent
// on; it is kept to tell what the tool holds, and to find out whose handle it is.
// Every kind of message embeds one.
type Carried struct {
	key   secret.Value // script_key, client_secret
	token secret.Value // session_token, the cookie _session_id, a bearer or refresh token
	user  bool         // a person's login or password
}

// Token is the session, bearer or refresh token that the tool sent, the zero
// Value for none: a handle of ours, a placeholder, or a real one, which is a
// secret of the tool's.
func (c *Carried) Token() secret.Value { return c.token }

// SetToken takes note of a token that came in a header.
func (c *Carried) SetToken(v secret.Value) { c.token = v }

// CallerCredential classes what the tool itself carried, against the key that
// is now in force and those before it. Keys are compared in constant time and
// not kept.
func (c *Carried) CallerCredential(now secret.Credential) string {
	switch {
	case c.user:
		return CredUser
	case c.key.Same(now.Key):
		return CredLiveKey
	}
	if slices.ContainsFunc(now.Old, c.key.Same) {
		return CredOldKey
	}
	switch {
	case !c.token.IsZero():
		return CredSession
	case !c.key.IsZero():
		return CredPlaceholder
	}
	return CredNone
}

// UserCheck says whether the message is the read that authenticate_human_user
// sends (flow-protocol §2.3): an active HumanUser by login, two fields of it.
// A tool uses it as a check of a password, so it may only ever go out with the
// user's own credentials.
func (m *Message) UserCheck() bool {
	c := &m.Call
	if len(m.arg) > maxUserCheck || c.Method != "read" || c.Type != "HumanUser" || !c.UserAuth || c.SudoAsLogin != "" || len(c.Presets) > 0 {
		return false
	}
	var read struct {
		Fields  []string `json:"return_fields"`
		Filters struct {
			Operator   string `json:"logical_operator"`
			Conditions []struct {
				Path     string   `json:"path"`
				Relation string   `json:"relation"`
				Values   []string `json:"values"`
			} `json:"conditions"`
		} `json:"filters"`
		Sorts jsontext.Value `json:"sorts"`
	}
	if err := json.Unmarshal(m.arg, &read); err != nil || read.Sorts != nil {
		return false
	}
	where := read.Filters.Conditions
	if !slices.Equal(read.Fields, []string{"id", "login"}) || read.Filters.Operator != "and" || len(where) != 2 {
		return false
	}
	if where[0].Path == "login" {
		where[0], where[1] = where[1], where[0]
	}
	return where[0].Path == "sg_status_list" && where[0].Relation == "is" && slices.Equal(where[0].Values, []string{"act"}) &&
		where[1].Path == "login" && where[1].Relation == "is" && len(where[1].Values) == 1
}

// UserBody is the call with the user's own credentials and nothing of ours.
func (m *Message) UserBody() []byte {
	return m.close(append(m.open(), m.user[:len(m.user)-1]...), true)
}

// Body is the call with our credential in place of theirs. This is the one
// place where a key is written into a request.
func (m *Message) Body(c secret.Credential) []byte {
	out := m.open()
	if !m.auth {
		return m.close(out, false)
	}
	out = append(out, `{"script_name":`...)
	out = appendQuoted(out, c.SiteName)
	out = append(out, `,"script_key":`...)
	c.Key.Reveal(func(k []byte) { out = appendQuoted(out, string(k)) })
	return m.close(out, true)
}

// open begins a call, up to where its auth object stands.
func (m *Message) open() []byte {
	// With room for all: grown later, a key would be left in what it grew from.
	out := make([]byte, 0, len(m.user)+len(m.arg)+len(m.product)+2*len(m.Call.SudoAsLogin)+384)
	out = append(out, `{"method_name":`...)
	out = appendQuoted(out, m.Call.Method)
	return append(out, `,"params":[`...)
}

// close adds the rest of the auth object, if there is one, and the argument.
func (m *Message) close(out []byte, auth bool) []byte {
	if auth {
		if m.Call.SessionUUID != "" {
			out = append(out, `,"session_uuid":`...)
			out = appendQuoted(out, m.Call.SessionUUID)
		}
		if m.Call.SudoAsLogin != "" {
			out = append(out, `,"sudo_as_login":`...)
			out = appendQuoted(out, m.Call.SudoAsLogin)
		}
		if m.product != nil {
			out = append(append(out, `,"product":`...), m.product...)
		}
		out = append(out, '}')
	}
	if m.arg != nil {
		if auth {
			out = append(out, ',')
		}
		out = append(out, m.arg...)
	}
	return append(out, `]}`...)
}

// Probe is a read that every script may send and that returns nothing: no
// Project has the id 0. It proves a credential: the site answers it with rows
// or with a permission fault, and with fault 102 only if the key is refused.
func Probe() *Message {
	return &Message{
		Call: Call{Method: "read", Group: GroupRead, Type: "Project"},
		auth: true,
		arg: []byte(`{"type":"Project","return_fields":["id"],"filters":{"logical_operator":"and","conditions":[` +
			`{"path":"id","relation":"is","values":[0]}]},"return_only":"active","paging":{"entities_per_page":1,"current_page":1},` +
			`"api_return_image_urls":true,"return_paging_info_without_counts":false}`),
	}
}
