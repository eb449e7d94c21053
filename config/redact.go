package config

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// This file decides what of the file is never repeated. Three rules, each on
// its own enough for most keys: what a field's name calls a secret, values whose
// place is wrong (hidden by the reader that meets them), and words that no path,
// address or name is made of.

// mask stands for what is not shown.
const mask = "…"

// minKey is the length of a word, in characters, from which it may be a key.
// Application keys have 24 and more; a message may hold a part of one.
const minKey = 12

const (
	// beforeName is what can stand before a field's name, and its first words.
	beforeName = `(?i)(?:^|[\s{,\["'])`
	// namesOfSecrets are the last words of names whose value is a secret; auth
	// only alone, since user_auth is a field of ours.
	namesOfSecrets = `(?:(?:[a-z0-9_.-]*[_.-])?(?:token|secret|secret_?id|(?:api_?|script_?|application_?|app_?)?key|passw(?:or)?d|pass|pwd?|passphrase|bearer|credentials?)|auth|authorization)["']?`
)

var (
	// secretKey finds a field whose name says that its value is a secret.
	secretKey = regexp.MustCompile(beforeName + namesOfSecrets + `[ \t]*[:=][ \t]*`)
	// secretWord finds such a name where the colon was forgotten.
	secretWord = regexp.MustCompile(beforeName + namesOfSecrets + `[ \t]+`)
	// userInfo finds user and password in a URL: up to the last @ of the word or
	// of what stands in quotes, since people don't escape what a password holds.
	userInfo = regexp.MustCompile(`://(?:\S*|[^"']*)@`)
	// vaultToken finds what looks like a Vault token.
	vaultToken = regexp.MustCompile(`\b(?:hv[sbr]\.[A-Za-z0-9_-]{4,}|[sbr]\.[A-Za-z0-9]{20,})`)
	// inQuotes is what a message repeats of the file.
	inQuotes = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)
	// chunk is what white space ends.
	chunk = regexp.MustCompile(`\S+`)
	// plainPart is a part of a name: a word, words in CamelCase, a number, or a
	// word with a number. Parts of keys change between these kinds.
	plainPart = regexp.MustCompile(`^(?:\p{Nd}{1,10}\p{L}{0,3}|\p{Lu}{1,20}\p{Nd}{0,4}|\p{Lu}{0,3}\p{Ll}{1,20}(?:\p{Lu}\p{Ll}{1,20})*(?:\p{Nd}{1,4}\p{Ll}?)?|\p{Lo}+)$`)
	// drive starts a path on Windows.
	drive = regexp.MustCompile(`^[A-Za-z]:[\\/]`)
	// fileName is a relative path to a file of a kind that is named here.
	fileName = regexp.MustCompile(`^[A-Za-z0-9_./-]+\.(?:pem|crt|cer|key|json|jsonl|txt|log|ya?ml)$`)
	// ownField finds a field of ours at the start of a line.
	ownField = regexp.MustCompile(`^[\s{"'\[-]*(?:version|site|contact|listen|identity|scripts|vault|login|handles|storage|upstream|audit|admin|limits|roles|schema)["']?[ \t]*:`)
)

// secretName says whether a field of this name would hold a secret.
func secretName(name string) bool { return secretKey.MatchString(name + ":") }

// absolute says whether a path starts at a root.
func absolute(s string) bool { return strings.HasPrefix(s, "/") || drive.MatchString(s) }

// pathLike says whether a text is a path and nothing that could be a key.
func pathLike(s string) bool {
	rooted := absolute(s) || strings.HasPrefix(s, "~/") || strings.HasPrefix(s, "./") || strings.HasPrefix(s, "../")
	return (rooted || fileName.MatchString(s)) && !keyLike(s)
}

// keyLike says whether some part of a text would not be shown.
func keyLike(s string) bool { return len(keysIn(s)) > 0 }

