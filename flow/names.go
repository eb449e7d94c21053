package flow

import "strings"

// MaxName is the length in bytes up to which an identifier of a call may be
// repeated in an answer, a log or a record.
const MaxName = 128

// IsName says whether s is an identifier as Flow uses them for fields and
// methods: letters, digits and underscore, not starting with a digit.
func IsName(s string) bool {
	if s == "" || len(s) > MaxName || s[0] >= '0' && s[0] <= '9' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_') {
			return false
		}
	}
	return true
}

// IsTypeName says whether s can be an entity type: an identifier with a capital
// first letter (Shot, CustomEntity01, Asset_shots_Connection).
func IsTypeName(s string) bool { return IsName(s) && s[0] >= 'A' && s[0] <= 'Z' }

// SecretFields are the fields that hold credentials (flow-protocol §6.2). They
// are refused at every position of a call and removed from answers.
func SecretFields() []string { return []string{"salted_password", "password_proxy"} }

// IsSecretField says whether name is one of [SecretFields], in whatever case:
// nobody has tried whether the site folds it.
func IsSecretField(name string) bool {
	return strings.EqualFold(name, "salted_password") || strings.EqualFold(name, "password_proxy")
}

// secretIn finds a credential field's name among the identifiers of a text
// that can't be read otherwise: a path string, a preset's value.
func secretIn(text string) (string, bool) {
	for rest := text; rest != ""; {
		n := strings.IndexFunc(rest, func(r rune) bool {
			return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_')
		})
		name := rest
		if n >= 0 {
			name, rest = rest[:n], rest[n+1:]
		} else {
			rest = ""
		}
		if IsSecretField(name) {
			return name, true
		}
	}
	return "", false
}
