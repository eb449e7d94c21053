package flowsite

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Codes that only REST has (flow-protocol §5.7).
const (
	codeAdmin       = 110 // needs an admin
	codePreferences = 111
)

func siteRoutes() []restRoute {
	return []restRoute{
		{verb: get, path: "", word: "info", open: true, run: (*ctx).restInfo},
		{verb: get, path: "spec.json", word: "info", run: (*ctx).restSpec},
		{verb: get, path: "spec.yaml", word: "info", run: (*ctx).restSpec},
		{verb: get, path: "spec.xml", word: "info", run: notAcceptable},
		{verb: post, path: "auth/access_token", word: "access_token", open: true, query: tokenNames(), body: formBody, run: (*ctx).accessToken},
		{verb: get, path: "preferences", word: "preferences_read", query: words("prefs"), run: (*ctx).restPreferences},
		{verb: put, path: "preferences/update", word: "preferences_update", body: jsonBody, list: true, names: words("preference", "entity_type", "display_name"), run: (*ctx).restPreferencesUpdate},
		{verb: get, path: "license_info", word: "license_info", run: (*ctx).restLicense},
		{verb: get, path: "schedule/work_day_rules", word: "work_schedule_read", query: words("start_date", "end_date", "project_id", "user_id"), run: (*ctx).restSchedule},
		{verb: put, path: "schedule/work_day_rules", word: "work_schedule_update", body: jsonBody, names: words("date", "working", "description", "project_id", "user_id", "recalculate_field"), run: (*ctx).restScheduleUpdate},
		{verb: get, path: "subscription_seat/user_subscriptions", word: "user_subscriptions_read", run: (*ctx).restSeats},
		{verb: post, path: "subscription_seat/user_subscriptions", word: "user_subscriptions_create", body: jsonBody, run: (*ctx).restSeatsCreate},
		{verb: get, path: "exports/page/<page>", word: "export_page", run: (*ctx).restExport},
		{verb: get, path: "exports/page/<id>/<page>", word: "export_page", run: (*ctx).restExport},
		{verb: post, path: "transcode/attachment_metadata/<id>", word: "transcode", body: jsonBody, names: words("width", "height", "display_aspect_ratio", "frame_rate", "nb_frames", "start_frame"), run: (*ctx).restTranscode},
	}
}

func tokenNames() []string {
	return words("grant_type", "client_id", "client_secret", "username", "password", "auth_token", "session_token", "refresh_token", "scope", "session_uuid")
}

// restInfo answers GET /api/v1, which needs no token.
func (c *ctx) restInfo(*rest) (restAnswer, error) {
	v := c.opts.Version
	version := strconv.Itoa(v[0]) + "." + strconv.Itoa(v[1]) + "." + strconv.Itoa(v[2])
	return restOK(map[string]any{"data": map[string]any{
		"shotgun_version": "v" + version + " (build stand-in)", "api_version": "1.0", "shotgun_version_number": version,
		"shotgun_build_number": "stand-in", "portfolio_version": nil, "unified_login_flow_enabled": false,
		"authentication_app_session_launcher_enabled": false, "user_authentication_method": "default",
		"site_id": "stand-in", "site_name": "stand-in",
	}}), nil
}

// restSpec answers with the paths that there are, as an OpenAPI document.
func (c *ctx) restSpec(q *rest) (restAnswer, error) {
	paths := map[string]any{}
	for _, r := range c.routes {
		at := "/" + strings.NewReplacer("<", "{", ">", "}").Replace(r.path)
		ops, ok := paths[at].(map[string]any)
		if !ok {
			ops = map[string]any{}
			paths[at] = ops
		}
		ops[strings.ToLower(r.verb)] = map[string]any{"operationId": r.word}
	}
	// JSON is YAML too.
	a := restOK(map[string]any{
		"openapi": "3.0.0", "info": map[string]any{"title": "Flow Production Tracking REST API ", "version": "1.x"},
		"servers": []any{map[string]any{"url": c.url + "/api/v1.1"}}, "paths": paths,
	})
	if strings.HasSuffix(q.path, "yaml") {
		a.ctype = "application/x-yaml"
	}
	return a, nil
}

