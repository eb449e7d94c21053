package flowsite

import (
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Bounds of webhooks. A test makes few.
const (
	maxHooks           = 1000
	maxDeliveries      = 1000
	maxAcknowledgement = 4096 // bytes, as measured
)

// restHooks are the webhooks and their deliveries. Nothing is ever sent: a
// hook's change of status is the one thing that leaves a delivery. Site.mu
// guards it.
type restHooks struct {
	hooks      []*webhook
	deliveries []*delivery
}

type webhook struct {
	id     string
	values map[string]any // as answers have them
	token  bool
}

type delivery struct {
	id, hook string
	at       int64 // unix time
	from, to string
	ack      any
}

func webhookRoutes() []restRoute {
	hook := words("url", "entity_types", "event_type", "projects", "token", "name", "description", "validate_ssl_cert", "batch_deliveries")
	return []restRoute{
		{verb: get, path: "webhook/hooks", word: "webhook_read", query: words("status", "page[]"), run: (*ctx).hookList},
		{verb: post, path: "webhook/hooks", word: "webhook_write", body: jsonBody, names: hook, run: (*ctx).hookCreate},
		{verb: get, path: "webhook/hooks/<uuid>", word: "webhook_read", run: (*ctx).hookRead},
		{verb: put, path: "webhook/hooks/<uuid>", word: "webhook_write", body: jsonBody, names: append(words("status"), hook...), run: (*ctx).hookUpdate},
		{verb: del, path: "webhook/hooks/<uuid>", word: "webhook_write", run: (*ctx).hookDelete},
		{verb: post, path: "webhook/hooks/<uuid>/test_connection", word: "webhook_write", body: anyBody, run: (*ctx).hookTest},
		{verb: get, path: "webhook/hooks/<uuid>/deliveries", word: "webhook_read", query: words("status", "entity_type", "entity_id", "from", "acknowledgement", "page[]"), run: (*ctx).hookDeliveries},
		{verb: get, path: "webhook/deliveries/<uuid>", word: "webhook_read", run: (*ctx).deliveryRead},
		{verb: put, path: "webhook/deliveries/<uuid>", word: "webhook_write", body: jsonBody, run: (*ctx).deliveryUpdate},
		{verb: post, path: "webhook/deliveries/<uuid>/redeliver", word: "webhook_write", body: anyBody, run: (*ctx).deliveryRedeliver},
	}
}

// uuid makes an id in the form that webhooks have.
func (s *Site) uuid() (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(s.opts.Entropy, b[:]); err != nil {
		return "", fmt.Errorf("making an id: %w", err)
	}
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]), nil
}

func (h *webhook) show(q *rest) map[string]any {
	out := map[string]any{"id": h.id, "is_token_set": h.token, "num_deliveries": 0}
	maps.Copy(out, h.values)
	out["links"] = map[string]any{"self": q.prefix + "/webhook/hooks/" + h.id}
	return out
}

func (c *ctx) hook(q *rest) (*webhook, error) {
	if err := c.mayMethod(); err != nil {
		return nil, err
	}
	for _, h := range c.hooks.hooks {
		if h.id == q.at["uuid"] {
			return h, nil
		}
	}
	return nil, restNotFound(codeNone, "hook: "+q.at["uuid"]+" not found")
}

func (c *ctx) hookList(q *rest) (restAnswer, error) {
	if err := c.mayMethod(); err != nil {
		return restAnswer{}, err
	}
	data := []any{}
	for _, h := range c.hooks.hooks {
		if !q.query.has("status") || h.values["status"] == q.query.get("status") {
			data = append(data, h.show(q))
		}
	}
	return restOK(map[string]any{"data": data, "links": q.pageLinks(page{restPage, 1})}), nil
}

func (c *ctx) hookRead(q *rest) (restAnswer, error) {
	h, err := c.hook(q)
	if err != nil {
		return restAnswer{}, err
	}
	return q.data(h.show(q), q.prefix+q.path), nil
}

func (c *ctx) hookCreate(q *rest) (restAnswer, error) {
	if err := c.mayMethod(); err != nil {
		return restAnswer{}, err
	}
	m, _ := q.body.(map[string]any)
	if m["url"] == nil {
		return restAnswer{}, restInvalid("url", "is missing")
	}
	if (m["entity_types"] == nil) == (m["event_type"] == nil) {
		return restAnswer{}, restInvalid("entity_types", "either entity types or event type is required")
	}
	h := &webhook{values: map[string]any{
		"status": "active", "projects": []any{}, "name": "", "description": "", "validate_ssl_cert": true, "batch_deliveries": false,
	}}
	if err := c.setHook(h, m); err != nil {
		return restAnswer{}, err
	}
	if len(c.hooks.hooks) >= maxHooks {
		return restAnswer{}, &fault{codeServer, "Too many webhooks."}
	}
	var err error
	if h.id, err = c.uuid(); err != nil {
		return restAnswer{}, err
	}
	c.hooks.hooks = append(c.hooks.hooks, h)
	a := q.data(h.show(q), q.prefix+"/webhook/hooks/"+h.id)
	a.status = http.StatusCreated
	return a, nil
}

// setHook checks what a body sets, then sets it.
func (c *ctx) setHook(h *webhook, m map[string]any) error {
	if m["url"] != nil && !isPublic(asText(m["url"])) {
		return restInvalid("url", "should be a valid url, not a shotgun site or reserved/internal ip address")
	}
	if m["status"] != nil && m["status"] != "active" && m["status"] != "disabled" {
		return restInvalid("status", "must be one of: active, disabled")
	}
	if m["entity_types"] != nil {
		if err := c.hookTypes(m["entity_types"]); err != nil {
			return err
		}
	}
	for key, v := range m {
		if key == "token" {
			h.token = asText(v) != ""
			continue
		}
		h.values[key] = v
	}
	return nil
}

