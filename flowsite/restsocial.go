package flowsite

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
)

func socialRoutes() []restRoute {
	return []restRoute{
		{verb: get, path: "entity/<type>/<id>/activity_stream", word: "activity_stream", query: words("limit", "min_id", "max_id", "entity_fields[]"), run: (*ctx).restStream},
		{verb: get, path: "entity/<type>/<id>/followers", word: "followers", run: (*ctx).restFollowers},
		{verb: get, path: "entity/<type>/<id>/following", word: "following", query: words("entity", "project_id"), run: (*ctx).restFollowing},
		{verb: post, path: "entity/<type>/<id>/follow", word: "follow", body: jsonBody, names: words("entities"), run: (*ctx).restFollow},
		{verb: put, path: "entity/<type>/<id>/unfollow", word: "unfollow", body: jsonBody, names: words("user_id"), run: (*ctx).restUnfollow},
		{verb: get, path: "entity/<type>/<id>/thread_contents", word: "note_thread_contents", query: words("entity_fields[]"), run: (*ctx).restThread},
		{verb: put, path: "entity/<type>/<id>/_update_last_accessed", word: "update_project_last_accessed_by_current_user", body: jsonBody, names: words("user_id"), run: (*ctx).restLastAccessed},
	}
}

// entityFields reads entity_fields[Type]=f,g as api3 takes it.
func (q *rest) entityFields() map[string]any {
	out := map[string]any{}
	for _, name := range q.query.names {
		key, ok := bracketed(name, "entity_fields")
		if !ok {
			continue
		}
		fields := []any{}
		for _, f := range listed(q.query.get(name)) {
			fields = append(fields, f)
		}
		out[key] = fields
	}
	return out
}

// number reads an integer of the query; nil where it isn't there.
func (q *rest) number(name string) (any, error) {
	if !q.query.has(name) {
		return nil, nil
	}
	n, err := strconv.Atoi(q.query.get(name))
	if err != nil {
		return nil, restInvalid(name, "must be an integer")
	}
	return n, nil
}

// restStream answers an activity stream. Its bounds are exclusive here.
func (c *ctx) restStream(q *rest) (restAnswer, error) {
	t, err := c.restTypeOf(q.at["type"], false)
	if err != nil {
		return restAnswer{}, err
	}
	a := args{"type": t.key, "id": q.id(), "entity_fields": q.entityFields()}
	for name, inward := range map[string]int{"limit": 0, "min_id": 1, "max_id": -1} {
		if a[name], err = q.number(name); err != nil {
			return restAnswer{}, err
		}
		if n, ok := a[name].(int); ok {
			a[name] = n + inward
		}
	}
	if n, ok := a["limit"].(int); ok && (n < 1 || n > streamMax) {
		return restAnswer{}, restInvalid("limit", "must be from 1 to "+strconv.Itoa(streamMax))
	}
	out, err := c.activityStream(a)
	if f, ok := errors.AsType[*fault](err); ok && f.code == codeNone {
		// Measured: a row that isn't there is a server error on this route.
		return restAnswer{}, &fault{codeServer, f.msg}
	}
	if err != nil {
		return restAnswer{}, err
	}
	list, _ := out.([]any)
	m, _ := list[0].(map[string]any)
	updates, _ := m["updates"].([]any)
	for _, u := range updates {
		unstamp(u, "created_at")
	}
	self := q.rowPath(c.state.get(link{t.key, q.id()})) + "/activity_stream"
	return q.data(m, self), nil
}

// unstamp turns the date of a stream or a thread back into the form that REST
// has everywhere else.
func unstamp(row any, key string) {
	m, _ := row.(map[string]any)
	if s, ok := m[key].(string); ok && strings.HasSuffix(s, " UTC") {
		m[key] = s[:10] + "T" + s[11:19] + "Z"
	}
}

// oldPath is the spelling of links in follower lists (flow-protocol §5.9).
func (q *rest) oldPath(typ, id any) string {
	return q.prefix + "/entity/" + asText(typ) + "/" + strconv.Itoa(asID(id))
}

func (c *ctx) restFollowers(q *rest) (restAnswer, error) {
	t, err := c.restTypeOf(q.at["type"], false)
	if err != nil {
		return restAnswer{}, err
	}
	out, err := c.followers(args{"entity": link{t.key, q.id()}})
	if err != nil {
		return restAnswer{}, err
	}
	data := []any{}
	list, _ := out.([]any)
	for _, v := range list {
		m, _ := v.(map[string]any)
		data = append(data, map[string]any{
			"id": m["id"], "type": m["type"], "attributes": map[string]any{"name": m["name"]},
			"links": map[string]any{"self": q.oldPath(m["type"], m["id"])},
		})
	}
	return restOK(map[string]any{"data": data}), nil
}

// restUser is the person in the path: scripts follow nothing.
func (c *ctx) restUser(q *rest) (link, error) {
	t, err := c.restTypeOf(q.at["type"], false)
	if err != nil {
		return link{}, err
	}
	if t.key != "HumanUser" {
		return link{}, restNoRoute()
	}
	return c.human(q.id())
}

func (c *ctx) human(id int) (link, error) {
	l := link{"HumanUser", id}
	if e := c.state.get(l); e == nil || e.retired {
		return link{}, restNotFound(codeNone, "Couldn't find HumanUser with id="+strconv.Itoa(id))
	}
	return l, nil
}

