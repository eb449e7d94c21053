package cli

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"stagedoor/config"
)

// Rules are put into a configuration as text, at one place: whatever else is in
// the file, comments and blank lines included, stays as it is, byte for byte.

// maxConfigText bounds a configuration that is written to, in bytes.
const maxConfigText = config.MaxFile

// writeTo puts the rules into a file. What comes out has to be a configuration
// that allows what was learnt and differs in nothing else.
func (l *lesson) writeTo(path string) error {
	target, err := filepath.EvalSymlinks(path) // the file changes, not the link to it
	if err != nil {
		return fmt.Errorf("finding the configuration: %w", err)
	}
	f, err := os.Open(filepath.Clean(target))
	if err != nil {
		return fmt.Errorf("opening the configuration: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	old, err := readBounded(f, maxConfigText)
	if err != nil {
		return err
	}
	text, err := insertRules(old, l.s.Name, l.blocks(), l.flow())
	if err != nil {
		return fmt.Errorf("%s: %w; paste the rules by hand", path, err)
	}
	if err := l.proveWritten(path, old, text); err != nil {
		return fmt.Errorf("%s was left as it is: %w", path, err)
	}
	return replaceFile(target, text)
}

// flow is the rules as they stand in a list in brackets.
func (l *lesson) flow() string {
	out := make([]string, len(l.rules))
	for i := range l.rules {
		out[i] = ruleYAML(&l.rules[i])
		if len(l.rules[i].Targets) > 0 {
			out[i] = "{" + out[i] + "}"
		}
	}
	return strings.Join(out, ", ")
}

// proveWritten reads the text as serve would.
func (l *lesson) proveWritten(path string, old, text []byte) error {
	was, ds := config.Parse(path, old)
	if was == nil {
		return fmt.Errorf("it is wrong as it is: %s", firstError(ds))
	}
	is, ds := config.Parse(path, text)
	if is == nil {
		return fmt.Errorf("the rules make it wrong: %s", firstError(ds))
	}
	b := newRulebook(path, is)
	s := b.scripts[l.s.Name]
	if s == nil {
		return fmt.Errorf("it has no script %s", l.s.Name)
	}
	for _, d := range diffBooks(newRulebook(path, was), b) {
		if d.script != l.s.Name || d.sign != signMore {
			return fmt.Errorf("the rules would change more than they should: %s", d.line())
		}
	}
	return l.check(s)
}

// insertRules puts rules behind those that a script has.
func insertRules(text []byte, script string, blocks []string, flow string) ([]byte, error) {
	tree, err := parser.ParseBytes(text, 0)
	if err != nil {
		return nil, yamlError(err)
	}
	if len(tree.Docs) != 1 {
		return nil, errors.New("it is not one document")
	}
	in := &insertion{lines: strings.SplitAfter(string(text), "\n"), blocks: blocks, flow: flow}
	if strings.HasSuffix(in.lines[0], "\r\n") {
		in.ending = "\r"
	}
	scripts, _ := mapValue(tree.Docs[0].Body, "scripts")
	body, key := mapValue(scripts, script)
	if body == nil {
		return nil, fmt.Errorf("the script %s can't be found", script)
	}
	allow, _ := mapValue(body, "allow")
	switch v := allow.(type) {
	case nil:
		return in.newList(body, key)
	case *ast.SequenceNode:
		if v.IsFlowStyle {
			return in.before(v.End, len(v.Values) > 0, flow)
		}
		return in.behind(v)
	}
	return nil, errors.New("its allow list is not a list")
}

// mapValue finds a field of a mapping.
func mapValue(n ast.Node, name string) (value ast.Node, key *token.Token) {
	m, ok := n.(*ast.MappingNode)
	if !ok {
		return nil, nil
	}
	for _, v := range m.Values {
		if t := v.Key.GetToken(); t.Value == name {
			return v.Value, t
		}
	}
	return nil, nil
}

// insertion is a text and what goes into it.
type insertion struct {
	lines  []string // each with its end
	ending string   // before the line feed
	blocks []string
	flow   string
}

// newList gives a script its first allow list.
func (in *insertion) newList(body ast.Node, key *token.Token) ([]byte, error) {
	m, ok := body.(*ast.MappingNode)
	if !ok || len(m.Values) == 0 {
		return nil, fmt.Errorf("the script %s has no fields", key.Value)
	}
	if m.IsFlowStyle {
		return in.before(m.End, true, "allow: ["+in.flow+"]")
	}
	first := m.Values[0].Key.GetToken().Position
	at := in.end(first.Line, first.Column)
	indent := strings.Repeat(" ", first.Column-1)
	return in.insert(at, indent, append([]string{"allow:"}, indented("  ", in.blocks)...)), nil
}

// behind adds to a list whose items stand in lines of their own.
func (in *insertion) behind(list *ast.SequenceNode) ([]byte, error) {
	dash := list.Start.Position
	at := in.end(dash.Line, dash.Column)
	return in.insert(at, strings.Repeat(" ", dash.Column-1), in.blocks), nil
}

// end is how many lines there are up to the end of the block that begins at a
// line and column: to the last line that is not blank or a comment, before one
// that is less indented, or that is indented alike and no item where the block is
// a list.
func (in *insertion) end(line, column int) int {
	list := strings.HasPrefix(strings.TrimLeft(in.lines[line-1], " "), "-")
	last := line
	for i := line; i < len(in.lines); i++ {
		trimmed := strings.TrimSpace(in.lines[i])
		indent := len(in.lines[i]) - len(strings.TrimLeft(in.lines[i], " ")) + 1
		switch {
		case trimmed == "" || strings.HasPrefix(trimmed, "#"):
			continue
		case indent < column, indent == column && list && trimmed != "-" && !strings.HasPrefix(trimmed, "- "):
			return last
		}
		last = i + 1
	}
	return last
}

// insert puts lines in behind the first at lines.
func (in *insertion) insert(at int, indent string, what []string) []byte {
	var b bytes.Buffer
	for _, l := range in.lines[:at] {
		b.WriteString(l)
	}
	if !strings.HasSuffix(in.lines[at-1], "\n") {
		b.WriteString(in.ending + "\n")
	}
	for _, l := range what {
		b.WriteString(indent + l + in.ending + "\n")
	}
	for _, l := range in.lines[at:] {
		b.WriteString(l)
	}
	return b.Bytes()
}

func indented(by string, lines []string) []string {
	out := make([]string, len(lines))
	for i, l := range lines {
		out[i] = by + l
	}
	return out
}

// before puts text before the bracket that ends a list or a mapping.
func (in *insertion) before(end *token.Token, more bool, text string) ([]byte, error) {
	if end == nil || end.Position.Line > len(in.lines) {
		return nil, errors.New("the end of its allow list can't be found")
	}
	line := in.lines[end.Position.Line-1]
	at := byteOf(line, end.Position.Column)
	if at >= len(line) || line[at] != ']' && line[at] != '}' {
		return nil, errors.New("the end of its allow list can't be found")
	}
	head := strings.Join(in.lines[:end.Position.Line-1], "") + line[:at]
	tail := line[at:] + strings.Join(in.lines[end.Position.Line:], "")
	if more && !endsInComma(head) {
		text = ", " + text
	}
	return []byte(head + text + tail), nil
}

// endsInComma says whether a text ends in a comma, comments left out.
func endsInComma(text string) bool {
	for text != "" {
		i := strings.LastIndexByte(text, '\n')
		line := strings.TrimSpace(text[i+1:])
		if c := strings.Index(" "+line, " #"); c >= 0 {
			line = strings.TrimSpace(line[:c])
		}
		if line != "" {
			return strings.HasSuffix(line, ",")
		}
		if i < 0 {
			break
		}
		text = text[:i]
	}
	return false
}

// byteOf is where the character of a column, from 1, begins.
func byteOf(line string, column int) int {
	at := 0
	for range column - 1 {
		if at >= len(line) {
			break
		}
		_, n := utf8.DecodeRuneInString(line[at:])
		at += n
	}
	return at
}

// replaceFile puts a new content in a file's place, all of it or nothing, with
// the file's own mode and owner.
func replaceFile(path string, text []byte) (err error) {
	st, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("looking at the configuration: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("writing the configuration: %w", err)
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	if err := f.Chmod(st.Mode().Perm()); err != nil {
		return fmt.Errorf("writing the configuration: %w", err)
	}
	if err := keepOwner(f, st); err != nil {
		return fmt.Errorf("writing the configuration: %w", err)
	}
	if _, err := f.Write(text); err != nil {
		return fmt.Errorf("writing the configuration: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("writing the configuration: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("writing the configuration: %w", err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("writing the configuration: %w", err)
	}
	return nil
}