func (c *ctx) hookTypes(v any) error {
	types, ok := v.(map[string]any)
	if !ok {
		return restInvalid("entity_types", "must be a hash")
	}
	for key, v := range types {
		actions, ok := v.(map[string]any)
		if !ok || c.state.schema.types[key] == nil {
			return restInvalid("entity_types", "is not valid")
		}
		for action, fields := range actions {
			if !slices.Contains(words("create", "update", "delete", "revive"), action) || !isTexts(fields) {
				return restInvalid("entity_types", "is not valid")
			}
		}
	}
	return nil
}

// isPublic: the host is no address of a private network. The real site looks
// the name up too.
func isPublic(text string) bool {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" {
		return false
	}
	host := u.Hostname()
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return false
	}
	ip := net.ParseIP(host)
	return ip == nil || !ip.IsLoopback() && !ip.IsPrivate() && !ip.IsLinkLocalUnicast() && !ip.IsUnspecified()
}

func (c *ctx) hookUpdate(q *rest) (restAnswer, error) {
	h, err := c.hook(q)
	if err != nil {
		return restAnswer{}, err
	}
	m, _ := q.body.(map[string]any)
	if len(m) == 0 {
		return restAnswer{}, restBad(http.StatusBadRequest, "Request Parameters invalid.", map[string]any{
			"ensure_field_present": []string{"at least one field must be provided"},
		})
	}
	before := asText(h.values["status"])
	if err := c.setHook(h, m); err != nil {
		return restAnswer{}, err
	}
	if after := asText(h.values["status"]); after != before {
		if err := c.deliver(h, before, after); err != nil {
			return restAnswer{}, err
		}
	}
	return q.data(h.show(q), q.prefix+q.path), nil
}

// deliver notes what would be sent. The oldest go first.
func (c *ctx) deliver(h *webhook, before, after string) error {
	id, err := c.uuid()
	if err != nil {
		return err
	}
	list := append(c.hooks.deliveries, &delivery{id: id, hook: h.id, at: c.now.Unix(), from: before, to: after})
	c.hooks.deliveries = list[max(0, len(list)-maxDeliveries):]
	return nil
}

func (c *ctx) hookDelete(q *rest) (restAnswer, error) {
	h, err := c.hook(q)
	if err != nil {
		return restAnswer{}, err
	}
	c.hooks.hooks = slices.DeleteFunc(c.hooks.hooks, func(x *webhook) bool { return x == h })
	c.hooks.deliveries = slices.DeleteFunc(c.hooks.deliveries, func(d *delivery) bool { return d.hook == h.id })
	return noContent(), nil
}

// hookTest answers the same for a hook and for none, as measured.
func (c *ctx) hookTest(*rest) (restAnswer, error) {
	if err := c.mayMethod(); err != nil {
		return restAnswer{}, err
	}
	return noContent(), nil
}

func (c *ctx) hookDeliveries(q *rest) (restAnswer, error) {
	h, err := c.hook(q)
	if err != nil {
		return restAnswer{}, err
	}
	data := []any{}
	for _, d := range c.hooks.deliveries {
		if d.hook == h.id && (!q.query.has("status") || q.query.get("status") == "delivered") {
			data = append(data, d.show())
		}
	}
	return restOK(map[string]any{
		"data": data, "included": []any{}, "performance_metrics": map[string]any{"event_count": 0, "process_time_sum": 0},
		"links": q.pageLinks(page{restPage, 1}),
	}), nil
}

func (d *delivery) show() map[string]any {
	return map[string]any{
		"id": d.id, "event_time": int(d.at), "status": "delivered", "process_time": 0, "body": "", "response_code": 0,
		"acknowledgement": d.ack, "request_headers": nil, "response_headers": nil,
		"request_body": map[string]any{"data": map[string]any{
			"id": "0", "event_type": "Webhook_Status_Change", "event_log_entry_id": 0,
			"webhook_status": d.to, "previous_webhook_status": d.from,
			"meta": map[string]any{"type": "webhook_status_change", "source": "client", "old_value": d.from, "new_value": d.to},
		}},
	}
}

func (c *ctx) delivery(q *rest) (*delivery, error) {
	if err := c.mayMethod(); err != nil {
		return nil, err
	}
	for _, d := range c.hooks.deliveries {
		if d.id == q.at["uuid"] {
			return d, nil
		}
	}
	return nil, restNotFound(codeNone, "delivery: "+q.at["uuid"]+" not found")
}

func (c *ctx) deliveryRead(q *rest) (restAnswer, error) {
	d, err := c.delivery(q)
	if err != nil {
		return restAnswer{}, err
	}
	return q.data(d.show(), q.prefix+q.path), nil
}

func (c *ctx) deliveryUpdate(q *rest) (restAnswer, error) {
	d, err := c.delivery(q)
	if err != nil {
		return restAnswer{}, err
	}
	m, _ := q.body.(map[string]any)
	if s, ok := m["acknowledgement"].(string); ok {
		if len(s) > maxAcknowledgement {
			return restAnswer{}, restInvalid("acknowledgement", "must be 4096 bytes long or less")
		}
		d.ack = s
	}
	return q.data(d.show(), q.prefix+q.path), nil
}

func (c *ctx) deliveryRedeliver(q *rest) (restAnswer, error) {
	if _, err := c.delivery(q); err != nil {
		return restAnswer{}, err
	}
	return noContent(), nil
}
