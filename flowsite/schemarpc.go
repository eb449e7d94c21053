package flowsite

import (
	"strconv"
	"strings"
)

func lower(s string) string { return strings.ToLower(s) }

// property is the {value, editable} pair of schema answers.
func property(v any, editable bool) map[string]any {
	return map[string]any{"value": v, "editable": editable}
}

// ofProject checks the optional project of schema calls.
func (c *ctx) ofProject(a args) error {
	if a["project"] == nil {
		return nil
	}
	_, err := c.row(a, "project")
	return err
}

func (c *ctx) schemaEntityRead(a args) (any, error) {
	if err := c.mayMethod(); err != nil {
		return nil, err
	}
	if err := c.ofProject(a); err != nil {
		return nil, err
	}
	out := map[string]any{}
	for key, t := range c.state.schema.types {
		out[key] = map[string]any{"name": property(t.name, false), "visible": property(true, false)}
	}
	return out, nil
}

func (c *ctx) schemaRead(a args) (any, error) {
	if err := c.mayMethod(); err != nil {
		return nil, err
	}
	if err := c.ofProject(a); err != nil {
		return nil, err
	}
	out := map[string]any{}
	for key, t := range c.state.schema.types {
		out[key] = describeAll(t)
	}
	return out, nil
}

func (c *ctx) schemaFieldRead(a args) (any, error) {
	t, err := c.typeOf(a["type"], false)
	if err != nil {
		return nil, err
	}
	if err := c.ofProject(a); err != nil {
		return nil, err
	}
	if a["field_name"] == nil {
		return describeAll(t), nil
	}
	f, err := c.namedField(t, a)
	if err != nil {
		return nil, err
	}
	return map[string]any{f.key: describe(f)}, nil
}

func (c *ctx) namedField(t *entityType, a args) (*field, error) {
	name, err := c.text(a, "field_name")
	if err != nil {
		return nil, err
	}
	f := t.fields[name]
	if f == nil {
		return nil, bad("API %s() %s.%s doesn't exist", c.method, t.key, name)
	}
	return f, nil
}

func describeAll(t *entityType) map[string]any {
	out := map[string]any{}
	for key, f := range t.fields {
		out[key] = describe(f)
	}
	return out
}

// describe is a field in the shape of flow-protocol's schema answers.
func describe(f *field) map[string]any {
	props := map[string]any{
		"default_value": property(f.Default, false), "summary_default": property("none", true),
	}
	if f.isLink() || f.isMulti() {
		props["valid_types"] = property(f.ValidTypes, true)
	}
	if f.ValidValues != nil {
		props["valid_values"] = property(f.ValidValues, true)
	}
	return map[string]any{
		"name": property(f.Name, true), "description": property(f.Description, true),
		"entity_type": property(f.typ.key, false), "data_type": property(f.Type, false),
		"editable": property(!f.ReadOnly, false), "mandatory": property(false, false),
		"unique": property(f.Unique, false), "visible": property(true, false),
		"properties": props,
	}
}

func (c *ctx) schemaFieldCreate(a args) (any, error) {
	t, err := c.typeOf(a["type"], true)
	if err != nil {
		return nil, err
	}
	kind, err := c.text(a, "data_type")
	if err != nil {
		return nil, err
	}
	if _, ok := c.kinds[kind]; !ok {
		return nil, bad("API %s() unknown data type %s", c.method, kind)
	}
	f := &field{fieldSpec: fieldSpec{Type: kind, Custom: true}, typ: t}
	if err := c.setProperties(f, a); err != nil {
		return nil, err
	}
	if f.Name == "" {
		return nil, bad("API %s() has no name", c.method)
	}
	base := systemName(f.Name)
	f.key = base
	for i := 1; t.fields[f.key] != nil; i++ {
		f.key = base + "_" + strconv.Itoa(i)
	}
	c.setField(t, f.key, f)
	return f.key, nil
}

func (c *ctx) setField(t *entityType, key string, f *field) {
	if f == nil {
		c.state.schema.retired[t.key+"."+key] = t.fields[key]
		delete(t.fields, key)
	} else {
		t.fields[key] = f
	}
	c.state.schema.changed[t.key+"."+key] = f
}

func (c *ctx) setProperties(f *field, a args) error {
	list, err := c.objects(a, "properties")
	if err != nil {
		return err
	}
	for _, m := range list {
		if err := c.only(m, "property", "property_name", "value"); err != nil {
			return err
		}
		if err := c.setProperty(f, m); err != nil {
			return err
		}
	}
	return nil
}

func (c *ctx) setProperty(f *field, m args) error {
	var err error
	switch m["property_name"] {
	case "name":
		f.Name, err = c.text(m, "value")
	case "description":
		f.Description, err = c.text(m, "value")
	case "valid_types":
		if f.ValidTypes, err = c.texts(m, "value"); err == nil {
			err = c.knownTypes(f.ValidTypes)
		}
	case "valid_values":
		f.ValidValues, err = c.texts(m, "value")
	case "default_value":
		f.Default = m["value"]
		err = c.checkScalar(f, f.Default)
	case "summary_default", "visible", "hidden_values":
		// Taken, and of no consequence here.
	default:
		err = bad("API %s() unknown property %s", c.method, asText(m["property_name"]))
	}
	return err
}

func (c *ctx) knownTypes(types []string) error {
	for _, t := range types {
		if c.state.schema.types[t] == nil {
			return bad("API %s() unknown type %s", c.method, t)
		}
	}
	return nil
}

func (c *ctx) schemaFieldUpdate(a args) (any, error) {
	t, err := c.typeOf(a["type"], true)
	if err != nil {
		return nil, err
	}
	if err := c.ofProject(a); err != nil {
		return nil, err
	}
	old, err := c.namedField(t, a)
	if err != nil {
		return nil, err
	}
	f := *old
	if err := c.setProperties(&f, a); err != nil {
		return nil, err
	}
	c.setField(t, f.key, &f)
	return true, nil
}

func (c *ctx) schemaFieldDelete(a args) (any, error) {
	t, err := c.typeOf(a["type"], true)
	if err != nil {
		return nil, err
	}
	f, err := c.namedField(t, a)
	if err != nil {
		return nil, err
	}
	if !f.Custom {
		return nil, bad("API %s() %s.%s is no custom field", c.method, t.key, f.key)
	}
	c.setField(t, f.key, nil)
	return true, nil
}
