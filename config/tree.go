package config

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Bounds of the file itself.
const (
	MaxFile   = 1 << 20 // bytes
	maxTokens = 100_000 // words and signs; the parser takes 2 s for the worst of that
	maxNest   = 16      // lists and fields inside one another
	maxItems  = 20_000  // of one list
	maxFields = 1000    // at one place
)

// place is where a thing stands: line and column from 1, in characters.
type place struct{ line, col, span int }

type kind uint8

const (
	kindNull kind = iota
	kindText
	kindInt
	kindFloat
	kindBool
	kindMap
	kindList
)

func (k kind) String() string {
	switch k {
	case kindNull:
		return "nothing"
	case kindText:
		return "text"
	case kindInt, kindFloat:
		return "a number"
	case kindBool:
		return "true or false"
	case kindMap:
		return "fields"
	case kindList:
		return "a list"
	}
	return "?"
}

// node is a value of the file, of one meaning: no anchors, tags or merges, no
// text over several lines.
type node struct {
	place
	kind   kind
	text   string // a scalar as written, or what its quotes hold
	key    *node  // the field that it is the value of; nil in a list and at the top
	secret bool   // its field's name says that it is a secret
	fields []*node
	items  []*node
}

// name is the field's name.
func (n *node) name() string {
	if n.key == nil {
		return ""
	}
	return n.key.text
}

// where is the value's place, or its field's where there is none.
func (n *node) where() place {
	if n.kind == kindNull && n.key != nil {
		return n.key.place
	}
	return n.place
}

// tree reads data into a node; nil if that was impossible, and then there are
// errors.
func (r *reading) tree(data []byte) *node {
	text, ok := r.characters(data)
	if !ok {
		return nil
	}
	tokens := lexer.Tokenize(text)
	if !r.tokens(tokens) {
		return nil
	}
	f, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		r.syntax(err)
		return nil
	}
	var body ast.Node
	for _, d := range f.Docs {
		if d.Body == nil {
			continue
		}
		if body != nil {
			r.error(tokenPlace(d.Body.GetToken()), "a second document", "one file, one configuration")
			return nil
		}
		body = d.Body
	}
	if body == nil {
		r.error(place{}, "the file is empty", "docs/configuration.md has twelve lines to start from")
		return nil
	}
	return r.node(body, nil, 0)
}

// characters checks what the file is made of and cuts it into lines.
func (r *reading) characters(data []byte) (string, bool) {
	if len(data) > MaxFile {
		r.error(place{}, fmt.Sprintf("the file has %d bytes; the bound is %d", len(data), MaxFile), "")
		return "", false
	}
	text := strings.TrimPrefix(string(data), "\ufeff")
	text = strings.ReplaceAll(text, "\r\n", "\n")
	r.lines = strings.Split(text, "\n")
	r.foreign = !slices.ContainsFunc(r.lines, ownField.MatchString)
	for i, line := range r.lines {
		if !utf8.ValidString(line) {
			good := validPrefix(line)
			r.lines[i] = strings.ToValidUTF8(line, "\ufffd")
			r.error(place{i + 1, good + 1, 1}, "these bytes are not UTF-8", "save the file as UTF-8")
			return "", false
		}
		if !r.line(i, line) {
			return "", false
		}
	}
	return text, true
}

// validPrefix counts the characters before the first byte that is not UTF-8.
func validPrefix(line string) int {
	n := 0
	for len(line) > 0 {
		c, size := utf8.DecodeRuneInString(line)
		if c == utf8.RuneError && size == 1 {
			break
		}
		line = line[size:]
		n++
	}
	return n
}

