package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// Severity says whether a diagnostic stops the configuration from being used.
type Severity string

// The severities.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
)

// Diagnostic is one thing wrong with, or noteworthy about, the file. No part of
// it holds what looks like a secret: that is shown as "…".
type Diagnostic struct {
	File     string   `json:"file"`
	Line     int      `json:"line,omitempty"` // from 1; 0 is the file as a whole
	Col      int      `json:"col,omitempty"`  // in characters, from 1
	Severity Severity `json:"severity"`
	Msg      string   `json:"message"`
	Hint     string   `json:"hint,omitempty"`
	Source   string   `json:"source,omitempty"` // the line, or the part of it that matters
	Span     int      `json:"span,omitempty"`   // characters of Source that are meant

	caret int // where Span starts in Source, from 0
}

// Format is the diagnostic for a reader: the place, what is wrong, the line
// with the offending text underlined, and what to do. A warning has no line.
func (d *Diagnostic) Format() string {
	var b strings.Builder
	b.WriteString(d.File)
	if d.Line > 0 {
		fmt.Fprintf(&b, ":%d", d.Line)
	}
	if d.Col > 0 && d.Severity == Error {
		fmt.Fprintf(&b, ":%d", d.Col)
	}
	fmt.Fprintf(&b, ": %s: %s", d.Severity, d.Msg)
	if d.Source != "" && d.Severity == Error {
		fmt.Fprintf(&b, "\n%5d | %s", d.Line, d.Source)
		fmt.Fprintf(&b, "\n%s%s", strings.Repeat(" ", len("    0 | ")+d.caret), strings.Repeat("^", max(d.Span, 1)))
	}
	if d.Hint != "" {
		b.WriteString("\n  hint: " + d.Hint)
	}
	return b.String()
}

// Errors is every diagnostic of a file that was refused, sorted by place, the
// warnings too.
type Errors []Diagnostic

// Error is all of them, formatted, with a closing line that counts them.
func (e Errors) Error() string { return Format(e) }

// Format writes diagnostics one under the other, and counts them.
func Format(ds []Diagnostic) string {
	out := make([]string, 0, len(ds)+1)
	for i := range ds {
		out = append(out, ds[i].Format())
	}
	return strings.Join(append(out, Summary(ds)), "\n")
}

// Summary counts diagnostics: "1 error, 2 warnings".
func Summary(ds []Diagnostic) string {
	errs, warns := 0, 0
	for i := range ds {
		if ds[i].Severity == Error {
			errs++
		} else {
			warns++
		}
	}
	return plural(errs, "error") + ", " + plural(warns, "warning")
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

func hasErrors(ds []Diagnostic) bool {
	return slices.ContainsFunc(ds, func(d Diagnostic) bool { return d.Severity == Error })
}

// maxDiagnostics bounds how much is said about one file.
const maxDiagnostics = 100

// finding is a diagnostic before its line is looked up: which parts of the line
// may be shown is only known at the end.
type finding struct {
	at        place
	severity  Severity
	msg, hint string
}

// diagnostics sorts what was found by place, and cuts what is too much.
func (r *reading) diagnostics() []Diagnostic {
	found := r.found
	slices.SortStableFunc(found, func(a, b finding) int {
		return cmp.Or(cmp.Compare(a.at.line, b.at.line), cmp.Compare(a.at.col, b.at.col), cmp.Compare(a.severity, b.severity))
	})
	more := max(0, len(found)-maxDiagnostics)
	var ds []Diagnostic
	for i := range found[:len(found)-more] {
		ds = append(ds, r.diagnostic(&found[i]))
	}
	if more > 0 {
		last := Diagnostic{File: r.file, Severity: Warning, Msg: fmt.Sprintf("%d more problems are not shown", more)}
		if slices.ContainsFunc(found, func(f finding) bool { return f.severity == Error }) {
			last.Severity = Error
		}
		ds = append(ds, last)
	}
	return ds
}

// diagnostic fills in the source line, with secrets blanked out.
func (r *reading) diagnostic(f *finding) Diagnostic {
	d := Diagnostic{File: r.file, Severity: f.severity, Msg: redact(f.msg), Hint: redact(f.hint)}
	if f.at.line < 1 || f.at.line > len(r.lines) {
		return d
	}
	src := r.runes(f.at.line)
	start := min(max(f.at.col-1, 0), len(src))
	end := min(start+max(f.at.span, 1), len(src))
	d.Line, d.Col = f.at.line, start+1
	if r.foreign {
		return d
	}
	src, start, end = blank(src, r.secrets(f.at.line), start, end)
	src, start, end = window(src, start, end)
	d.caret, d.Span = start, max(end-start, 1)
	for i, c := range src {
		switch {
		case c == '\t':
			src[i] = ' '
		case !unicode.IsPrint(c):
			src[i] = unicode.ReplacementChar
		}
	}
	d.Source = strings.TrimRight(string(src), " ")
	return d
}

// secrets finds the stretches of a line that must not be shown, once for all
// that is said about it.
func (r *reading) secrets(line int) []stretch {
	if r.blanks == nil {
		r.blanks = map[int][]stretch{}
	}
	s, done := r.blanks[line]
	if !done {
		s = merge(append(secretsOf(r.lines, line-1), r.hidden[line]...))
		r.blanks[line] = s
	}
	return s
}

// maxSource is how much of a line is shown.
const maxSource = 120

// window cuts a long line down to the part around the caret.
func window(src []rune, start, end int) (cut []rune, from, to int) {
	if len(src) <= maxSource {
		return src, start, end
	}
	first := max(0, start-maxSource/3)
	last := min(len(src), first+maxSource)
	end = min(end, last)
	if first > 0 {
		src[first] = '…'
	}
	return src[first:last], start - first, max(end-first, start-first+1)
}
