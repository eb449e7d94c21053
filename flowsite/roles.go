package flowsite

import (
	"slices"
)

// Role is what a script or a person may do. The zero Role is the vendor's
// default for scripts, "API Admin": everything (flow-protocol §8.6).
type Role struct {
	// Name is told in refusals.
	Name string
	// Methods that may be called; nil: all.
	Methods []string
	// Read and Write list the fields allowed by type, "*" for all of them;
	// a type that isn't there isn't allowed. nil: all types.
	Read, Write map[string][]string
	// Projects whose rows are seen and written; nil: all.
	Projects []int
	// NoSudo refuses sudo_as_login.
	NoSudo bool
}

// RoleAdmin may do everything.
func RoleAdmin() Role { return Role{Name: "API Admin"} }

func (r Role) admin() bool { return r.Methods == nil && r.Read == nil && r.Write == nil }

func (r Role) name() string { return orDefault(r.Name, "restricted") }

func (r Role) allows(list map[string][]string, typ, key string) bool {
	if list == nil {
		return true
	}
	fields, ok := list[typ]
	return ok && (key == "" || key == "id" || key == "type" || slices.Contains(fields, "*") || slices.Contains(fields, key))
}

// typeOf finds a type that the role may read or write (for write).
func (c *ctx) typeOf(v any, write bool) (*entityType, error) {
	name, ok := v.(string)
	if !ok {
		return nil, bad("API %s() type is not a text", c.method)
	}
	t := c.state.schema.types[name]
	if t == nil {
		return nil, bad("API %s() invalid/missing string entity 'type': %s", c.method, name)
	}
	if r := c.who.role; r.Methods != nil && !slices.Contains(r.Methods, c.method) {
		return nil, none("API %s() is not allowed for the role '%s'", c.method, r.name())
	}
	return t, c.mayType(t, write)
}

// mayMethod is the check of methods that name no type.
func (c *ctx) mayMethod() error {
	if r := c.who.role; r.Methods != nil && !slices.Contains(r.Methods, c.method) {
		return none("API %s() is not allowed for the role '%s'", c.method, r.name())
	}
	return nil
}

func (c *ctx) mayType(t *entityType, write bool) error {
	r := c.who.role
	list := r.Read
	if write {
		list = r.Write
	}
	// ApiUser rows are readable by admins only (§6.2).
	if !r.allows(list, t.key, "") || t.key == "ApiUser" && !r.admin() {
		return none("API %s() %s is not allowed for the role '%s'", c.method, t.key, r.name())
	}
	return nil
}

func (c *ctx) mayField(f *field, write bool) error {
	r := c.who.role
	list := r.Read
	if write {
		list = r.Write
	}
	if !r.allows(list, f.typ.key, f.key) {
		return none("API %s() %s.%s is not allowed for the role '%s'", c.method, f.typ.key, f.key, r.name())
	}
	return nil
}

// sees says whether the row is in the role's projects. Rows of no project are
// seen by all.
func (c *ctx) sees(e *entity) bool {
	if c.who.role.Projects == nil {
		return true
	}
	p, ok := e.project()
	return !ok || slices.Contains(c.who.role.Projects, p.ID)
}