// line refuses what editors hide: tabs that would count as indentation, control
// characters, and those that show text in another order than it is read.
func (r *reading) line(i int, line string) bool {
	comment := commentStart(line)
	col := 0
	for j, c := range line {
		col++
		switch {
		case c == '\t' && j < comment && strings.TrimLeft(line[j:comment], " \t") != "":
			r.error(place{i + 1, col, 1}, "a tab", "indent with spaces; in text write \"\\t\"")
			return false
		case c == '\t':
		case unicode.IsControl(c), c == '\ufeff', c == '\u2028', c == '\u2029', unicode.Is(unicode.Bidi_Control, c):
			r.error(place{i + 1, col, 1}, fmt.Sprintf("an invisible character (U+%04X)", c), "remove it")
			return false
		}
	}
	return true
}

// commentStart is where the comment of a line may start, at the latest.
func commentStart(line string) int {
	for j := range len(line) {
		if line[j] == '#' && (j == 0 || line[j-1] == ' ' || line[j-1] == '\t') {
			return j
		}
	}
	return len(line)
}

// tokens refuses, before the parser sees them, the parts of YAML that give a
// file a second meaning, and nesting that would cost the parser its stack.
func (r *reading) tokens(ts token.Tokens) bool {
	if len(ts) > maxTokens {
		r.error(place{}, fmt.Sprintf("the file has more than %d words and signs", maxTokens), "")
		return false
	}
	nest := nesting{}
	for i, t := range ts {
		if msg, hint := refused(t); msg != "" {
			r.error(tokenPlace(t), msg, hint)
			return false
		}
		if text := strings.TrimSpace(t.Origin); strings.Contains(text, "\n") && isText(t) {
			next := i+1 < len(ts) && ts[i+1].Type == token.MappingValueType
			r.manyLines(t, text, next)
			return false
		}
		if nest.deep(t) {
			r.error(tokenPlace(t), fmt.Sprintf("nested more than %d deep", maxNest), "")
			return false
		}
	}
	return true
}

func isText(t *token.Token) bool {
	return t.Type == token.StringType || t.Type == token.SingleQuoteType || t.Type == token.DoubleQuoteType
}

// refused says why a token is not for this file. The other types are fine.
func refused(t *token.Token) (msg, hint string) {
	switch t.Type { // the refused among the forty of YAML
	case token.AliasType:
		if t.Next != nil && t.Next.Type == token.StringType && t.Next.Position.Line == t.Position.Line && t.Next.Position.Column == t.Position.Column+1 {
			return "an alias of YAML", "write the value out, so that a line says all it means; a glob needs quotes: \"*\""
		}
		return "a bare *", "quote it: \"*\""
	case token.AnchorType:
		return "an anchor of YAML", "write the value out, so that a line says all it means"
	case token.MergeKeyType:
		return "a merge key of YAML", "write the fields out, so that a line says all it means"
	case token.TagType:
		return "a tag of YAML", "quote text that starts with !"
	case token.DirectiveType:
		return "a directive of YAML", "quote text that starts with %"
	case token.MappingKeyType:
		return "a complex key of YAML", "write the field as \"name: value\""
	case token.LiteralType, token.FoldedType:
		return "text over several lines", "write it on one line, in quotes"
	}
	return "", ""
}

// manyLines tells of text that goes on in the next line, nearly always a slip
// of indentation.
func (r *reading) manyLines(t *token.Token, text string, field bool) {
	if t.Type != token.StringType {
		r.error(tokenPlace(t), "text over several lines", "write it on one line; is a quote missing?")
		return
	}
	second, _, _ := strings.Cut(text[strings.Index(text, "\n")+1:], "\n")
	trimmed := strings.TrimLeft(second, " ")
	at := place{t.Position.Line + 1, len(second) - len(trimmed) + 1, utf8.RuneCountInString(trimmed)}
	if field {
		r.error(at, "indented deeper than the line above, whose value it becomes part of", "fields that belong together start in the same column")
		return
	}
	r.error(at, "this goes on with the text of the line above", "write it on one line, in quotes")
}