func notAcceptable(*ctx, *rest) (restAnswer, error) {
	return restAnswer{}, &restError{status: http.StatusNotAcceptable, code: codeBad, title: "Not Acceptable"}
}

func (c *ctx) restPreferences(q *rest) (restAnswer, error) {
	names := []any{}
	for _, name := range listed(q.query.get("prefs")) {
		names = append(names, name)
	}
	out, err := c.preferencesRead(args{"prefs": names})
	if err != nil {
		return restAnswer{}, err
	}
	return q.data(out, q.prefix+q.path), nil
}

// restPreferencesUpdate refuses whatever it is asked: the only answer that was
// ever measured.
func (c *ctx) restPreferencesUpdate(*rest) (restAnswer, error) {
	if err := c.mayMethod(); err != nil {
		return restAnswer{}, err
	}
	return restAnswer{}, &restError{status: http.StatusBadRequest, code: codePreferences, title: "Updating the preferences is not available"}
}

func (c *ctx) restLicense(*rest) (restAnswer, error) {
	if err := c.mayMethod(); err != nil {
		return restAnswer{}, err
	}
	if !c.who.role.admin() {
		return restAnswer{}, &restError{status: http.StatusUnauthorized, code: codeAdmin, title: "Unauthorized", detail: "Request rejected due to invalid credentials."}
	}
	return restOK(map[string]any{
		"data":   map[string]any{"assigned": 4, "rule": "quantity", "free": 46, "total": 50, "type": "license-count"},
		"status": "success",
	}), nil
}

// scheduleScope puts the rows of project_id and user_id into the arguments.
// Where a read names one that isn't there, the studio's week counts.
func (c *ctx) scheduleScope(a args, ids map[string]any, lax bool) error {
	for name, typ := range map[string]string{"project": "Project", "user": "HumanUser"} {
		a[name] = nil
		v := ids[name+"_id"]
		if v == nil {
			continue
		}
		id, err := strconv.Atoi(asText(v))
		if err != nil {
			return restInvalid(name+"_id", "must be an integer")
		}
		l := link{typ, id}
		if e := c.state.get(l); lax && (e == nil || e.retired) {
			continue
		}
		a[name] = l
	}
	return nil
}

func (c *ctx) restSchedule(q *rest) (restAnswer, error) {
	a := args{}
	ids := map[string]any{}
	for _, name := range q.query.names {
		a[name], ids[name] = q.query.get(name), q.query.get(name)
	}
	for _, name := range words("start_date", "end_date") {
		if a[name] == nil {
			return restAnswer{}, restInvalid(name, "is missing")
		}
		if _, err := c.dateOf(a, name); err != nil {
			return restAnswer{}, &restError{
				status: http.StatusBadRequest, code: codeBad, title: err.Error(),
				shape: appendJSON(nil, map[string]any{"status": "error", "error": "invalid date"}),
			}
		}
	}
	if err := c.scheduleScope(a, ids, true); err != nil {
		return restAnswer{}, err
	}
	out, err := c.workScheduleRead(a)
	if err != nil {
		return restAnswer{}, err
	}
	days, _ := out.(map[string]any)
	data := make([]any, 0, len(days))
	for _, date := range sortedKeys(days) {
		day, _ := days[date].(map[string]any)
		day["date"] = date
		data = append(data, day)
	}
	return q.data(data, q.prefix+q.path), nil
}

func (c *ctx) restScheduleUpdate(q *rest) (restAnswer, error) {
	m, _ := q.body.(map[string]any)
	for _, name := range words("date", "working") {
		if m[name] == nil {
			return restAnswer{}, restInvalid(name, "is missing")
		}
	}
	a := args{"date": m["date"], "working": m["working"], "description": m["description"], "recalculate_field": m["recalculate_field"]}
	if err := c.scheduleScope(a, m, false); err != nil {
		return restAnswer{}, err
	}
	out, err := c.workScheduleUpdate(a)
	if err != nil {
		return restAnswer{}, err
	}
	return q.data(out, q.prefix+q.path), nil
}

