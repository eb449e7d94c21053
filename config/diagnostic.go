package config

import (
	"cmp"
	"fmt"
	"regexp"
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

// finish sorts by place and cuts what is too much.
func finish(file string, ds []Diagnostic) []Diagnostic {
	slices.SortStableFunc(ds, func(a, b Diagnostic) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col), cmp.Compare(a.Severity, b.Severity))
	})
	if len(ds) <= maxDiagnostics {
		return ds
	}
	refused, more := hasErrors(ds), len(ds)-maxDiagnostics
	ds = append(slices.Clip(ds[:maxDiagnostics]), Diagnostic{
		File: file, Severity: Warning, Msg: fmt.Sprintf("%d more problems are not shown", more),
	})
	if refused {
		ds[maxDiagnostics].Severity = Error
	}
	return ds
}

// newDiagnostic fills in the source line, with secrets blanked out.
func newDiagnostic(file string, lines []string, at place, s Severity, msg, hint string) Diagnostic {
	d := Diagnostic{File: file, Severity: s, Msg: msg, Hint: hint}
	if at.line < 1 || at.line > len(lines) {
		return d
	}
	src := []rune(lines[at.line-1])
	start := min(max(at.col-1, 0), len(src))
	end := min(start+max(at.span, 1), len(src))
	d.Line, d.Col = at.line, start+1
	src, start, end = blank(src, secretsOf(lines, at.line-1), start, end)
	src, start, end = window(src, start, end)
	d.caret, d.Span = start, max(end-start, 1)
	for i, r := range src {
		switch {
		case r == '\t':
			src[i] = ' '
		case !unicode.IsPrint(r):
			src[i] = unicode.ReplacementChar
		}
	}
	d.Source = strings.TrimRight(string(src), " ")
	return d
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

// stretch is a part of a line, in characters.
type stretch struct{ from, to int }

// blank puts "…" in place of each stretch and moves start and end along.
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
		shown = append(append(shown, src[last:h.from]...), '…')
		last = h.to
	}
	shown = append(shown, src[last:]...)
	from = move(start)
	return shown, from, max(move(end), from+1)
}

var (
	// secretKey finds a field whose name says that its value is a secret.
	secretKey = regexp.MustCompile(`(?i)(?:^|[\s{,\["'])(?:[a-z0-9_.-]*[_.-])?(?:token|secret|secret_id|secretid|api_?key|passw(?:or)?d|passphrase|private_key|credentials?)["']?[ \t]*:[ \t]*`)
	// userInfo finds user and password in a URL.
	userInfo = regexp.MustCompile(`://[^/\s"'@]*@`)
	// vaultToken finds what looks like a Vault token.
	vaultToken = regexp.MustCompile(`\b(?:hv[sbr]\.[A-Za-z0-9_-]{4,}|[sbr]\.[A-Za-z0-9]{20,})`)
)

// secretName says whether a field of this name would hold a secret.
func secretName(name string) bool { return secretKey.MatchString(name + ":") }

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
			return []stretch{runes(line, indent, len(line))}
		}
	}
	var out []stretch
	for _, m := range userInfo.FindAllStringIndex(line, -1) {
		if m[1]-m[0] > len("://@") {
			out = append(out, runes(line, m[0]+len("://"), m[1]-1))
		}
	}
	for _, m := range vaultToken.FindAllStringIndex(line, -1) {
		out = append(out, runes(line, m[0], m[1]))
	}
	if m := secretKey.FindStringIndex(line); m != nil && m[1] < len(line) {
		out = append(out, runes(line, m[1], len(line)))
	}
	return merge(out)
}

// runes turns a stretch of bytes into one of characters.
func runes(line string, from, to int) stretch {
	n := len([]rune(line[:from]))
	return stretch{n, n + len([]rune(line[from:to]))}
}

// merge sorts stretches and joins those that overlap.
func merge(in []stretch) []stretch {
	slices.SortFunc(in, func(a, b stretch) int { return cmp.Compare(a.from, b.from) })
	var out []stretch
	for _, s := range in {
		if n := len(out); n > 0 && s.from <= out[n-1].to {
			out[n-1].to = max(out[n-1].to, s.to)
			continue
		}
		out = append(out, s)
	}
	return out
}

func indentOf(line string) int { return len(line) - len(strings.TrimLeft(line, " \t-")) }
