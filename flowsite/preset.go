package flowsite

import (
	"slices"
)

// preset applies additional_filter_presets to the rows (flow-protocol §2.5).
func (c *ctx) preset(t *entityType, a args, rows []*entity) ([]*entity, error) {
	if a["additional_filter_presets"] == nil {
		return rows, nil
	}
	presets, err := c.objects(a, "additional_filter_presets")
	if err != nil {
		return nil, err
	}
	for _, p := range presets {
		switch p["preset_name"] {
		case "LATEST":
			rows, err = c.latest(t, p, rows)
		case "CUT_SHOT_VERSIONS":
			rows, err = c.cutVersions(t, p, rows)
		default:
			err = bad("API %s() unknown filter preset %s", c.method, asText(p["preset_name"]))
		}
		if err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// latest keeps one row of each group that links the same row.
func (c *ctx) latest(t *entityType, p args, rows []*entity) ([]*entity, error) {
	if err := c.only(p, "preset", "preset_name", "latest_by"); err != nil {
		return nil, err
	}
	by, _ := p["latest_by"].(string)
	rank := map[string]map[string]string{
		"Version":       {"ENTITIES_CREATED_AT": "created_at"},
		"PublishedFile": {"ENTITIES_CREATED_AT": "created_at", "VERSION_NUMBER": "version_number"},
		"Cut":           {"REVISION_NUMBER": "revision_number"},
	}[t.key][by]
	if rank == "" {
		return nil, bad("API %s() the preset LATEST has no latest_by '%s' for %s", c.method, by, t.key)
	}
	best := map[any]*entity{}
	for _, e := range rows {
		group := e.values["entity"]
		old := best[group]
		// Of equals the younger one, which comes later, wins.
		if old == nil || compare(e.values[rank], old.values[rank]) >= 0 {
			best[group] = e
		}
	}
	return slices.DeleteFunc(slices.Clone(rows), func(e *entity) bool { return best[e.values["entity"]] != e }), nil
}

// cutVersions keeps the Versions of the Shots of a Cut's items.
func (c *ctx) cutVersions(t *entityType, p args, rows []*entity) ([]*entity, error) {
	if err := c.only(p, "preset", "preset_name", "cut_id"); err != nil {
		return nil, err
	}
	id, err := c.integer(p, "cut_id")
	if err != nil {
		return nil, err
	}
	if t.key != "Version" {
		return nil, bad("API %s() the preset CUT_SHOT_VERSIONS is for Version", c.method)
	}
	var shots []link
	for _, item := range c.state.table("CutItem").rows {
		if l, ok := item.values["shot"].(link); ok && item.values["cut"] == any(link{"Cut", id}) {
			shots = append(shots, l)
		}
	}
	return slices.DeleteFunc(slices.Clone(rows), func(e *entity) bool {
		l, ok := e.values["entity"].(link)
		return !ok || !slices.Contains(shots, l)
	}), nil
}
