package config

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"stagedoor/policy"
)

// reading is one pass over one file.
type reading struct {
	file  string // as it was given
	base  string // its last part, for rules
	lines []string
	found []finding
	cfg   *Config
	seen  seen
	now   time.Time
	open  Snapshots // nil: nothing is known of the site's schema

	coverWork  int // what is left of maxCoverWork
	conditions map[string]*policy.Condition

	wideAt  int // the line that wide is, from 1
	wide    []rune
	foreign bool              // this is no configuration: no line of it is shown
	hidden  map[int][]stretch // by line: what hide was told of
	blanks  map[int][]stretch // by line: all that is not shown
}

func (r *reading) error(at place, msg, hint string) {
	r.found = append(r.found, finding{at, Error, msg, hint})
}

func (r *reading) warn(at place, msg, hint string) {
	r.found = append(r.found, finding{at, Warning, msg, hint})
}

// value is an error about a field's value.
func (r *reading) value(n *node, what, hint string) {
	name := n.name()
	if name != "" {
		name += ": "
	}
	r.error(n.where(), name+what, hint)
}

// reader takes a value in, or says what is wrong with it.
type reader func(*node)

// field is one that may stand at some place of the file.
type field struct {
	name string
	read reader
	need string // an example of the value where the field must be given
}

// object reads fields by name. It refuses those that are not known, those that
// a later version will bring, and missing ones.
func (r *reading) object(n *node, where string, fields []field, later ...string) bool {
	if n.kind != kindMap {
		names := make([]string, len(fields))
		for i, f := range fields {
			names[i] = f.name
		}
		r.hide(n)
		r.value(n, "fields are wanted here, this is "+n.kind.String(), "known here: "+strings.Join(names, ", "))
		return false
	}
	for _, v := range n.fields {
		i := slices.IndexFunc(fields, func(f field) bool { return f.name == v.key.text })
		if i < 0 {
			r.hide(v)
			r.unknown(v.key, where, fields, later)
			continue
		}
		if v.kind == kindNull {
			r.error(v.key.place, v.name()+" has no value", "give it one, or remove the line")
			continue
		}
		fields[i].read(v)
	}
	for _, f := range fields {
		if f.need != "" && n.field(f.name) == nil {
			at := place{}
			if n.key != nil {
				at = n.key.place
			} else if where != "" {
				at = n.place
			}
			r.error(at, strings.TrimSpace(where+" "+f.name+" is missing"), "add "+f.name+": "+f.need)
		}
	}
	return true
}

// field is the value of a field, or nil.
func (n *node) field(name string) *node {
	for _, f := range n.fields {
		if f.key.text == name {
			return f
		}
	}
	return nil
}

func (r *reading) unknown(key *node, where string, fields []field, later []string) {
	in := " at the top level"
	if where != "" {
		in = " in " + where
	}
	known := make([]string, len(fields))
	for i, f := range fields {
		known[i] = f.name
	}
	switch {
	case slices.Contains(later, key.text):
		r.error(key.place, fmt.Sprintf("%s%s is not yet known by this version", key.text, in), "remove it, or use a newer stagedoor")
	case secretName(key.text):
		r.error(key.place, fmt.Sprintf("%s%s: no secret belongs in this file", key.text, in), "name a file that holds it (login: {token_file: PATH}) or a path in Vault (active: PATH)")
	default:
		r.error(key.place, "unknown field "+quoted(key)+in, didYouMean(key.text, known))
	}
}

// scalar is a value's text where it is one of the kinds.
func (r *reading) scalar(n *node, want string, kinds ...kind) (string, bool) {
	if slices.Contains(kinds, n.kind) {
		return n.text, true
	}
	hint := ""
	if slices.Contains(kinds, kindText) && n.kind != kindMap && n.kind != kindList && !n.secret {
		hint = fmt.Sprintf("put it in quotes: %q", n.text)
	}
	r.value(n, want+" is wanted here, this is "+n.kind.String(), hint)
	return "", false
}

// maxText is the length of a text in characters.
const maxText = 1024

// text reads any text.
func (r *reading) text(dst *string) reader {
	return r.textLike(dst, nil)
}

// textLike reads a text that check finds nothing wrong with.
func (r *reading) textLike(dst *string, check func(string) (msg, hint string)) reader {
	return func(n *node) {
		s, ok := r.scalar(n, "text", kindText)
		switch {
		case !ok:
			return
		case strings.TrimSpace(s) == "":
			r.value(n, "empty", "give it a value, or remove the line")
			return
		case s != strings.TrimSpace(s):
			r.value(n, "there is white space around "+quoted(n), "remove it")
			return
		case utf8.RuneCountInString(s) > maxText:
			r.value(n, fmt.Sprintf("longer than %d characters", maxText), "")
			return
		}
		if check != nil {
			if msg, hint := check(s); msg != "" {
				r.value(n, quoted(n)+" "+msg, hint)
				return
			}
		}
		*dst = s
	}
}

// texts reads a text or a list of them.
func (r *reading) texts(dst *[]string, each func(*string) reader) reader {
	return func(n *node) {
		items := n.items
		switch {
		case n.kind != kindList:
			items = []*node{n}
		case len(items) == 0:
			r.value(n, "an empty list", "name something, or remove the line")
			return
		}
		out := make([]string, 0, len(items))
		for _, it := range items {
			var s string
			if each(&s)(it); s == "" {
				continue
			}
			if slices.Contains(out, s) {
				r.error(it.place, quoted(it)+" is listed twice", "")
				continue
			}
			out = append(out, s)
		}
		*dst = out
	}
}