// restSeats answers a bare object of ids.
func (c *ctx) restSeats(*rest) (restAnswer, error) {
	out, err := c.subscriptionsRead(nil)
	if err != nil {
		return restAnswer{}, err
	}
	seats := map[string]any{}
	list, _ := out.([]any)
	for _, v := range list {
		m, _ := v.(map[string]any)
		seats[strconv.Itoa(asID(m["humanUserId"]))] = m["subscription"]
	}
	return restOK(seats), nil
}

func (c *ctx) restSeatsCreate(q *rest) (restAnswer, error) {
	m, _ := q.body.(map[string]any)
	users, answer := []any{}, map[string]any{}
	for _, key := range sortedKeys(m) {
		id, err := strconv.Atoi(key)
		if e := c.state.get(link{"HumanUser", id}); err != nil || e == nil || e.retired {
			return restAnswer{}, restBad(http.StatusBadRequest, "Invalid humanUserId "+key, map[string]any{})
		}
		users = append(users, map[string]any{"humanUserId": id, "subscription": m[key]})
		answer[key] = nil
	}
	if _, err := c.subscriptionsCreate(args{"users": users}); err != nil {
		return restAnswer{}, err
	}
	return restOK(answer), nil
}

// restExport answers a page as CSV, or 422 in plain words. The last segment
// is page.format, or layout.format behind a page.
func (c *ctx) restExport(q *rest) (restAnswer, error) {
	name, format, ok := strings.Cut(q.at["page"], ".")
	if !ok || strings.Contains(format, ".") || format == "" || name == "" {
		return restAnswer{}, restNoRoute()
	}
	id, _ := strconv.Atoi(name) // what is no number counts as 0, as measured
	var layout any
	if q.at["id"] != "" {
		id, layout = q.id(), name
	}
	out, err := c.exportPage(args{"format": format, "page_id": id, "layout_name": layout})
	if err != nil {
		return restAnswer{}, unexported(err, id, format)
	}
	return restAnswer{status: http.StatusOK, ctype: "text/csv; charset=utf-8", body: []byte(asText(out))}, nil
}

func unexported(err error, id int, format string) error {
	f, ok := errors.AsType[*fault](err)
	if !ok {
		return err
	}
	text := "Export for Page id=" + strconv.Itoa(id) + " not available"
	if strings.Contains(f.msg, "does not exist") {
		text = "Trying to perform export for retired Page id=" + strconv.Itoa(id)
	}
	kinds := map[string]string{"csv": "text/csv", "json": "application/json", "xml": "application/xml"}
	return &restError{
		status: http.StatusUnprocessableEntity, code: f.code, title: text, shape: []byte(text),
		ctype: orDefault(kinds[format], "text/plain") + "; charset=utf-8",
	}
}

// restTranscode takes the facts of a film and shows them nowhere.
func (c *ctx) restTranscode(q *rest) (restAnswer, error) {
	if err := c.mayMethod(); err != nil {
		return restAnswer{}, err
	}
	m, _ := q.body.(map[string]any)
	for _, name := range sortedKeys(m) {
		whole := slices.Contains(words("width", "height", "nb_frames", "start_frame"), name)
		if _, isInt := toInt(m[name]); whole && !isInt {
			return restAnswer{}, restInvalid(name, "must be an integer")
		}
	}
	e, err := c.live(link{"Attachment", q.id()}, true)
	if err != nil {
		text := "Attachment " + q.at["id"] + " not found"
		return restAnswer{}, &restError{
			status: http.StatusNotFound, code: codeNone, title: text, shape: appendJSON(nil, map[string]any{"error": text}),
		}
	}
	c.state.put(e.with(map[string]any{"updated_at": c.stamp(), "updated_by": c.who.actor}))
	return space(http.StatusOK), nil
}
