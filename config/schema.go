package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"stagedoor/flow"
	"stagedoor/policy"
	"stagedoor/schema"
)

// SchemaName is where the snapshot of the site's schema is, beside the
// configuration, unless the file says otherwise.
const SchemaName = "stagedoor.schema.json"

// MaxSchemaAge is how old a snapshot gets before there is a warning: studios add
// fields every week.
const MaxSchemaAge = 90 * 24 * time.Hour

// pull is how a snapshot is renewed.
const pull = "stagedoor schema pull"

// schemaFile reads the path of the snapshot: absolute, or from the folder of the
// configuration.
func (r *reading) schemaFile(n *node) {
	r.seen.schema = n
	read := r.textLike(&r.cfg.Schema, func(s string) (msg, hint string) {
		if !pathLike(s) {
			return "is no path of a file", "write a file's name, beside this one, or its path from the root: " + SchemaName
		}
		return "", ""
	})
	if n.kind != kindText || !pathLike(n.text) {
		r.hide(n)
	}
	read(n)
}

// SchemaPath is where the snapshot of the site's schema is, for the
// configuration at path.
func (c *Config) SchemaPath(path string) string {
	name := c.Schema
	switch {
	case name == "":
		name = SchemaName
	case absolute(name):
		return name
	}
	return filepath.Join(filepath.Dir(path), name)
}

// Snapshots reads the snapshot of the site's schema at path. Its error wraps
// [fs.ErrNotExist] where there is no file; see [schema.Read].
type Snapshots func(path string) (*schema.Snapshot, error)

// LoadWith is [Load], and holds the rules against what is known of the site's
// schema.
func LoadWith(path string, open Snapshots) (*Config, error) { return load(path, true, open) }

// InspectWith is [Inspect], and holds the rules against what is known of the
// site's schema.
func InspectWith(path string, open Snapshots) (*Config, error) { return load(path, false, open) }

// againstSchema holds all rules against the snapshot, if there is one.
func (r *reading) againstSchema() {
	if r.open == nil {
		return
	}
	at := place{}
	if n := r.seen.schema; n != nil {
		at = n.place
	}
	s, err := r.open(r.cfg.SchemaPath(r.file))
	switch {
	case errors.Is(err, fs.ErrNotExist) && r.seen.schema == nil:
		return
	case errors.Is(err, fs.ErrNotExist):
		r.error(at, "there is no such file", pull+" makes it")
		return
	case err != nil:
		r.error(at, err.Error(), pull+" makes it anew")
		return
	case r.cfg.Site != "" && withoutPort(s.Site) != withoutPort(r.cfg.Site):
		r.error(at, fmt.Sprintf("the schema beside this file is of %s, and the site is %s", s.Site, r.cfg.Site), pull+" makes it anew")
		return
	}
	k := &known{Snapshot: s, folded: map[string]string{}, date: s.Pulled.Format(time.DateOnly)}
	k.types = slices.Sorted(maps.Keys(s.Types))
	for _, t := range k.types {
		k.folded[strings.ToLower(t)] = t
	}
	if age := r.now.Sub(s.Pulled); age > MaxSchemaAge {
		r.warn(at, fmt.Sprintf("what is known of the site's schema is %d days old (%s)", int(age.Hours()/24), k.date), pull+" makes it anew")
	}
	for _, o := range r.seen.roleOrder {
		r.holdAgainst(k, &o.allow)
		r.holdAgainst(k, &o.deny)
	}
	for i := range r.seen.scripts {
		r.holdAgainst(k, &r.seen.scripts[i].allowed)
		r.holdAgainst(k, &r.seen.scripts[i].denied)
	}
}

func withoutPort(site string) string {
	return strings.TrimSuffix(strings.ToLower(strings.TrimSuffix(site, "/")), ":443")
}

// known is a snapshot, and its names by other ways.
type known struct {
	*schema.Snapshot
	types  []string          // sorted
	folded map[string]string // lower case to the site's spelling
	date   string
}

// unlisted says whether calls may name a type that schema_read doesn't list: what
// connects records of two types.
func unlisted(typ string) bool { return strings.HasSuffix(typ, "_Connection") }

// implied says whether calls may name a field that schema_read doesn't list.
func implied(field string) bool {
	switch field {
	case "id", "type", "cached_display_name", "attachments", "image", "filmstrip_image":
		return true
	}
	return false
}

// holdAgainst looks for types and fields that the site doesn't have.
func (r *reading) holdAgainst(k *known, set *ruleSet) {
	for i := range set.rules {
		rule, pos := &set.rules[i], set.pos[i]
		for j, t := range rule.Targets {
			if rule.Verb != "presets" {
				r.targetAgainst(k, set, rule, t, pos.targets[j], pos.fields[j])
			}
		}
	}
}

// targetAgainst looks at one target, which stands at, its fields at fields.
func (r *reading) targetAgainst(k *known, set *ruleSet, rule *policy.Rule, t policy.Target, at place, fields []place) {
	if stem, glob := strings.CutSuffix(t.Type, "*"); glob {
		if !slices.ContainsFunc(k.types, func(typ string) bool { return strings.HasPrefix(strings.ToLower(typ), strings.ToLower(stem)) }) {
			r.warn(at, fmt.Sprintf("%s in %s is no type of the site", quote(t.Type), rule.Verb), k.hint("has none that begins like this"))
		}
		return // which of its types have a field is not for the rule to know
	}
	if !flow.IsTypeName(t.Type) || unlisted(t.Type) {
		return // a word, or nothing that schema_read tells of
	}
	typ := t.Type
	if set.deny { // which fold case
		typ = k.folded[strings.ToLower(typ)]
	}
	entity, ok := k.Types[typ]
	if !ok {
		r.error(at, fmt.Sprintf("unknown type %q in %s", t.Type, rule.Verb), r.nearestHint(k, t.Type, k.types, "type"))
		return
	}
	for i, f := range t.Fields {
		if _, ok := entity.Fields[f]; !ok && !implied(f) && (!set.deny || !hasFold(entity.Fields, f)) {
			r.error(fields[i], fmt.Sprintf("unknown field %q in %s", t.Type+"."+f, rule.Verb),
				r.nearestHint(k, f, slices.Sorted(maps.Keys(entity.Fields)), "field"))
		}
	}
	if _, ok := entity.Fields["project"]; rule.Projects != nil && !ok && typ != "Project" {
		r.error(at, fmt.Sprintf("%s has no project: %s of it can't be confined to projects", t.Type, rule.Verb), "give it a rule of its own, without projects")
	}
}

func hasFold(fields map[string]schema.Field, name string) bool {
	for f := range fields {
		if strings.EqualFold(f, name) {
			return true
		}
	}
	return false
}

func (k *known) hint(what string) string {
	return "site schema of " + k.date + " (" + pull + ") " + what
}

// nearestHint says what the site has in place of a word. It looks for so many
// words as are shown.
func (r *reading) nearestHint(k *known, word string, names []string, what string) string {
	meant := ""
	if len(r.found) < maxDiagnostics {
		meant = nearest(word, names)
		if meant == "" {
			meant = longer(word, names)
		}
	}
	if meant == "" {
		return k.hint("has no such " + what + "; pull again if it is new")
	}
	return k.hint("has " + meant)
}

// longer is the shortest name that begins with a word, for who left out its end.
func longer(word string, names []string) string {
	best := ""
	for _, n := range names {
		if strings.HasPrefix(strings.ToLower(n), strings.ToLower(word)) && (best == "" || len(n) < len(best)) {
			best = n
		}
	}
	return best
}