// nesting follows depth through the tokens, generously.
type nesting struct {
	flow    int   // open brackets and braces
	columns []int // of the first words of the lines that hold this one
	line    int
	dashes  int // on this line
}

func (n *nesting) deep(t *token.Token) bool {
	if t.Position.Line != n.line && n.flow == 0 {
		n.line, n.dashes = t.Position.Line, 0
		for len(n.columns) > 0 && n.columns[len(n.columns)-1] >= t.Position.Column {
			n.columns = n.columns[:len(n.columns)-1]
		}
		n.columns = append(n.columns, t.Position.Column)
	}
	switch t.Type { // only what nests
	case token.SequenceStartType, token.MappingStartType:
		n.flow++
	case token.SequenceEndType, token.MappingEndType:
		n.flow = max(0, n.flow-1)
	case token.SequenceEntryType:
		n.dashes++
	case token.MappingValueType:
		// "a: b: c" is refused by the parser without going deeper.
	}
	return n.flow > maxNest || n.dashes > maxNest || len(n.columns) > maxNest
}

// syntax turns the parser's error into ours.
func (r *reading) syntax(err error) {
	var ye yaml.Error
	if !errors.As(err, &ye) || ye.GetToken() == nil {
		r.error(place{}, "this is not YAML", "")
		return
	}
	t := ye.GetToken()
	msg, hint := ye.GetMessage(), ""
	switch {
	case t.Type == token.InvalidType && strings.Contains(msg, "end character"):
		msg, hint = "a quote is not closed", "close it on the same line"
	case strings.Contains(msg, "reserved character"):
		msg, hint = "text can't start with this sign", "put the text in quotes"
	case strings.Contains(msg, "end token"):
		msg, hint = "a bracket is not closed", ""
	case strings.Contains(msg, "could not find '"):
		msg, hint = "a bracket is closed that was not opened", ""
	case strings.Contains(msg, "non-map value"):
		msg, hint = "a field was expected here", "write \"name: value\""
	case strings.Contains(msg, "mapping value is not allowed"):
		msg, hint = "a second \": \" in one value", "put text that holds \": \" in quotes"
	case strings.Contains(msg, "block sequence entries"):
		msg, hint = "a list entry can't start here", "start each \"- \" on its own line, or write [a, b]"
	case strings.Contains(msg, "value is not allowed in this context"):
		msg, hint = "this can't stand here", "is a quote missing, or the indentation off?"
	default:
		msg = "this is not YAML: " + msg
	}
	r.error(tokenPlace(t), msg, hint)
}

// node turns the parser's node into ours, and refuses equal fields.
func (r *reading) node(n ast.Node, key *node, depth int) *node {
	out := &node{key: key}
	if key != nil {
		out.secret = key.secret || secretName(key.text)
	}
	if depth > maxNest {
		r.error(tokenPlace(n.GetToken()), fmt.Sprintf("nested more than %d deep", maxNest), "")
		return out
	}
	out.place = tokenPlace(n.GetToken())
	switch n := n.(type) {
	case *ast.NullNode:
		out.kind, out.text = kindNull, n.GetToken().Value
	case *ast.StringNode:
		out.kind, out.text = kindText, n.Value
		r.checkText(out)
	case *ast.IntegerNode:
		out.kind, out.text = kindInt, n.GetToken().Value
	case *ast.FloatNode:
		out.kind, out.text = kindFloat, n.GetToken().Value
	case *ast.BoolNode:
		out.kind, out.text = kindBool, n.GetToken().Value
	case *ast.MappingNode:
		out.kind = kindMap
		r.mapping(out, n.Values, n.IsFlowStyle, depth)
	case *ast.MappingValueNode:
		out.kind = kindMap
		r.mapping(out, []*ast.MappingValueNode{n}, false, depth)
	case *ast.SequenceNode:
		out.kind = kindList
		if len(n.Values) > maxItems {
			r.error(out.place, fmt.Sprintf("a list of more than %d", maxItems), "")
			break
		}
		for _, v := range n.Values {
			item := r.node(v, nil, depth+1)
			item.secret = out.secret
			out.items = append(out.items, item)
		}
	default:
		out.kind, out.text = kindFloat, n.GetToken().Value // .inf, .nan and what may come: nowhere wanted
	}
	out.span = r.span(out)
	return out
}

