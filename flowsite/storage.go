package flowsite

import (
	"bytes"
	"crypto/sha256"
	"encoding"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Bounds and settings of the storage service.
const (
	minPart    = 5 << 20 // bytes of every part but the last: flow-protocol §3.5
	maxPart    = 10_000  // parts of one upload, as on S3
	maxLinks   = 10_000  // links remembered; the oldest go first
	maxUploads = 1000    // uploads begun and not linked; the oldest go first
	linkTTL    = 15 * time.Minute
	bucketPath = "/sg-media-stand-in/"
	userType   = "ApiUser"
	putVerb    = "storage_put" // Received.Method
	getVerb    = "storage_get"
)

// storageLink is a pre-signed link that the site gave out. It carries its
// right in itself: nothing else may come with it.
type storageLink struct {
	target  string // path and query, exactly
	expires time.Time
	used    bool
	upload  *storageUpload // PUT of one part; nil: GET of blob
	part    int
	blob    *blob
	file    int // id of the Attachment
}

// storageUpload is a file on its way into the storage (flow-protocol §3.3).
type storageUpload struct {
	id, kind, filename, timestamp string
	multipart                     bool
	info                          string // the text of api_get_upload_link_info
	parts                         map[int]*storedPart
	complete                      bool
	linked                        bool
	created                       string
}

// storedPart is one part as it came in. A single PUT is part 1.
type storedPart struct {
	tag, contentType string
	size             int64
	data             []byte // nil: not kept
	// whole is the state of the sum over all parts up to this one, and before
	// the tag of the part that it continues; nil when the part before it
	// wasn't there yet.
	whole  []byte
	before string
}

// StartStorage serves the storage service over TLS on a port of its own, with
// a certificate of the site's own CA. Options.DirectUploads, StorageLinks and RedirectDownloads
// take effect with it.
func (s *Site) StartStorage() (*Server, error) {
	srv, err := s.startTLS(http.HandlerFunc(s.serveStorage), &s.storageHosts)
	if err != nil {
		return nil, err
	}
	// Another name than the site's, or a client would send it the site's
	// cookies: those know no ports.
	srv.URL = strings.Replace(srv.URL, "127.0.0.1", "localhost", 1)
	s.mu.Lock()
	s.storageURL = srv.URL
	s.mu.Unlock()
	return srv, nil
}

// serveStorage answers one request to the storage service.
func (s *Site) serveStorage(w http.ResponseWriter, r *http.Request) {
	x := &exchange{site: s, w: w, r: r}
	x.rec = s.received(r)
	x.rec.Kind, x.rec.Method = RouteStorage, getVerb
	if r.Method == http.MethodPut {
		x.rec.Method = putVerb
	}
	found := x.judgeStorage()
	l, more := x.storageLink()
	if found = append(found, more...); len(found) > 0 {
		x.violate(found...)
		return
	}
	if l.upload != nil {
		x.storagePut(l)
		return
	}
	x.storageGet(l)
}

// storageHeaders are those that clients send to storage (Content-Size and
// Sec-Fetch-Mode: nodejs, Expect: curl); a credential is among none of them.
func storageHeaders() []string {
	return words("Accept", "Accept-Encoding", "Accept-Language", "Connection", "Content-Length", "Content-Size", "Content-Type", "Expect", "Sec-Fetch-Mode",
		"If-Modified-Since", "If-None-Match", "If-Range", "Range", "User-Agent")
}

func (x *exchange) judgeStorage() []string {
	found := x.judgeHost(x.site.hostsOf(&x.site.storageHosts))
	found = append(found, x.judgeHeaderNames(storageHeaders())...)
	if x.r.ContentLength < 0 || len(x.r.TransferEncoding) > 0 {
		found = append(found, "no content length")
	}
	if x.r.Method != http.MethodPut && x.r.ContentLength > 0 {
		found = append(found, "a body")
	}
	if name := x.site.leaked(x.r); name != "" {
		found = append(found, "storage was sent "+name)
	}
	return found
}

// leaked looks for the site's own credentials in the headers. The target is
// the link, every byte of which the site gave out.
func (s *Site) leaked(r *http.Request) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var text strings.Builder
	for name, values := range r.Header {
		text.WriteString(name + strings.Join(values, "\n"))
	}
	all := text.String()
	for _, sc := range s.scripts {
		if sc.key != "" && (strings.Contains(all, sc.key) || strings.Contains(all, url.QueryEscape(sc.key))) {
			return "the key of script " + sc.name
		}
	}
	for token := range s.sessions {
		if strings.Contains(all, token) {
			return "a session token"
		}
	}
	for _, box := range []tokenBox{s.tokens.access, s.tokens.refresh} {
		for token := range box.byText {
			if strings.Contains(all, token) {
				return "a token of REST"
			}
		}
	}
	return ""
}