// plainWord says whether a word is one of prose, a name, a path or an address.
// Short words are: no key is shorter than minKey.
func plainWord(word string) bool {
	if utf8.RuneCountInString(word) < minKey {
		return true
	}
	rest := strings.TrimPrefix(word, "~/")
	if drive.MatchString(word) {
		rest = strings.ReplaceAll(word, `\`, "/")
	}
	if strings.ContainsAny(rest, "~^!$%&+=<>|\\?`") {
		return false
	}
	apart := func(c rune) bool { return !unicode.IsLetter(c) && !unicode.IsDigit(c) }
	for part := range strings.FieldsFuncSeq(rest, apart) {
		if !plainPart.MatchString(part) {
			return false
		}
	}
	return true
}

// keysIn finds what looks like a credential, wherever it stands, in bytes.
func keysIn(s string) []stretch {
	var out []stretch
	for _, m := range userInfo.FindAllStringIndex(s, -1) {
		if user := s[m[0]+len("://") : m[1]-1]; user != "" && user != mask {
			out = append(out, stretch{m[0] + len("://"), m[1] - 1})
		}
	}
	for _, m := range vaultToken.FindAllStringIndex(s, -1) {
		out = append(out, stretch{m[0], m[1]})
	}
	const around = `"'()[]{}<>,;:.?!` // of words in prose and YAML
	for _, m := range chunk.FindAllStringIndex(s, -1) {
		word := s[m[0]:m[1]]
		from := m[0] + len(word) - len(strings.TrimLeft(word, around))
		word = strings.Trim(word, around)
		if !plainWord(userInfo.ReplaceAllString(word, "://")) {
			out = append(out, stretch{from, from + len(word)})
		}
	}
	return out
}

// redact is a message as it may be shown.
func redact(s string) string {
	hide := keysIn(s)
	for _, q := range inQuotes.FindAllStringIndex(s, -1) { // outside of them are our own words
		if m := secretKey.FindStringIndex(s[q[0]:q[1]]); m != nil {
			hide = append(hide, stretch{q[0] + m[1], max(q[0]+m[1], q[1]-1)})
		}
	}
	if len(hide) == 0 {
		return s
	}
	shown, _, _ := blank([]rune(s), characters(s, hide), 0, 0)
	return string(shown)
}

// secretsOf finds the stretches of line i that must not be shown: what follows
// a field with a secret's name, also on the lines below it, and what looks like
// a credential wherever it stands.
func secretsOf(lines []string, i int) []stretch {
	line := lines[i]
	indent := indentOf(line)
	within := indent
	for j := i - 1; j >= 0 && within > 0; j-- {
		if strings.TrimSpace(lines[j]) == "" || indentOf(lines[j]) >= within {
			continue
		}
		within = indentOf(lines[j])
		if secretKey.MatchString(lines[j]) && len(line) > indent {
			return characters(line, []stretch{{indent, len(line)}})
		}
	}
	out := keysIn(line)
	for _, name := range []*regexp.Regexp{secretKey, secretWord} {
		if m := name.FindStringIndex(line); m != nil && m[1] < len(line) {
			out = append(out, stretch{m[1], len(line)})
		}
	}
	return characters(line, out)
}

// hide keeps a value out of every message, and out of its line, whatever is
// said about that.
func (r *reading) hide(n *node) {
	n.secret = true
	for _, f := range n.fields {
		f.key.secret = true
		r.hideAt(f.key.place)
		r.hide(f)
	}
	for _, it := range n.items {
		r.hide(it)
	}
	if n.kind != kindMap && n.kind != kindList && n.kind != kindNull {
		r.hideAt(n.place)
	}
}

func (r *reading) hideAt(at place) {
	if at.line < 1 || at.line > len(r.lines) {
		return
	}
	if r.hidden == nil {
		r.hidden = map[int][]stretch{}
	}
	end := len(r.runes(at.line))
	from := min(max(at.col-1, 0), end)
	r.hidden[at.line] = append(r.hidden[at.line], stretch{from, min(from+max(at.span, 1), end)})
}

// stretch is a part of a line, in characters unless said otherwise.
type stretch struct{ from, to int }

// blank is a copy of src with "…" in place of each stretch; start and end move
// along.
func blank(src []rune, hide []stretch, start, end int) (shown []rune, from, to int) {
	move := func(at int) int {
		less := 0
		for _, h := range hide {
			switch {
			case at >= h.to:
				less += h.to - h.from - 1
			case at > h.from:
				less += at - h.from
			}
		}
		return at - less
	}
	last := 0
	for _, h := range hide {
		shown = append(append(shown, src[last:h.from]...), []rune(mask)...)
		last = h.to
	}
	shown = append(shown, src[last:]...)
	from = move(start)
	return shown, from, max(move(end), from+1)
}

// characters turns stretches of bytes into ones of characters, sorted and
// joined. It goes through the line once, however many there are.
func characters(line string, in []stretch) []stretch {
	out := merge(in)
	bytes, n := 0, 0
	count := func(to int) int {
		n += utf8.RuneCountInString(line[bytes:to])
		bytes = to
		return n
	}
	for i, s := range out {
		from := count(s.from)
		out[i] = stretch{from, count(s.to)}
	}
	return out
}

// merge sorts stretches and joins those that overlap.
func merge(in []stretch) []stretch {
	slices.SortFunc(in, func(a, b stretch) int { return cmp.Compare(a.from, b.from) })
	var out []stretch
	for _, s := range in {
		if s.from == s.to {
			continue
		}
		if n := len(out); n > 0 && s.from <= out[n-1].to {
			out[n-1].to = max(out[n-1].to, s.to)
			continue
		}
		out = append(out, s)
	}
	return out
}

func indentOf(line string) int { return len(line) - len(strings.TrimLeft(line, " \t-")) }
