package flow

import (
	"strconv"
	"strings"

	"stagedoor/secret"
)

// MaxTokenForm is the longest body of a token request, in bytes. A session token
// and a scope have less than one KB.
const MaxTokenForm = 16 << 10

// The grants of the token endpoint (flow-protocol §5.2).
const (
	GrantClient   = "client_credentials"
	GrantPassword = "password"
	GrantSession  = "session_token"
	GrantRefresh  = "refresh_token" // some clients write refresh
)

// sudoScope is the one scope that there is.
const sudoScope = "sudo_as_login:"

// TokenRequest is what a REST client posts to be given tokens. It is answered by
// the proxy itself and never sent on.
type TokenRequest struct {
	Carried

	Call Call
	// Grant is one of the grants.
	Grant string
}

// methodToken is what the exchange is called in records.
const methodToken = "access_token"

// ParseTokenRequest reads POST …/auth/access_token, whose fields stand in a
// url-encoded body or in the query, in any order, but each in one of them. It
// returns a *ParseError for anything else.
func ParseTokenRequest(query, contentType string, body []byte) (*TokenRequest, error) {
	r := &TokenRequest{Call: Call{Kind: KindREST, Method: methodToken, Group: GroupSession, Writes: true}}
	if err := r.read(query, contentType, body); err != nil {
		return nil, at(err, "the token request", r.Call.Method)
	}
	return r, nil
}

func (r *TokenRequest) read(query, contentType string, body []byte) error {
	typ, _, _ := strings.Cut(contentType, ";")
	if typ = lowerASCII(strings.TrimRight(typ, " ")); typ != "" && typ != typeForm {
		return shape("its Content-Type is not " + typeForm)
	}
	if len(body) > MaxTokenForm || len(query) > MaxTokenForm {
		return shape("it has more than " + strconv.Itoa(MaxTokenForm) + " bytes")
	}
	fields, err := readPairs(query, MaxFormFields)
	if err != nil {
		return err
	}
	inBody, err := readPairs(string(body), MaxFormFields)
	if err != nil {
		return err
	}
	given := make(map[string]string, len(fields)+len(inBody))
	for _, p := range append(fields, inBody...) {
		if _, twice := given[p.Name]; twice {
			return shape("a name stands in the query and in the body: " + quoteName(p.Name))
		}
		given[p.Name] = p.Value
		if err := formName(p.Name, tokenNames()); err != nil {
			return err
		}
		if err := r.field(p.Name, p.Value); err != nil {
			return err
		}
	}
	return r.grant(given)
}

// tokenNames lists what a token request may have, beside what an auth object has.
func tokenNames() []string {
	return []string{"grant_type", "client_id", "client_secret", "username", "password", "refresh_token", "scope"}
}

// field takes one field. An empty one counts as absent.
func (r *TokenRequest) field(name, value string) error {
	c := &r.Call
	switch name {
	case "grant_type", "refresh_token", "session_token": // taken together by grant
	case "client_id":
		c.ScriptName = value
	case "client_secret":
		r.key = secret.FromString(value)
	case "username", "password", "auth_token":
		if value != "" {
			c.UserAuth, r.user = true, true
		}
	case "session_uuid":
		if value != "" {
			return setSessionUUID(c, value)
		}
	case "scope":
		if value != "" {
			return r.scope(value)
		}
	default:
		dropAuth(c, name)
	}
	return nil
}

func (r *TokenRequest) scope(value string) error {
	login, ok := strings.CutPrefix(value, sudoScope)
	// A scope is a list, parted by spaces.
	if !ok || login == "" || strings.ContainsAny(login, " ,") || hasControl(login) {
		return shape("its scope is not " + sudoScope + " and a login")
	}
	r.Call.SudoAsLogin = login
	return nil
}

// grant takes the token that the grant is for. A token for another grant is
// refused: it would be ignored, and with it who the caller says that it is.
func (r *TokenRequest) grant(given map[string]string) error {
	grant, named := given["grant_type"]
	token, other := "", [2]string{given["refresh_token"], given["session_token"]}
	switch grant {
	case GrantClient:
		r.Grant = GrantClient
	case GrantPassword:
		r.Grant, r.Call.UserAuth, r.user = GrantPassword, true, true
	case GrantSession:
		r.Grant, token, other[1] = GrantSession, other[1], ""
	case GrantRefresh, "refresh":
		r.Grant, token, other[0] = GrantRefresh, other[0], ""
	case "":
		// A client that was given no credentials at all sends nothing.
		if named || len(given) > 0 {
			return shape("its grant_type is missing")
		}
		r.Grant = GrantClient
	default:
		return shape("its grant_type is not known: " + quoteName(grant))
	}
	if other[0] != "" || other[1] != "" {
		return shape("it has a token that its grant_type is not about")
	}
	if (r.Grant == GrantSession || r.Grant == GrantRefresh) && token == "" {
		return shape("its " + r.Grant + " is missing")
	}
	r.token = secret.FromString(token)
	return nil
}
