package policy

// Suggest writes the smallest rules that give needs.
func Suggest(needs []Need) string { return suggest(needs, options{}, false) }