// storageLink finds the link that the request is of.
func (x *exchange) storageLink() (*storageLink, []string) {
	s := x.site
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.links[x.r.RequestURI]
	switch {
	case l == nil:
		return nil, []string{"no link like this was given out: " + x.r.RequestURI}
	case l.upload != nil && x.r.Method != http.MethodPut, l.upload == nil && x.r.Method != http.MethodGet && x.r.Method != http.MethodHead:
		return nil, []string{"the verb is " + x.r.Method + ", the link was signed for another"}
	}
	return l, nil
}

// deadLocked is the answer when a link's time is over.
func (x *exchange) deadLocked(l *storageLink) (outcome, bool) {
	switch {
	case !x.site.opts.Now().Before(l.expires):
		return storageError(http.StatusForbidden, "AccessDenied", "Request has expired"), true
	case l.used:
		return storageError(http.StatusForbidden, "AccessDenied", "The link has been used"), true
	}
	return outcome{}, false
}

func storageError(status int, code, message string) outcome {
	body := `<?xml version="1.0" encoding="UTF-8"?>` + "\n<Error><Code>" + code + "</Code><Message>" + message + "</Message></Error>"
	return outcome{status: status, header: http.Header{"Content-Type": {"application/xml"}}, body: []byte(body)}
}

// storagePut takes one part in. It counts only when it came whole.
func (x *exchange) storagePut(l *storageLink) {
	s := x.site
	plan := x.plan()
	in := s.newIntake(x.r.ContentLength)
	s.mu.Lock()
	before := l.upload.parts[l.part-1]
	s.mu.Unlock()
	whole := continued(before, l.part)
	w := io.Writer(in)
	if whole != nil {
		w = io.MultiWriter(in, whole)
	}
	_, err := io.Copy(plan.throttle(x, w), x.r.Body)
	if err == errPlanned { //nolint:errorlint // made here, not wrapped by io.Copy
		x.reply(plan, x.applyPlanned(plan, func() outcome { return outcome{} }))
		return
	}
	if err != nil || in.size != x.r.ContentLength {
		x.brokeOff()
		return
	}
	sum := hex.EncodeToString(in.sum.Sum(nil))
	p := &storedPart{tag: tagOf(sum), contentType: x.r.Header.Get("Content-Type"), size: in.size, whole: stateOf(whole)}
	if before != nil {
		p.before = before.tag
	}
	x.rec.File = &File{Name: l.upload.filename, ContentType: p.contentType, Size: in.size, SHA256: sum}
	out := x.applyPlanned(plan, func() outcome {
		if out, dead := x.deadLocked(l); dead {
			return out
		}
		if l.upload.complete {
			return storageError(http.StatusNotFound, "NoSuchUpload", "The upload is complete")
		}
		if old := l.upload.parts[l.part]; old != nil {
			s.keptBytes -= int64(len(old.data))
		}
		if in.keep && s.keptBytes+in.size <= s.opts.KeepFiles {
			p.data = in.data
			s.keptBytes += in.size
		}
		l.used, l.upload.parts[l.part] = true, p
		return outcome{header: http.Header{"Etag": {p.tag}, "Content-Type": nil}}
	})
	x.reply(plan, out)
}

// continued is the sum over all parts so far, to be continued with part n;
// nil when the part before isn't there.
func continued(before *storedPart, n int) hash.Hash {
	h := sha256.New()
	if n == 1 {
		return h
	}
	u, ok := h.(encoding.BinaryUnmarshaler)
	if before == nil || before.whole == nil || !ok || u.UnmarshalBinary(before.whole) != nil {
		return nil
	}
	return h
}

func stateOf(h hash.Hash) []byte {
	if m, ok := h.(encoding.BinaryMarshaler); ok {
		if state, err := m.MarshalBinary(); err == nil {
			return state
		}
	}
	return nil
}

func (x *exchange) storageGet(l *storageLink) {
	dead := false
	plan, out := x.applyWith(func() outcome {
		out, is := x.deadLocked(l)
		if dead = is; !dead && x.r.Method == http.MethodGet {
			l.used = x.site.opts.OneUseLinks
		}
		return out
	})
	if dead || plan != nil && plan.fails() {
		x.reply(plan, out)
		return
	}
	x.sendFile(plan, out, l.blob)
}

// linkTo makes a pre-signed link to a key of the storage and remembers it.
func (c *ctx) linkTo(l *storageLink, key, filename string, more url.Values) string {
	s := c.Site
	s.linkN++
	sig, err := s.random()
	if err != nil {
		sig = "no-entropy" // the number keeps links apart
	}
	q := url.Values{
		"X-Amz-Algorithm": {"AWS4-HMAC-SHA256"}, "X-Amz-Credential": {"STANDINSTORAGE/" + c.now.Format("20060102") + "/us-west-2/s3/aws4_request"},
		"X-Amz-Date": {c.now.Format("20060102T150405Z")}, "X-Amz-Expires": {strconv.Itoa(int(linkTTL.Seconds()))}, "X-Amz-SignedHeaders": {"host"},
		"x-amz-meta-user-id": {strconv.Itoa(c.who.actor.ID)}, "x-amz-meta-user-type": {orDefault(c.who.actor.Type, userType)},
	}
	maps.Copy(q, more)
	l.target = bucketPath + key + "/" + strconv.Itoa(s.linkN) + "/" + url.PathEscape(filename) + "?" + q.Encode() + "&X-Amz-Signature=" + sig
	l.expires = s.opts.Now().Add(linkTTL)
	s.links[l.target] = l
	if s.linkOrder = append(s.linkOrder, l.target); len(s.linkOrder) > maxLinks {
		delete(s.links, s.linkOrder[0])
		s.linkOrder = s.linkOrder[1:]
	}
	return s.storageURL + l.target
}

