package flow

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

// IsSecretField says whether name is one of [SecretFields].
func IsSecretField(name string) bool {
	return name == "salted_password" || name == "password_proxy"
}
