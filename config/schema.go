package config

import "path/filepath"

// SchemaName is where the snapshot of the site's schema is, beside the
// configuration, unless the file says otherwise.
const SchemaName = "stagedoor.schema.json"

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