func (r *reading) mapping(out *node, values []*ast.MappingValueNode, flow bool, depth int) {
	seen := map[string]int{}
	if len(values) > maxFields {
		r.error(out.place, fmt.Sprintf("more than %d fields at one place", maxFields), "")
		return
	}
	for i, v := range values {
		k := r.node(v.Key, nil, depth+1)
		k.secret = out.secret
		if i == 0 && !flow {
			out.place = k.place // a block starts with its first field, not with that one's colon
		}
		if k.kind != kindText {
			r.hide(r.node(v.Value, k, depth+1))
			r.error(k.place, "a field's name must be text", "put it in quotes")
			continue
		}
		if line, twice := seen[k.text]; twice {
			r.hide(r.node(v.Value, k, depth+1)) // it may be the second of one that is not known
			r.error(k.place, fmt.Sprintf("%s is given twice", quoted(k)), fmt.Sprintf("the first is in line %d", line))
			continue
		}
		seen[k.text] = k.line
		out.fields = append(out.fields, r.node(v.Value, k, depth+1))
	}
}

// checkText refuses what escapes can bring into a text.
func (r *reading) checkText(n *node) {
	bad := func(c rune) bool {
		return unicode.IsControl(c) || c == utf8.RuneError || unicode.Is(unicode.Bidi_Control, c)
	}
	if !utf8.ValidString(n.text) || strings.ContainsFunc(n.text, bad) {
		r.error(n.place, "this text holds an invisible character", "")
	}
}

var (
	doubleQuoted = regexp.MustCompile(`^"(?:[^"\\]|\\.)*"`)
	singleQuoted = regexp.MustCompile(`^'(?:[^']|'')*'`)
)

// span is how many characters of its line a value takes.
func (r *reading) span(n *node) int {
	if n.line < 1 || n.line > len(r.lines) || n.kind == kindMap || n.kind == kindList {
		return max(n.span, 1)
	}
	line := r.runes(n.line)
	if n.col < 1 || n.col > len(line) {
		return 1
	}
	if first := line[n.col-1]; first == '"' || first == '\'' {
		rest := string(line[n.col-1:])
		for _, q := range []*regexp.Regexp{doubleQuoted, singleQuoted} {
			if m := q.FindString(rest); m != "" {
				return utf8.RuneCountInString(m)
			}
		}
	}
	return max(1, min(utf8.RuneCountInString(n.text), len(line)-n.col+1))
}

// runes is a line in characters; it keeps the last one, which may be long and
// hold many values.
func (r *reading) runes(line int) []rune {
	if r.wideAt != line {
		r.wideAt, r.wide = line, []rune(r.lines[line-1])
	}
	return r.wide
}

func tokenPlace(t *token.Token) place {
	if t == nil || t.Position == nil {
		return place{}
	}
	text, _, _ := strings.Cut(strings.TrimSpace(t.Origin), "\n")
	return place{t.Position.Line, max(t.Position.Column, 1), max(1, utf8.RuneCountInString(strings.TrimSpace(text)))}
}

// maxQuoted is how much of a value is repeated in a message.
const maxQuoted = 60

// quoted is a value as it may be shown in a message.
func quoted(n *node) string {
	if n.secret || vaultToken.MatchString(n.text) || secretKey.MatchString(n.text) {
		return `"` + mask + `"`
	}
	text := redact(n.text)
	if c := []rune(text); len(c) > maxQuoted {
		text = string(c[:maxQuoted]) + "…"
	}
	return `"` + text + `"`
}
