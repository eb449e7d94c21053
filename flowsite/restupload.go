package flowsite

import (
	"crypto/sha256"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// The services that an upload can go to (flow-protocol §5.5).
const (
	serviceS3 = "s3" // the storage server
	serviceSG = "sg" // the site itself
)

// restUpload is an upload that was begun over REST.
type restUpload struct {
	owner     identity
	row       link
	field     string // "": among the attachments of the row
	service   string
	kind      string // Attachment or Thumbnail
	filename  string
	timestamp string
	// stored is the upload as the storage server has it; nil for sg.
	stored *storageUpload
	// The rest is of sg: the link's signature and its end, and what came.
	signature  string
	expiration int64
	used       bool
	blob       *blob
}

func uploadRoutes() []restRoute {
	var out []restRoute
	signed := words("filename", "signature", "user_id", "user_type", "expiration")
	part := words("filename", "upload_type", "timestamp", "part_number", "upload_id")
	info := words("timestamp", "upload_type", "upload_id", "storage_service", "original_filename", "multipart_upload")
	for _, at := range words("entity/<type>/<id>", "entity/<type>/<id>/<field>") {
		out = append(
			out,
			restRoute{verb: get, path: at + "/_upload", word: "rest_upload", query: words("filename", "multipart_upload"), run: (*ctx).restBegin},
			restRoute{verb: put, path: at + "/_upload", word: "rest_upload", query: signed, body: fileBody, run: (*ctx).restReceived},
			restRoute{verb: post, path: at + "/_upload", word: "rest_upload", query: words("filename"), body: jsonBody, names: words("upload_info", "upload_data"), run: (*ctx).restComplete},
			restRoute{verb: get, path: at + "/_upload/multipart", word: "rest_upload", query: part, run: (*ctx).restNextPart},
			restRoute{verb: post, path: at + "/_upload/multipart_abort", word: "rest_upload", body: jsonBody, names: info, run: (*ctx).restAbort},
		)
	}
	return append(out, restRoute{verb: get, path: "entity/<type>/<id>/<field>", word: "download", query: words("alt"), run: (*ctx).restFile})
}

// isFile: the field holds an image or a file.
func (f *field) isFile() bool { return f.Type == "image" || f.Type == "url" }

func notAFile(f *field) error {
	return restBad(http.StatusBadRequest, "Field "+f.typ.key+"."+f.key+" is not an image or attachment.", nil)
}

// restFile answers GET /entity/<type>/<id>/<field>: the field, or where its
// file is.
func (c *ctx) restFile(q *rest) (restAnswer, error) {
	e, err := c.restEntity(q)
	if err != nil {
		return restAnswer{}, err
	}
	f, err := c.restField(e.typ, q.at["field"])
	if err != nil {
		return restAnswer{}, err
	}
	if !f.isFile() {
		return restAnswer{}, notAFile(f)
	}
	v := c.state.value(e, f)
	switch q.query.get("alt") {
	case "":
		if !q.query.has("alt") {
			return q.data(c.showValue(f, v, true), q.rowPath(e)+"/"+f.key), nil
		}
	case "original", "thumbnail":
		at, err := c.fileAddress(q, f, v)
		if err != nil {
			return restAnswer{}, err
		}
		return restAnswer{status: http.StatusFound, ctype: htmlType, body: []byte("<html><body>You are being redirected.</body></html>\n"), header: http.Header{"Location": {at}}}, nil
	}
	return restAnswer{}, restInvalid("alt", "must be one of: original, thumbnail")
}

// fileAddress is where a field's file is: with the storage server, where there
// is one.
func (c *ctx) fileAddress(q *rest, f *field, v any) (string, error) {
	id := 0
	switch v := v.(type) {
	case string:
		id = c.state.images[v].attachment
		if id == 0 {
			return c.imageLink(v), nil // a picture that no upload made
		}
	case map[string]any:
		id, _ = uploaded(v)
	}
	b := c.state.files[id]
	switch {
	case b == nil && f.Type == "image":
		return "", restNotFound(codeNone, "File not found")
	case b == nil:
		return "", restNotFound(codeNone, "Field "+f.key+" is empty.")
	case c.storageURL == "":
		return c.siteLink(id), nil
	}
	more := url.Values{}
	if c.opts.Echo && len(q.secrets) > 0 {
		more.Set("x-echo", q.secrets[0].value) // a signed link can't be added to
	}
	return c.getLink(id, b, more), nil
}

// uploadTarget is the row and the field that the path names.
func (c *ctx) uploadTarget(q *rest) (*entity, *field, error) {
	t, err := c.restTypeOf(q.at["type"], true)
	if err != nil {
		return nil, nil, err
	}
	e, err := c.live(link{t.key, q.id()}, true)
	if err != nil {
		return nil, nil, err
	}
	key := orDefault(q.at["field"], "attachments")
	f := t.fields[key]
	switch {
	case f == nil:
		return nil, nil, restNotFound(codeBad, "Field '"+t.key+"."+key+"' does not exist.")
	case key != "attachments" && !f.isFile():
		return nil, nil, notAFile(f)
	}
	return e, f, c.mayField(f, true)
}

// restBegin answers the first of the three steps: where the file goes.
func (c *ctx) restBegin(q *rest) (restAnswer, error) {
	e, f, err := c.uploadTarget(q)
	if err != nil {
		return restAnswer{}, err
	}
	if q.query.get("filename") == "" {
		return restAnswer{}, restInvalid("filename", "is missing")
	}
	multipart := q.query.get("multipart_upload") == "true"
	u := &restUpload{
		owner: c.who, row: e.link(), field: q.at["field"], service: serviceSG, kind: "Attachment",
		filename: q.query.get("filename"), timestamp: c.stamp(),
	}
	if f.Type == "image" {
		u.kind = "Thumbnail"
	}
	links := map[string]any{"complete_upload": q.prefix + q.path}
	if c.opts.DirectUploads && c.storageURL != "" {
		err = c.beginStored(q, u, multipart, links)
	} else {
		err = c.beginOnSite(q, u, links)
	}
	if err != nil {
		return restAnswer{}, err
	}
	c.begun = append(c.begun, u)
	c.begun = c.begun[max(0, len(c.begun)-maxUploads):]
	return restOK(map[string]any{"data": u.info(), "links": links}), nil
}

func (c *ctx) beginStored(q *rest, u *restUpload, multipart bool, links map[string]any) error {
	stored, err := c.beginUpload(u.kind, u.filename, multipart, "")
	if err != nil {
		return err
	}
	u.service, u.stored = serviceS3, stored
	links["upload"] = c.putLink(stored, 1)
	if multipart {
		links["get_next_part"] = u.nextPart(q.prefix+q.path+"/multipart", 2)
	}
	return nil
}

// beginOnSite makes a link to the site itself, which is good once.
func (c *ctx) beginOnSite(q *rest, u *restUpload, links map[string]any) error {
	var err error
	if u.signature, err = c.random(); err != nil {
		return err
	}
	u.expiration = c.now.Add(linkTTL).Unix()
	query := url.Values{
		"filename": {u.filename}, "signature": {u.signature}, "expiration": {strconv.FormatInt(u.expiration, 10)},
		"user_id": {strconv.Itoa(c.who.actor.ID)}, "user_type": {c.who.actor.Type},
	}
	links["upload"] = c.url + q.prefix + q.path + "?" + query.Encode()
	return nil
}

// info is the data of the first step, which the last step sends back.
func (u *restUpload) info() map[string]any {
	m := map[string]any{
		"timestamp": u.timestamp, "upload_type": u.kind, "upload_id": nil, "storage_service": u.service,
		"original_filename": u.filename, "multipart_upload": u.inParts(),
	}
	if u.inParts() {
		m["upload_id"] = u.stored.id
	}
	return m
}

func (u *restUpload) inParts() bool { return u.stored != nil && u.stored.multipart }

func (u *restUpload) nextPart(path string, n int) string {
	return path + "?" + url.Values{
		"filename": {u.filename}, "part_number": {strconv.Itoa(n)}, "timestamp": {u.timestamp}, "upload_id": {u.stored.id}, "upload_type": {u.kind},
	}.Encode()
}

// restNextPart answers the link of a further part.
func (c *ctx) restNextPart(q *rest) (restAnswer, error) {
	if _, _, err := c.uploadTarget(q); err != nil {
		return restAnswer{}, err
	}
	for _, name := range words("upload_type", "filename", "timestamp", "part_number") {
		if q.query.get(name) == "" {
			return restAnswer{}, restInvalid(name, "is missing")
		}
	}
	u := c.begunUpload(q, map[string]any{
		"upload_id": q.query.get("upload_id"), "upload_type": q.query.get("upload_type"), "original_filename": q.query.get("filename"),
		"timestamp": q.query.get("timestamp"), "storage_service": serviceS3, "multipart_upload": true,
	})
	n, err := strconv.Atoi(q.query.get("part_number"))
	if u == nil || err != nil || n < 1 || n > maxPart {
		return restAnswer{}, restBad(http.StatusBadRequest, "Could not generate upload url. Check the site settings.", map[string]any{})
	}
	return restOK(map[string]any{"links": map[string]any{
		"upload": c.putLink(u.stored, n), "get_next_part": u.nextPart(q.prefix+q.path, n+1),
	}}), nil
}

// begunUpload finds the upload that the info is of, whole and unchanged; of
// equals, the one begun last.
func (c *ctx) begunUpload(q *rest, info map[string]any) *restUpload {
	t := c.state.schema.restType(q.at["type"])
	for _, u := range slices.Backward(c.begun) {
		own := u.info()
		if u.stored == nil && u.blob != nil && info["upload_id"] != nil {
			own["upload_id"] = u.signature // as the answer to the PUT has it
		}
		if t != nil && u.row == (link{t.key, q.id()}) && u.field == q.at["field"] && string(appendJSON(nil, own)) == string(appendJSON(nil, info)) {
			return u
		}
	}
	return nil
}

// endUpload forgets an upload that is complete or given up.
func (c *ctx) endUpload(u *restUpload) {
	c.begun = slices.DeleteFunc(c.begun, func(x *restUpload) bool { return x == u })
}

// restComplete makes an Attachment of what was uploaded, also when nothing
// was (flow-protocol §5.5).
func (c *ctx) restComplete(q *rest) (restAnswer, error) {
	e, _, err := c.uploadTarget(q)
	if err != nil {
		return restAnswer{}, err
	}
	m, _ := q.body.(map[string]any)
	info, ok := m["upload_info"].(map[string]any)
	if !ok {
		return restAnswer{}, restInvalid("upload_info", "is missing")
	}
	etags := info["etags"]
	delete(info, "etags")
	u := c.begunUpload(q, info)
	if u == nil {
		return restAnswer{}, restInvalid("upload_info", "is not what was given out")
	}
	if u.inParts() {
		if err := c.completeParts(u, etags); err != nil {
			return restAnswer{}, err
		}
	}
	more, _ := m["upload_data"].(map[string]any)
	if err := c.state.atomically(func() error { return c.linkREST(e, u, more) }); err != nil {
		return restAnswer{}, err
	}
	if u.stored != nil {
		u.stored.linked = true
		c.forget(u.stored)
	}
	c.endUpload(u)
	return space(http.StatusCreated), nil
}

func (c *ctx) completeParts(u *restUpload, etags any) error {
	list, ok := etags.([]any)
	if !ok || len(list) == 0 {
		return restBad(http.StatusBadRequest, "'multipart_upload' is True but no 'etags' send with request.", map[string]any{
			"etags": "missing and required for multipart uploads.",
		})
	}
	tags := make([]string, len(list))
	for i, v := range list {
		tags[i] = `"` + strings.Trim(asText(v), `"`) + `"`
	}
	if err := c.completeUpload(u.stored, tags); err != nil {
		return restBad(http.StatusBadRequest, "Error completing multipart upload.", map[string]any{})
	}
	return nil
}

// linkREST links the file as the upload forms do.
func (c *ctx) linkREST(e *entity, u *restUpload, more map[string]any) error {
	if err := c.only(more, "upload_data", "display_name", "tags"); err != nil {
		return err
	}
	f := &uploadForm{fields: map[string]string{"display_name": asText(more["display_name"])}, blob: u.blob}
	if u.field != "attachments" {
		f.fields["field_name"] = u.field
	}
	if u.stored != nil && len(u.stored.parts) > 0 {
		var err error
		if f.blob, err = c.uploadedBlob(u.stored); err != nil {
			return err
		}
	}
	if f.blob == nil { // nothing was sent, and nobody looks
		f.blob = c.blobLocked(&intake{sum: sha256.New(), keep: true}, u.filename, "application/octet-stream")
	}
	id, err := c.linkFile(e, f)
	if err != nil || more["tags"] == nil {
		return err
	}
	a := c.state.get(link{"Attachment", id})
	tags, err := c.targets(a.typ.fields["tags"], more["tags"])
	if err != nil {
		return err
	}
	c.set(a, a.typ.fields["tags"], tags, "set")
	return nil
}

// restAbort gives an upload in parts up.
func (c *ctx) restAbort(q *rest) (restAnswer, error) {
	if err := c.mayMethod(); err != nil {
		return restAnswer{}, err
	}
	m, _ := q.body.(map[string]any)
	for _, name := range words("timestamp", "upload_type", "upload_id", "storage_service", "original_filename") {
		if m[name] == nil {
			return restAnswer{}, restInvalid(name, "is missing")
		}
	}
	u := c.begunUpload(q, m)
	if u == nil || !u.inParts() {
		return restAnswer{}, restBad(http.StatusBadRequest, "Failed to abort S3 multipart upload", map[string]any{})
	}
	c.forget(u.stored)
	c.endUpload(u)
	return noContent(), nil
}

// servePut takes a file in that is sent to the site itself. The link carries
// its right in itself; a token may come with it (§5.5).
func (x *exchange) servePut(q *rest) {
	q.signed = true
	plan := x.plannedREST(q)
	in := x.site.newIntake(max(x.r.ContentLength, 0))
	_, err := io.Copy(plan.throttle(x, &bounded{in, x.site.opts.KeepFiles}), x.r.Body)
	switch {
	case errors.Is(err, errPlanned):
		x.applyPlanned(plan, func() outcome { return outcome{} })
		x.replyREST(plan, restAnswer{secrets: q.secrets})
		return
	case err != nil || x.r.ContentLength >= 0 && in.size != x.r.ContentLength:
		x.brokeOff()
		return
	}
	q.in, q.kind = in, x.r.Header.Get("Content-Type")
	x.replyREST(plan, x.applyPlannedREST(plan, q))
}

// bounded lets go of the bytes of a chunked file that turns out to be over the
// bound: its length wasn't known when it began.
type bounded struct {
	in   *intake
	most int64
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.in.keep && b.in.size+int64(len(p)) > b.most {
		b.in.keep, b.in.data = false, nil
	}
	return b.in.Write(p)
}

// plannedREST takes the fault that is due before the call is applied.
func (x *exchange) plannedREST(q *rest) *Fault {
	x.site.mu.Lock()
	defer x.site.mu.Unlock()
	x.noteREST(q)
	return x.site.plannedLocked(x.rec)
}

// applyPlannedREST does a call whose fault is known.
func (x *exchange) applyPlannedREST(plan *Fault, q *rest) restAnswer {
	s := x.site
	s.mu.Lock()
	defer s.mu.Unlock()
	who, err := s.callerLocked(q)
	x.noteREST(q)
	return x.settleREST(plan, q, who, err)
}

// restReceived keeps a file that came whole, under the link's signature.
func (c *ctx) restReceived(q *rest) (restAnswer, error) {
	for _, name := range words("filename", "signature", "user_id", "user_type", "expiration") {
		if q.query.get(name) == "" {
			return restAnswer{}, restInvalid(name, "is missing")
		}
	}
	t := c.state.schema.restType(q.at["type"])
	for _, u := range c.begun {
		if u.signature == "" || !equal(u.signature, q.query.get("signature")) {
			continue
		}
		if t == nil || u.row != (link{t.key, q.id()}) || u.field != q.at["field"] || !u.signs(q.query) {
			break // it was signed for something else
		}
		return c.keepSigned(q, u)
	}
	return restAnswer{}, restBad(http.StatusBadRequest, "Invalid signature", nil)
}

// signs says whether the rest of the query is as it was given out.
func (u *restUpload) signs(q restQuery) bool {
	return q.get("filename") == u.filename && q.get("expiration") == strconv.FormatInt(u.expiration, 10) &&
		q.get("user_id") == strconv.Itoa(u.owner.actor.ID) && q.get("user_type") == u.owner.actor.Type
}

func (c *ctx) keepSigned(q *rest, u *restUpload) (restAnswer, error) {
	switch {
	case c.now.Unix() >= u.expiration:
		return restAnswer{}, restBad(http.StatusForbidden, "The upload link has expired", nil)
	case u.used:
		return restAnswer{}, restBad(http.StatusForbidden, "The upload link has been used", nil)
	}
	u.used = true
	u.blob = c.blobLocked(q.in, u.filename, orDefault(q.kind, "application/octet-stream"))
	q.file = &u.blob.File
	return restOK(map[string]any{
		"data": map[string]any{"upload_id": u.signature}, "links": map[string]any{"complete_upload": q.prefix + q.path},
	}), nil
}