// path reads the absolute path of a file. What is no path may be the key itself.
func (r *reading) path(dst *string) reader {
	read := r.textLike(dst, func(s string) (msg, hint string) {
		switch {
		case vaultToken.MatchString(s):
			return "looks like a Vault token: no secret belongs in this file", "put it in a file with mode 0600, and name that file"
		case !absolute(s):
			return "is no absolute path", "write it from the root, for example /etc/stagedoor/" + lastPart(s)
		}
		return "", ""
	})
	return func(n *node) {
		if n.kind != kindText || !pathLike(n.text) {
			r.hide(n)
		}
		read(n)
	}
}

func lastPart(s string) string {
	if !pathLike(s) {
		return "FILE"
	}
	s = s[strings.LastIndexAny(s, `/\`)+1:]
	if s == "" || s == "." || s == ".." || s == "~" {
		return "FILE"
	}
	return s
}

// word reads one of a few words.
func (r *reading) word(dst *string, words ...string) reader {
	return func(n *node) {
		s, ok := r.scalar(n, strings.Join(words, " or "), kindText)
		if !ok {
			return
		}
		if !slices.Contains(words, s) {
			r.value(n, quoted(n)+" is not known", didYouMean(s, words))
			return
		}
		*dst = s
	}
}

// onOff reads on or off.
func (r *reading) onOff(dst *bool) reader {
	return func(n *node) {
		switch {
		case n.kind == kindText && n.text == "on":
			*dst = true
		case n.kind == kindText && n.text == "off":
			*dst = false
		default:
			r.value(n, "on or off is wanted here", "")
		}
	}
}

// boolean reads true or false.
func (r *reading) boolean(dst *bool) reader {
	return func(n *node) {
		if n.kind != kindBool || n.text != "true" && n.text != "false" {
			r.value(n, "true or false is wanted here", "")
			return
		}
		*dst = n.text == "true"
	}
}

// count reads a whole number between two bounds.
func (r *reading) count(dst *int, lo, hi int) reader {
	whole := regexp.MustCompile(`^(0|[1-9][0-9]*)$`)
	return func(n *node) {
		v, err := strconv.Atoi(n.text)
		if n.kind != kindInt || !whole.MatchString(n.text) || err != nil || v < lo || v > hi {
			r.value(n, fmt.Sprintf("a whole number from %d to %d is wanted here", lo, hi), "")
			return
		}
		*dst = v
	}
}

// duration reads a time with its unit, between two bounds.
func (r *reading) duration(dst *time.Duration, lo, hi time.Duration) reader {
	return func(n *node) {
		if n.kind != kindText && n.kind != kindInt && n.kind != kindFloat {
			r.value(n, "a duration is wanted here, this is "+n.kind.String(), "write 20s, 10m or 24h")
			return
		}
		v, err := time.ParseDuration(n.text)
		switch {
		case n.kind != kindText:
			r.value(n, quoted(n)+" has no unit", fmt.Sprintf("write %ss, %sm or %sh", n.text, n.text, n.text))
		case err != nil || strings.ContainsAny(n.text, "+-"):
			r.value(n, quoted(n)+" is no duration", "write 20s, 10m or 24h")
		case v < lo || v > hi:
			r.value(n, fmt.Sprintf("%s is out of bounds: from %s to %s", quoted(n), showDuration(lo), showDuration(hi)), "")
		default:
			*dst = v
		}
	}
}

// showDuration leaves out the zeros of 10m0s.
func showDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// size reads a number of bytes with its unit, between two bounds.
func (r *reading) size(dst *int64, lo, hi int64) reader {
	form := regexp.MustCompile(`^([1-9][0-9]{0,9})(KiB|MiB|GiB)$`)
	return func(n *node) {
		m := form.FindStringSubmatch(n.text)
		if n.kind != kindText || m == nil {
			hint := "write 512KiB, 32MiB or 1GiB"
			if n.kind == kindInt {
				hint = "say in what: " + hint[len("write "):]
			}
			r.value(n, quoted(n)+" is no size", hint)
			return
		}
		v, _ := strconv.ParseInt(m[1], 10, 64) // ten digits fit
		switch m[2] {
		case "KiB":
			v <<= 10
		case "MiB":
			v <<= 20
		case "GiB":
			v <<= 30
		}
		if v < lo || v > hi {
			r.value(n, fmt.Sprintf("%s is out of bounds: from %s to %s", quoted(n), showSize(lo), showSize(hi)), "")
			return
		}
		*dst = v
	}
}

func showSize(v int64) string {
	switch {
	case v%(1<<30) == 0:
		return strconv.FormatInt(v>>30, 10) + "GiB"
	case v%(1<<20) == 0:
		return strconv.FormatInt(v>>20, 10) + "MiB"
	}
	return strconv.FormatInt(v>>10, 10) + "KiB"
}

// rate reads calls per second: 20/s, 0.5/s, 90/m.
func (r *reading) rate(dst *float64) reader {
	form := regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)/(s|m)$`)
	return func(n *node) {
		m := form.FindStringSubmatch(n.text)
		if n.kind != kindText || m == nil {
			r.value(n, quoted(n)+" is no rate", "write 20/s, 0.5/s or 90/m")
			return
		}
		v, err := strconv.ParseFloat(m[1], 64)
		if m[2] == "m" {
			v /= 60
		}
		if err != nil || v < MinRate || v > MaxRate {
			r.value(n, fmt.Sprintf("%s is out of bounds: from %s to %s", quoted(n), showRate(MinRate), showRate(MaxRate)), "")
			return
		}
		*dst = v
	}
}

// showRate writes a rate so that reading it gives the same number.
func showRate(v float64) string {
	if m := math.Round(v * 60); v != math.Trunc(v) && m/60 == v {
		return strconv.FormatFloat(m, 'f', -1, 64) + "/m"
	}
	return strconv.FormatFloat(v, 'f', -1, 64) + "/s"
}
