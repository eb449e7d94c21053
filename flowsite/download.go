package flowsite

import (
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// serveDownload answers with a file to whoever has a live session in the
// cookie, and sends all others to the login page (flowprotocol §4).
func (x *exchange) serveDownload() {
	x.rec.Kind = RouteDownload
	path, _, _ := strings.Cut(x.r.RequestURI, "?")
	parts := strings.Split(strings.TrimPrefix(path, "/"), "/")
	x.rec.Method = parts[0]
	faults := x.judgeDownload()
	token, more := x.cookie()
	x.secret, x.rec.Credential = token, KindNone
	if token != "" {
		x.rec.Credential = KindSession
	}
	if faults = append(faults, more...); len(faults) > 0 {
		x.violate(faults...)
		return
	}
	var b *blob
	plan, out := x.applyWith(func() outcome {
		var o outcome
		o, b = x.downloadLocked(token, parts)
		return o
	})
	if b == nil || plan != nil && plan.fails() {
		x.reply(plan, out)
		return
	}
	x.sendFile(plan, out, b)
}

// downloadHeaders are those of flow-protocol §4.2, ranges and conditions, and
// what a proxy may well add.
func downloadHeaders() []string {
	return words("Accept", "Accept-Encoding", "Accept-Language", "Connection", "Cookie", "If-Modified-Since", "If-None-Match", "If-Range",
		"Range", "User-Agent", "X-Request-Id")
}

func (x *exchange) judgeDownload() []string {
	faults := x.judgeOrigin()
	if x.r.Method != http.MethodGet && x.r.Method != http.MethodHead {
		faults = append(faults, "the verb is "+x.r.Method)
	}
	if strings.ContainsAny(x.r.RequestURI, "?#") {
		faults = append(faults, "the target is "+x.r.RequestURI)
	}
	if x.r.ContentLength != 0 || len(x.r.TransferEncoding) > 0 {
		faults = append(faults, "a body")
	}
	return append(faults, x.judgeHeaderNames(downloadHeaders())...)
}

// cookie reads the one cookie that a client sends, "" when there is none.
func (x *exchange) cookie() (string, []string) {
	v, given := x.r.Header["Cookie"]
	if !given || len(v) != 1 {
		return "", nil // repeated headers are found elsewhere
	}
	token, ok := strings.CutPrefix(v[0], "_session_id=")
	if !ok || token == "" || strings.ContainsAny(token, "; ,\"\t") {
		return "", []string{"the cookie isn't _session_id alone"}
	}
	return token, nil
}

// downloadLocked finds the file; nil where the outcome is the whole answer.
func (x *exchange) downloadLocked(token string, parts []string) (outcome, *blob) {
	s := x.site
	id, err := s.sessionLocked(auth{kind: KindSession, session: token, rejectExpired: true})
	if err != nil {
		out := x.toLogin()
		out.code = codeAuth
		return out, nil
	}
	if id.script != nil {
		x.rec.Script = id.script.name
	}
	c := &ctx{Site: s, state: s.state, who: id, method: parts[0], now: s.opts.Now().UTC()}
	b, err := c.fileAt(parts)
	if err != nil {
		return x.page(http.StatusBadRequest, err.Error()), nil
	}
	if b.file != 0 && s.opts.RedirectDownloads && s.storageURL != "" {
		return x.toStorage(c, b), nil
	}
	return outcome{}, b.blob
}

// toStorage sends the caller to the storage service.
func (x *exchange) toStorage(c *ctx, b found) outcome {
	more := url.Values{}
	if x.site.opts.Echo {
		more.Set("x-echo", x.secret)
	}
	out := x.page(http.StatusFound, "You are being redirected.")
	out.header.Set("Location", c.getLink(b.file, b.blob, more))
	return out
}

// toLogin sends the caller to the login page, as the site does (§4.3).
func (x *exchange) toLogin() outcome {
	scheme := "http://"
	if x.r.TLS != nil {
		scheme = "https://"
	}
	out := x.page(http.StatusFound, "You are being redirected.")
	out.header.Set("Location", scheme+x.r.Host+"/user/login?return_path="+url.QueryEscape(x.r.URL.Path))
	return out
}

// page is an answer in HTML.
func (x *exchange) page(status int, text string) outcome {
	body := []byte("<html><body>" + strings.ReplaceAll(text, "<", "&lt;") + "</body></html>\n")
	if x.site.opts.Echo {
		body = withEchoLines(body, x.secret)
	}
	return outcome{status: status, header: http.Header{"Content-Type": {htmlType}}, body: body}
}

// serveLogin is the login page: a client that follows the redirect to it takes
// it for the file.
func (x *exchange) serveLogin() {
	x.rec.Kind, x.rec.Method = RouteLogin, "login"
	path, query, _ := strings.Cut(x.r.RequestURI, "?")
	faults := x.judgeOrigin()
	if x.r.Method != http.MethodGet && x.r.Method != http.MethodHead {
		faults = append(faults, "the verb is "+x.r.Method)
	}
	q, err := url.ParseQuery(query)
	if x.site.opts.Echo {
		delete(q, "echo") // of the redirect that led here
	}
	if err != nil || len(q) > 1 || len(q) == 1 && len(q["return_path"]) != 1 {
		faults = append(faults, "the target is "+path+"?"+query)
	}
	faults = append(faults, x.judgeHeaderNames(downloadHeaders())...)
	token, more := x.cookie()
	x.secret = token
	if faults = append(faults, more...); len(faults) > 0 {
		x.violate(faults...)
		return
	}
	x.reply(x.applyWith(func() outcome {
		return x.page(http.StatusOK, "Sign in to the stand-in site")
	}))
}

// found is a file, and the Attachment that it is of; 0: of none.
type found struct {
	*blob
	file int
}

// fileAt finds what a path names.
func (c *ctx) fileAt(parts []string) (found, error) {
	switch {
	case len(parts) == 3 && parts[0] == "file_serve" && parts[1] == "attachment":
		return c.attachmentFile(parts[2])
	case len(parts) == 4 && parts[0] == "file_serve" && parts[1] == "version":
		return c.movie(parts[2], parts[3])
	case len(parts) == 4 && parts[0] == "thumbnail" && parts[1] == "full":
		return c.thumbnailOf(parts[2], parts[3])
	case parts[0] == "images":
		return c.imageFile(strings.Join(parts[1:], "/"))
	case len(parts) == 3 && parts[0] == "files":
		b, err := c.attachmentFile(parts[1])
		if err == nil && url.PathEscape(b.Name) != parts[2] {
			err = none("%s() no file %s", c.method, parts[2])
		}
		return b, err
	default:
		return found{}, none("%s() there is nothing at /%s", c.method, strings.Join(parts, "/"))
	}
}

func (c *ctx) attachmentFile(idText string) (found, error) {
	e, err := c.rowOf("Attachment", idText, false)
	if err != nil {
		return found{}, err
	}
	b := c.state.files[e.id]
	if b == nil {
		return found{}, none("%s() Attachment %d may not exist or is a local file", c.method, e.id)
	}
	if !b.kept() {
		return found{}, none("%s() the contents of Attachment %d weren't kept: Options.KeepFiles", c.method, e.id)
	}
	return found{b, e.id}, nil
}

// movie is the uploaded movie of a Version. The stand-in transcodes nothing:
// every codec is the file itself.
func (c *ctx) movie(idText, codec string) (found, error) {
	if !slices.Contains(words("mp4", "webm", "mov", "original"), codec) {
		return found{}, none("%s() no codec %s", c.method, codec)
	}
	e, err := c.rowOf("Version", idText, false)
	if err != nil {
		return found{}, err
	}
	m, _ := e.values["sg_uploaded_movie"].(map[string]any)
	id, ok := toInt(m["id"])
	if !ok {
		return found{}, none("%s() Version %d has no movie", c.method, e.id)
	}
	return c.attachmentFile(strconv.Itoa(id))
}

func (c *ctx) thumbnailOf(typ, idText string) (found, error) {
	e, err := c.rowOf(typ, idText, false)
	if err != nil {
		return found{}, err
	}
	at, ok := e.values["image"].(string)
	if !ok {
		return found{}, none("%s() %s %d has no thumbnail", c.method, typ, e.id)
	}
	return c.imageFile(at)
}

const pendingImage = "status/transient/thumbnail_pending.png" // flow-protocol §4.1

// imageFile is a picture by its path below /images/. Those that no upload made
// (of seeded rows, and the placeholder) are a built-in one.
func (c *ctx) imageFile(at string) (found, error) {
	img, ok := c.state.images[at]
	switch {
	case ok && !img.pending:
		return c.attachmentFile(strconv.Itoa(img.attachment))
	case ok, at == pendingImage, strings.HasPrefix(at, "thumbnail/") && strings.HasSuffix(at, ".png"):
		return found{blob: placeholder()}, nil
	default:
		return found{}, none("%s() no image %s", c.method, at)
	}
}

// placeholder is a PNG of one pixel.
func placeholder() *blob {
	const png = "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00\x1f\x15\xc4\x89" +
		"\x00\x00\x00\rIDATx\x9cc\xf8\x0f\x04\x00\x09\xfb\x03\xfd\xe3U\xf2\x9c\x00\x00\x00\x00IEND\xaeB`\x82"
	return &blob{
		File: File{Name: "thumbnail.png", ContentType: "image/png", Size: int64(len(png))}, tag: `"placeholder"`, data: []byte(png),
		modified: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
	}
}

// ProcessThumbnails makes every thumbnail ready that was pending.
func (s *Site) ProcessThumbnails() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for at, img := range s.state.images {
		img.pending = false
		s.state.images[at] = img
	}
}

func disposition(name string) string {
	return mime.FormatMediaType("attachment", map[string]string{"filename": name})
}
