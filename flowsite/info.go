package flowsite

import (
	"slices"
)

// info is what a client reads when it connects (flow-protocol §1.8).
func (c *ctx) info(args) (any, error) {
	v := c.opts.Version
	direct := c.opts.DirectUploads && c.storageURL != ""
	return map[string]any{
		"version":                                     []any{v[0], v[1], v[2]},
		"full_version":                                []any{v[0], v[1], v[2], "stand-in"},
		"api_max_entities_per_page":                   c.opts.PageMax,
		"s3_direct_uploads_enabled":                   direct,
		"s3_enabled_upload_types":                     map[string]any{"Version": []string{"sg_uploaded_movie"}, "Attachment": "*", "*": []string{"this_file"}},
		"s3_uploads_enabled":                          direct,
		"user_authentication_method":                  "default",
		"unified_login_flow_enabled":                  false,
		"authentication_app_session_launcher_enabled": false,
	}, nil
}

// preferences are a few of those seen on a real site (flow-protocol §6.3).
func preferences() map[string]any {
	return map[string]any{
		"date_component_order":                       "month_day",
		"duration_units":                             "days",
		"enable_rv_integration":                      true,
		"enable_shotgun_review_for_rv":               false,
		"format_currency_fields_display_dollar_sign": false,
		"format_date_fields":                         "08/04/22 OR 04/08/22 (depending on the Month order preference)",
		"format_footage_fields":                      "10-05",
		"format_time_hour_fields":                    "12 hour",
		"hours_per_day":                              8,
		"support_local_storage":                      true,
		"view_master_settings":                       `{"status_groups":[]}`,
	}
}

// preferencesRead answers the named preferences, all when none is named.
// Unknown names are silently absent.
func (c *ctx) preferencesRead(a args) (any, error) {
	if err := c.mayMethod(); err != nil {
		return nil, err
	}
	names, err := c.texts(a, "prefs")
	if err != nil {
		return nil, err
	}
	out := preferences()
	for key := range out {
		if len(names) > 0 && !slices.Contains(names, key) {
			delete(out, key)
		}
	}
	return out, nil
}

func (c *ctx) subscriptionsRead(args) (any, error) {
	if err := c.mayMethod(); err != nil {
		return nil, err
	}
	out := []any{}
	t := c.state.table("HumanUser")
	for _, id := range t.ids {
		out = append(out, map[string]any{"humanUserId": id, "subscription": c.state.seats[id]})
	}
	return out, nil
}

func (c *ctx) subscriptionsCreate(a args) (any, error) {
	if err := c.mayMethod(); err != nil {
		return nil, err
	}
	users, err := c.objects(a, "users")
	if err != nil {
		return nil, err
	}
	for _, u := range users {
		if err := c.only(u, "user", "humanUserId", "subscription"); err != nil {
			return nil, err
		}
		id, err := c.integer(u, "humanUserId")
		if err != nil {
			return nil, err
		}
		if _, err := c.live(link{"HumanUser", id}, true); err != nil {
			return nil, err
		}
		if v := u["subscription"]; v != nil && !isTexts(v) && !isTexts([]any{v}) {
			return nil, bad("API %s() subscription must be null, a text or a list of texts", c.method)
		}
	}
	for _, u := range users {
		id, _ := toInt(u["humanUserId"])
		c.state.seats[id] = u["subscription"]
	}
	return map[string]any{"status": "success"}, nil
}

// lastAccessed notes that a person opened a project.
func (c *ctx) lastAccessed(a args) (any, error) {
	id, err := c.integer(a, "project_id")
	if err != nil {
		return nil, err
	}
	p, err := c.live(link{"Project", id}, false)
	if err != nil {
		return nil, err
	}
	who := 0
	if c.who.person != nil {
		who = c.who.person.id
	}
	if who, err = c.integerOr(a, "user_id", who); err != nil {
		return nil, err
	}
	user, err := c.live(link{"HumanUser", who}, false)
	if err != nil {
		return nil, err
	}
	c.state.opened[[2]int{p.id, user.id}] = c.stamp()
	c.state.put(p.with(map[string]any{"last_accessed_by_current_user": c.stamp()}))
	return []any{map[string]any{"type": "Project", "id": p.id, "last_accessed_by_current_user": c.stamp()}}, nil
}