func (c *ctx) restFollowing(q *rest) (restAnswer, error) {
	user, err := c.restUser(q)
	if err != nil {
		return restAnswer{}, err
	}
	a := args{"user": user}
	if q.query.has("entity") {
		t := c.state.schema.restType(q.query.get("entity"))
		if t == nil {
			return restAnswer{}, restInvalid("entity", "is not valid")
		}
		a["entity_type"] = t.key
	}
	project, err := q.number("project_id")
	if err != nil {
		return restAnswer{}, err
	}
	if n, ok := project.(int); ok {
		a["project"] = link{"Project", n}
	}
	out, err := c.following(a)
	if err != nil {
		return restAnswer{}, err
	}
	data := []any{}
	list, _ := out.([]any)
	for _, v := range list {
		m, _ := v.(map[string]any)
		data = append(data, map[string]any{
			"id": m["id"], "type": m["type"], "links": map[string]any{"self": q.oldPath(m["type"], m["id"])},
		})
	}
	return restOK(map[string]any{"data": data}), nil
}

// restFollow makes a person follow rows, one after the other: those before a
// wrong one are followed.
func (c *ctx) restFollow(q *rest) (restAnswer, error) {
	user, err := c.restUser(q)
	if err != nil {
		return restAnswer{}, err
	}
	m, _ := q.body.(map[string]any)
	list, ok := m["entities"].([]any)
	if !ok {
		return restAnswer{}, restInvalid("entities", "is missing")
	}
	for i, v := range list {
		l, err := c.followed(i, v)
		if err != nil {
			return restAnswer{}, err
		}
		if _, err := c.follow(args{"user": user, "entity": l}); err != nil {
			return restAnswer{}, err
		}
	}
	return noContent(), nil
}

// followed reads {record_id, entity}. The plural of paths is a server error
// here, as measured.
func (c *ctx) followed(i int, v any) (link, error) {
	m, _ := v.(map[string]any)
	if err := c.only(m, "entities", "record_id", "entity"); err != nil {
		return link{}, err
	}
	name := asText(m["entity"])
	id, isInt := toInt(m["record_id"])
	t := c.state.schema.types[name]
	switch {
	case t == nil && c.state.schema.restType(name) != nil:
		return link{}, &fault{codeServer, "Please contact your administrator."}
	case t == nil || !isInt:
		return link{}, restBad(http.StatusBadRequest, "Request Parameters invalid.", map[string]any{
			"entities": map[string]any{strconv.Itoa(i): map[string]any{"entity": []string{"entity is not valid"}}},
		})
	}
	return link{name, id}, nil
}

func (c *ctx) restUnfollow(q *rest) (restAnswer, error) {
	t, err := c.restTypeOf(q.at["type"], false)
	if err != nil {
		return restAnswer{}, err
	}
	id, err := q.userID()
	if err != nil {
		return restAnswer{}, err
	}
	user, err := c.human(id)
	if err != nil {
		return restAnswer{}, err
	}
	if _, err := c.unfollow(args{"user": user, "entity": link{t.key, q.id()}}); err != nil {
		return restAnswer{}, err
	}
	return noContent(), nil
}

// userID is the user_id of the body; a text of digits will do.
func (q *rest) userID() (int, error) {
	m, _ := q.body.(map[string]any)
	if m["user_id"] == nil {
		return 0, restInvalid("user_id", "is missing")
	}
	id, err := strconv.Atoi(asText(m["user_id"]))
	if err != nil {
		return 0, restInvalid("user_id", "must be an integer")
	}
	return id, nil
}

// restThread answers a note's thread.
func (c *ctx) restThread(q *rest) (restAnswer, error) {
	t, err := c.restTypeOf(q.at["type"], false)
	if err != nil {
		return restAnswer{}, err
	}
	if t.key != "Note" {
		return restAnswer{}, restNotFound(codeBad, "Field '"+t.key+".thread_contents' does not exist.")
	}
	out, err := c.noteThread(args{"note_id": q.id(), "entity_fields": q.entityFields()})
	if err != nil {
		return restAnswer{}, err
	}
	list, _ := out.([]any)
	for _, row := range list {
		unstamp(row, "created_at")
	}
	return q.data(out, q.rowPath(c.state.get(link{"Note", q.id()}))+"/thread_contents"), nil
}

// restLastAccessed stamps a project. A person who isn't there is no error, as
// measured.
func (c *ctx) restLastAccessed(q *rest) (restAnswer, error) {
	t, err := c.restTypeOf(q.at["type"], true)
	if err != nil {
		return restAnswer{}, err
	}
	if t.key != "Project" {
		return restAnswer{}, restNoRoute()
	}
	id, err := q.userID()
	if err != nil {
		return restAnswer{}, err
	}
	p, err := c.live(link{"Project", q.id()}, false)
	if err != nil {
		return restAnswer{}, &restError{status: http.StatusBadRequest, code: codeNone, title: "Api::Errors::CrudError"}
	}
	if _, err := c.human(id); err == nil {
		if _, err := c.lastAccessed(args{"project_id": p.id, "user_id": id}); err != nil {
			return restAnswer{}, err
		}
	}
	return q.data(map[string]any{"type": "Project", "id": p.id}, q.rowPath(p)), nil
}