// getLink is a link to download an Attachment's file.
func (c *ctx) getLink(id int, b *blob, more url.Values) string {
	q := url.Values{"response-content-disposition": {disposition(b.Name)}}
	maps.Copy(q, more)
	return c.linkTo(&storageLink{blob: b, file: id}, "attachment/"+strconv.Itoa(id), b.Name, q)
}

// putLink is a link to upload one part.
func (c *ctx) putLink(u *storageUpload, n int) string {
	more := url.Values{}
	if u.multipart {
		more = url.Values{"partNumber": {strconv.Itoa(n)}, "uploadId": {u.id}}
	}
	return c.linkTo(&storageLink{upload: u, part: n}, "upload/"+u.id, u.filename, more)
}

// beginUpload opens an upload to storage. kind is Attachment or Thumbnail.
func (c *ctx) beginUpload(kind, filename string, multipart bool, created string) (*storageUpload, error) {
	if c.storageURL == "" {
		return nil, bad("API %s() direct uploads are off", c.method)
	}
	id, err := c.random()
	if err != nil {
		return nil, err
	}
	at := c.now
	if created != "" {
		if at, err = clientTime(created); err != nil {
			return nil, bad("API %s() created_at %s", c.method, created)
		}
	}
	u := &storageUpload{
		id: id, kind: kind, filename: filename, timestamp: at.Format(dateTime), multipart: multipart,
		parts: map[int]*storedPart{}, created: created,
	}
	c.uploads[id] = u
	if c.uploadOrder = append(c.uploadOrder, id); len(c.uploadOrder) > maxUploads {
		c.forget(c.uploads[c.uploadOrder[0]])
		c.uploadOrder = c.uploadOrder[1:]
	}
	return u, nil
}

// forget drops an upload that will not be linked (any more).
func (s *Site) forget(u *storageUpload) {
	if u == nil {
		return
	}
	delete(s.uploads, u.id)
	if u.linked {
		return // the parts are the file now
	}
	for _, p := range u.parts {
		s.keptBytes -= int64(len(p.data))
	}
}

// completeUpload joins the parts: all from 1 on, with the tags that the
// storage gave, none but the last too small.
func (c *ctx) completeUpload(u *storageUpload, tags []string) error {
	if len(tags) != len(u.parts) || u.complete {
		return bad("API %s() %d tags for %d parts, or complete already", c.method, len(tags), len(u.parts))
	}
	for i, tag := range tags {
		p := u.parts[i+1]
		switch {
		case p == nil || p.tag != tag:
			return bad("API %s() part %d: no such ETag", c.method, i+1)
		case i < len(tags)-1 && p.size < minPart:
			return bad("API %s() part %d has %d bytes: less than %d", c.method, i+1, p.size, minPart)
		}
	}
	u.complete = true
	return nil
}

// uploadedBlob is the file that an upload came to.
func (c *ctx) uploadedBlob(u *storageUpload) (*blob, error) {
	if len(u.parts) == 0 || u.multipart && !u.complete {
		return nil, bad("API %s() nothing was uploaded, or not completed", c.method)
	}
	b := &blob{File: File{Name: u.filename, ContentType: u.parts[1].contentType}, modified: c.now.Truncate(time.Second)}
	var data [][]byte
	chained, kept := true, true
	for n := 1; n <= len(u.parts); n++ {
		p := u.parts[n]
		b.Size += p.size
		chained = chained && p.whole != nil && (n == 1 || p.before == u.parts[n-1].tag)
		kept = kept && int64(len(p.data)) == p.size
		data = append(data, p.data)
	}
	last := u.parts[len(u.parts)]
	if kept {
		b.data = bytes.Join(data, nil)
	}
	if chained {
		b.SHA256 = hex.EncodeToString(continued(last, len(u.parts)+1).Sum(nil))
	} else if kept {
		sum := sha256.Sum256(b.data)
		b.SHA256 = hex.EncodeToString(sum[:])
	}
	b.tag = last.tag
	if len(u.parts) > 1 {
		b.tag = fmt.Sprintf(`"%s-%d"`, strings.Trim(last.tag, `"`), len(u.parts))
	}
	return b, nil
}

// hostsOf copies a list of hosts that Site.mu guards.
func (s *Site) hostsOf(list *[]string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(*list)
}
