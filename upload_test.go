package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"stagedoor/flowsite"
)

// The same script, every upload and download that the real client can do, once
// with the real key at the site itself and once without through Stagedoor: the
// same results, the same files at the site in the end, the same calls. So it is
// when Stagedoor stands between the tool and the storage, too.
func TestUploadsAndDownloadsOfTheClientAreTheSame(t *testing.T) {
	t.Parallel()
	type way struct {
		storage string           // away: the tool goes there itself; relayed; none
		o       flowsite.Options // whether the site's links lead to the storage
		large   string           // bytes
	}
	ways := []way{
		{"away", flowsite.Options{}, "41000001"},
		{"away", flowsite.Options{StorageLinks: true, RedirectDownloads: true}, "20000001"},
		{"relayed", flowsite.Options{}, "20000001"},
		{"relayed", flowsite.Options{StorageLinks: true, RedirectDownloads: true}, "41000001"},
		{"none", flowsite.Options{}, "41000001"},
	}
	for _, version := range clients() {
		for _, w := range ways {
			t.Run(fmt.Sprintf("shotgun_api3 %s, storage %s, links to it %t", version, w.storage, w.o.StorageLinks), func(t *testing.T) {
				t.Parallel()
				p := newPair(t, w.storage == "relayed", w.storage != "none", w.o)
				options := []string{"sudo=ann", "large=" + w.large}
				if !w.o.StorageLinks { // a link that ends in minutes is no value to keep
					options = append(options, "copy=yes")
				}
				script := filepath.Join("testdata", "client", "files.py")
				direct := begin(t, version, siteKey+"\n", append([]string{script, p.direct.URL, siteScript, t.TempDir(), "ca=" + joined(t, p.trusted(p.direct)...), "cookie=yes"}, options...)...)
				through := append([]string{script, p.s.base("tools"), "comp-publisher", t.TempDir()}, options...)
				if w.storage == "away" {
					through = append(through, "ca="+joined(t, p.trusted(p.through)...))
				}
				want, got := direct(), begin(t, version, "x\n", through...)()
				same(t, "result", got, want)
				p.compare()
			})
		}
	}
}

// pair is two equal sites: one to be asked directly, and one through Stagedoor.
type pair struct {
	t               *testing.T
	direct, through *theSite
	s               *stagedoor
}

func newPair(t *testing.T, relay, storage bool, o flowsite.Options) *pair {
	t.Helper()
	o.Now = aClock
	site := startSite
	if storage {
		site = storageSite
	}
	p := &pair{t: t, direct: site(t, o), through: site(t, o)}
	top := handleKey(t)
	if relay {
		top += relayTo(p.through)
	}
	p.s = door(t, p.through, top, everyDoor)
	if p.shown(p.direct) != p.shown(p.through) {
		t.Fatal("the two sites do not begin in the same state")
	}
	return p
}

// trusted are files with what a tool has to trust that asks a site and its
// storage itself.
func (p *pair) trusted(site *theSite) []string {
	files := []string{site.CAFile}
	if site.StorageCA != "" {
		files = append(files, site.StorageCA)
	}
	return files
}

// shown is a site's state, without the two origins of it.
func (p *pair) shown(site *theSite) string {
	return withoutOrigins(site, string(site.Snapshot()))
}

// withoutOrigins is a text without a site's own addresses.
func withoutOrigins(site *theSite, text string) string {
	for _, url := range []string{site.URL, site.StorageURL} {
		if url != "" {
			text = strings.ReplaceAll(text, hostOf(url), "HOST")
		}
	}
	return text
}

func hostOf(url string) string { return url[strings.LastIndexByte(url, '/')+1:] }

// compare checks that what a tool did on both ways came to the same.
func (p *pair) compare() {
	p.t.Helper()
	same(p.t, "state", p.shown(p.through), p.shown(p.direct))
	same(p.t, "call", strings.Join(asked(p.through, p.s.probes()...), "\n"), strings.Join(asked(p.direct), "\n"))
	for _, site := range []*theSite{p.direct, p.through} {
		wantNoViolations(p.t, site, "in the end")
		if site.Dropped() > 0 {
			p.t.Errorf("%d calls are no longer in the record", site.Dropped())
		}
	}
	if n := len(asked(p.direct)); n < 40 {
		p.t.Errorf("the script did next to nothing: %d calls", n)
	}
	for _, r := range seen(p.through) {
		if r.Credential == flowsite.KindScript && r.Script != siteScript {
			p.t.Errorf("the site saw %s by %q", r.Target, r.Script)
		}
		if r.Header.Get("Authorization") != "" && r.Kind != flowsite.RouteREST || r.Header.Get("Cookie") != "" && r.Kind != flowsite.RouteDownload {
			p.t.Errorf("the site saw a credential that no client sends with %s: %v", r.Target, r.Header)
		}
	}
	p.s.Stop()
	p.records()
}

// records checks that the audit log is whole, and has an intent and an outcome
// under the id of every call that the site saw.
func (p *pair) records() {
	p.t.Helper()
	lines := map[string][]string{}
	for _, r := range p.s.Records() {
		if id, ok := r["id"].(string); ok {
			lines[id] = append(lines[id], fmt.Sprint(r["ev"]))
		}
	}
	for _, r := range seen(p.through) {
		if r.Kind == flowsite.RouteStorage {
			continue // which is not told the id
		}
		id := r.Header.Get("Stagedoor-Request-Id")
		if fmt.Sprint(lines[id]) != "[intent outcome]" {
			p.t.Errorf("%s: the records of %q are %v", r.Target, id, lines[id])
		}
	}
	file := filepath.Join(p.t.TempDir(), "audit.jsonl")
	write(p.t, file, 0o600, p.s.Audit())
	if code, out, errs := run(p.t, "audit", "verify", file); code != 0 {
		p.t.Errorf("audit verify: %s%s", out, errs)
	}
}

// anonymous is a text of a call without the site's own addresses, and without
// what the site draws by lot.
func anonymous(site *theSite, text string) string {
	return regexp.MustCompile(`[0-9a-f]{32,}`).ReplaceAllString(withoutOrigins(site, text), "DRAWN")
}

// asked is every call that a site received, in order, in words: what it is and
// what it holds, without the credential, the origins, and what the client asks
// for only because it needs a session. Calls with the request ids in but are
// left out.
func asked(site *theSite, but ...string) (out []string) {
	for _, r := range seen(site) {
		if slices.Contains(but, r.Header.Get("Stagedoor-Request-Id")) {
			continue
		}
		target, query, _ := strings.Cut(r.Target, "?")
		if segments := strings.Split(target, "/"); r.Kind == flowsite.RouteREST && len(segments) > 4 && r.Type != "" {
			segments[4] = r.Type // however it was spelled
			target = strings.Join(segments, "/")
		}
		if r.Kind == flowsite.RouteREST {
			target = strings.TrimSuffix(target, "/") // as the client has it after _batch
		}
		params, _ := json.Marshal(r.Params) //nolint:errchkjson // came from JSON
		fields, _ := json.Marshal(r.Fields) //nolint:errchkjson // texts
		var body bytes.Buffer
		if r.Kind == flowsite.RouteREST && json.Compact(&body, r.Body) != nil {
			body = *bytes.NewBuffer(r.Body)
		}
		out = append(out, anonymous(site, fmt.Sprintf("%s %s %s %v %s %s %s sudo=%s uuid=%s %s %s %v %s",
			r.Kind, r.HTTPMethod, target, withoutSeals(query), r.Method, r.Type, r.Header.Get("Range"), r.Sudo, r.SessionUUID, params, fields, r.File, &body)))
	}
	return out
}

// withoutSeals is a query in order, without the values by which the site knows
// its own links.
func withoutSeals(query string) []string {
	var out []string
	for pair := range strings.SplitSeq(query, "&") {
		name, _, _ := strings.Cut(pair, "=")
		switch strings.ToLower(name) {
		case "signature", "expiration", "user_id", "x-amz-signature", "x-amz-credential", "x-amz-date":
			pair = name
		}
		out = append(out, pair)
	}
	slices.Sort(out)
	return out
}

// A refused upload is sent once however large it is, and what the artist reads
// is our message: the client gives up its own tries only when the answer is one
// that it understands.
func TestARefusedUploadIsSentOnceAndSaysWhy(t *testing.T) {
	t.Parallel()
	const size = 30 << 20 // answering early resets the connection from 20 MB on
	for _, version := range clients() {
		t.Run("shotgun_api3 "+version, func(t *testing.T) {
			t.Parallel()
			site := startSite(t, flowsite.Options{})
			s := door(t, site, handleKey(t), "    allow: [{read: Version}, {upload: Shot}]\n")
			p := startTool(t, version, s.base("tools"))
			file := filepath.Join(t.TempDir(), "movie.mov")
			write(t, file, 0o600, strings.Repeat("0123456789abcdef", size/16))
			for _, c := range []struct{ call, says, advice string }{
				{`sg.upload('Version', 1, FILE, 'sg_uploaded_movie')`, "comp-publisher may not upload to Version.sg_uploaded_movie", "upload: Version.sg_uploaded_movie"},
				{`sg.upload('Asset', 1, FILE)`, "comp-publisher may not upload to Asset.attachments", "upload: Asset"},
				{`sg.upload_thumbnail('Asset', 1, FILE)`, "comp-publisher may not upload to Asset.image", "upload: Asset.image"},
				{`sg.upload_filmstrip_thumbnail('Asset', 1, FILE)`, "comp-publisher may not upload to Asset.filmstrip_image", "upload: Asset.filmstrip_image"},
				{`sg.share_thumbnail([{'type': 'Asset', 'id': 1}], source_entity={'type': 'Version', 'id': 1})`, "comp-publisher may not upload to Asset.image", "upload: Asset.image"},
			} {
				before := s.refusedTotal("no_rule")
				got := p.Do(strings.ReplaceAll(c.call, "FILE", fmt.Sprintf("%q", file)))
				if got.Class != "ShotgunError" || !strings.Contains(got.Text, "0:Stagedoor: "+c.says) || !strings.Contains(got.Text, c.advice) ||
					!strings.Contains(got.Text, "Ask #pipeline, with the request id ") {
					t.Errorf("%s: %s", c.call, got)
				}
				if n := s.refusedTotal("no_rule") - before; n != 1 {
					t.Errorf("%s: refused %d times", c.call, n)
				}
			}
			wantUntouched(t, site, "with uploads that no rule allows")
		})
	}
}

// aFile is the last part of an upload.
func aFile(value string) formPart { return formPart{Name: "file", Filename: "a.mov", Value: value} }

// What decides has to come before the file, once, in the one spelling that
// every reader of forms agrees on. All else is refused, in the words that a
// client understands, before the site has seen a byte.
func TestAnUploadThatCouldBeReadInTwoWaysIsRefused(t *testing.T) {
	t.Parallel()
	site := startSite(t, flowsite.Options{})
	s := door(t, site, handleKey(t), everyDoor)
	entity := []formPart{{Name: "entity_type", Value: "Shot"}, {Name: "entity_id", Value: "1"}, {Name: "display_name", Value: "a"}}
	with := func(p ...formPart) request {
		return multipartRequest("/upload/upload_file", append(append([]formPart{}, entity...), p...)...)
	}
	type change struct{ old, with string }
	changed := func(c ...change) request {
		r := with(aFile("bytes"))
		for _, c := range c {
			if !strings.Contains(r.Body, c.old) {
				t.Fatalf("no %q in %q", c.old, r.Body)
			}
			r.Body = strings.Replace(r.Body, c.old, c.with, 1)
		}
		return r
	}
	typed := func(contentType string) request {
		r := with(aFile("bytes"))
		r.Header = header("Content-Type", contentType)
		return r
	}
	const file = `Content-Disposition: form-data; name="file"; filename="a.mov"`
	for what, r := range map[string]request{
		"a field after the file":          with(aFile("bytes"), formPart{Name: "field_name", Value: "sg_uploaded_movie"}),
		"the type after the file":         multipartRequest("/upload/upload_file", formPart{Name: "entity_id", Value: "1"}, aFile("bytes"), formPart{Name: "entity_type", Value: "Shot"}),
		"the type twice":                  with(formPart{Name: "entity_type", Value: "Version"}, aFile("bytes")),
		"the same type twice":             with(formPart{Name: "entity_type", Value: "Shot"}, aFile("bytes")),
		"no type":                         multipartRequest("/upload/upload_file", formPart{Name: "entity_id", Value: "1"}, aFile("bytes")),
		"no file":                         with(),
		"two files":                       with(aFile("bytes"), aFile("bytes")),
		"an array of types":               with(formPart{Name: "entity_type[]", Value: "Version"}, aFile("bytes")),
		"a nested name":                   with(formPart{Name: "entity[type]", Value: "Version"}, aFile("bytes")),
		"another case":                    with(formPart{Name: "Entity_Type", Value: "Version"}, aFile("bytes")),
		"a method override":               with(formPart{Name: "_method", Value: "delete"}, aFile("bytes")),
		"a type that is a file":           multipartRequest("/upload/upload_file", formPart{Name: "entity_type", Filename: "x", Value: "Shot"}, formPart{Name: "entity_id", Value: "1"}, aFile("bytes")),
		"an id that is none":              multipartRequest("/upload/upload_file", formPart{Name: "entity_type", Value: "Shot"}, formPart{Name: "entity_id", Value: "1x"}, aFile("bytes")),
		"a name with a star":              changed(change{`; filename="a.mov"`, `; filename="a.mov"; name*=utf-8''entity_type`}),
		"a file name with a star":         changed(change{`; filename="a.mov"`, `; filename="a.mov"; filename*=utf-8''b.mov`}),
		"two names":                       changed(change{`name="file"; `, `name="file"; name="entity_type"; `}),
		"two dispositions":                changed(change{file, file + "\r\nContent-Disposition: form-data; name=\"entity_type\""}),
		"a folded header":                 changed(change{`form-data; name="file"; `, "form-data;\r\n name=\"file\"; "}),
		"a transfer encoding":             changed(change{file, file + "\r\nContent-Transfer-Encoding: quoted-printable"}),
		"a content encoding":              changed(change{file, file + "\r\nContent-Encoding: gzip"}),
		"a bare name":                     changed(change{`name="entity_type"`, `name=entity_type`}),
		"a part of another kind":          changed(change{"form-data; name=\"entity_type\"", "attachment; name=\"entity_type\""}),
		"something before the first part": {Verb: "POST", Path: "/upload/upload_file", Header: with().Header, Body: "entity_type=Version\r\n" + with(aFile("bytes")).Body},
		"something after the last part":   {Verb: "POST", Path: "/upload/upload_file", Header: with().Header, Body: with(aFile("bytes")).Body + "entity_type=Version"},
		"no end":                          changed(change{"--" + aBoundary + "--\r\n\r\n", "--" + aBoundary}),
		"line feeds alone":                changed(change{"\r\n\r\nShot\r\n", "\n\nShot\n"}),
		"two boundaries":                  typed("multipart/form-data; boundary=" + aBoundary + "; boundary=x"),
		"no boundary":                     typed("multipart/form-data"),
		"a boundary with a star":          typed("multipart/form-data; boundary*=utf-8''" + aBoundary),
		"another multipart":               typed("multipart/mixed; boundary=" + aBoundary),
		"a query string":                  {Verb: "POST", Path: "/upload/upload_file?entity_type=Version", Header: with().Header, Body: with(aFile("bytes")).Body},
		"a form with the type twice":      formRequest("/upload/api_link_file", "entity_type=Shot&entity_type=Version&entity_id=1&upload_link_info=1%0Ax&display_name=a"),
		"a form with brackets":            formRequest("/upload/api_link_file", "entity_type[]=Shot&entity_id=1&upload_link_info=1%0Ax&display_name=a"),
		"a form with semicolons":          formRequest("/upload/api_link_file", "entity_type=Shot;entity_type=Version&entity_id=1&upload_link_info=1%0Ax&display_name=a"),
		"a form that is no UTF-8":         formRequest("/upload/api_link_file", "entity_type=Shot&entity_id=1&upload_link_info=1%0Ax&display_name=%ff"),
		"a form with a bad escape":        formRequest("/upload/api_link_file", "entity_type=Sh%zzot&entity_id=1&upload_link_info=1%0Ax&display_name=a"),
	} {
		a := s.ask("tools", r)
		// Whether it is refused as a form or as no form at all, it is refused.
		if a.refused() == "" || a.Status == 200 && !strings.HasPrefix(a.Body, "0:Stagedoor: ") || a.Status > 200 && a.Status < 400 {
			t.Errorf("%s: %s", what, a)
		}
	}
	for _, r := range site.Received() {
		if r.Kind == flowsite.RouteUpload && !r.Aborted { // what is found after the file breaks it off
			t.Errorf("the site took %s %s", r.HTTPMethod, r.Target)
		}
	}
	if strings.Contains(string(site.Snapshot()), "a.mov") {
		t.Error("the site has a file")
	}
}

// What an upload says of its user, wherever it says it, is replaced; the site
// sees the Script's own credential once.
func TestTheCredentialOfAnUploadIsReplacedWhereverItStands(t *testing.T) {
	t.Parallel()
	site := startSite(t, flowsite.Options{})
	s := door(t, site, handleKey(t), everyDoor)
	script := []formPart{{Name: "script_name", Value: siteScript}, {Name: "script_key", Value: "x"}}
	entity := []formPart{{Name: "entity_type", Value: "Shot"}, {Name: "entity_id", Value: "1"}, {Name: "display_name", Value: "a"}}
	join := func(lists ...[]formPart) (all []formPart) {
		for _, l := range lists {
			all = append(all, l...)
		}
		return all
	}
	file := []formPart{aFile("bytes")}
	for what, form := range map[string][]formPart{
		"first":  join(script, entity, file),
		"last":   join(entity, script, file),
		"amid":   join(entity[:1], script[1:], entity[1:], script[:1], file),
		"absent": join(entity, file),
	} {
		site.ResetRecord()
		if a := s.ask("tools", multipartRequest("/upload/upload_file", form...)); a.Status != 200 || !strings.HasPrefix(a.Body, "1:") {
			t.Errorf("%s: %s", what, a)
		}
		all := seen(site)
		if len(all) != 1 || all[0].Credential != flowsite.KindScript || all[0].Script != siteScript {
			t.Errorf("%s: the site saw %+v", what, all)
		}
		wantNoViolations(t, site, what)
	}
	for _, form := range []string{"user_login=ann&user_password=secret", "user_login=ann&user_password=secret&auth_token=123456"} {
		site.ResetRecord()
		a := s.ask("tools", formRequest("/upload/share_thumbnail", "entities=Shot_2&source_entity=Shot_1&filmstrip_thumbnail=False&"+form))
		if a.Status != 200 || !strings.HasPrefix(a.Body, "0:") || a.refused() == "" {
			t.Errorf("%s: %s", form, a)
		}
		wantUntouched(t, site, form)
	}
}

// fileHead is all of an upload that comes before its file, and after it, of a
// file of so many bytes.
func fileHead(address string, size int64) (head, tail string) {
	const mark = "THE FILE"
	body := multipartBody(formPart{Name: "entity_type", Value: "Shot"}, formPart{Name: "entity_id", Value: "1"}, formPart{Name: "script_name", Value: "comp-publisher"},
		formPart{Name: "script_key", Value: "x"}, formPart{Name: "display_name", Value: "a.mov"}, aFile(mark))
	body = strings.Replace(body, "Content-Length: "+strconv.Itoa(len(mark)), "Content-Length: "+strconv.FormatInt(size, 10), 1)
	before, after, _ := strings.Cut(body, mark)
	length := int64(len(before)) + size + int64(len(after))
	return fmt.Sprintf("POST /upload/upload_file HTTP/1.1\r\nHost: %s\r\nContent-Type: multipart/form-data; boundary=%s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
		address, aBoundary, length, before), after
}

// zeros is a reader without end.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// An upload whose tool dies is not finished by anybody else: the site sees that
// it breaks off, and has no file.
func TestACallerThatDiesInAnUploadLeavesNothing(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"closed", "reset", "half closed"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			site := startSink(t)
			s := door(t, site.theSite, handleKey(t), everyDoor)
			c := s.dialed()
			head, _ := fileHead(s.Address("tools"), 8<<20)
			if _, err := io.WriteString(c, head); err != nil {
				t.Fatal(err)
			}
			if _, err := io.CopyN(c, zeros{}, 4<<20); err != nil {
				t.Fatal(err)
			}
			<-site.begun // the site has a part of it
			switch tcp, ok := c.(*net.TCPConn); {
			case !ok:
				t.Fatal("no TCP")
			case how == "half closed":
				_ = tcp.CloseWrite()
			case how == "reset":
				_ = tcp.SetLinger(0)
				fallthrough
			default:
				_ = c.Close()
			}
			if got := <-site.ended; got.err == nil {
				t.Errorf("the site was given a whole upload of %d bytes", got.bytes)
			}
			s.AwaitAudit(`"ev":"outcome"`)
			s.Stop()
			for _, r := range s.Records() {
				if r["ev"] == "outcome" && r["result"] == "ok" {
					t.Errorf("the audit log has %v", r)
				}
			}
		})
	}
}

// sink is a site that takes uploads and keeps nothing, for sizes that no
// stand-in could hold, and gives downloads of any size.
type sink struct {
	*theSite
	begun chan struct{} // closed when the first upload's file has begun
	ended chan took     // what became of each upload
	// hold, where not nil, keeps the site from reading on.
	hold chan struct{}
}

// took is what a site had of an upload.
type took struct {
	bytes int64
	err   error
}

// startSink starts one. A GET of /file_serve/attachment/N answers N bytes.
func startSink(t *testing.T) *sink {
	t.Helper()
	s := &sink{theSite: newSite(t, flowsite.Options{}), begun: make(chan struct{}), ended: make(chan took, 100)}
	var once sync.Once
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if size, ok := strings.CutPrefix(r.URL.Path, "/file_serve/attachment/"); ok {
			n, err := strconv.ParseInt(size, 10, 64)
			if err != nil {
				panic(http.ErrAbortHandler)
			}
			w.Header().Set("Content-Type", "application/octet-stream")
			w.Header().Set("Content-Length", size)
			_, _ = io.CopyN(w, zeros{}, n) // a caller that went away is no fault of ours
			return
		}
		if r.URL.Path != "/upload/upload_file" {
			s.ServeHTTP(w, r)
			return
		}
		buf := make([]byte, 64<<10)
		n, err := io.ReadFull(r.Body, buf)
		once.Do(func() { close(s.begun) })
		if s.hold != nil {
			<-s.hold
		}
		more := int64(0)
		if err == nil {
			more, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, r.Body, buf)
		}
		if errors.Is(err, io.ErrUnexpectedEOF) && int64(n) == r.ContentLength {
			err = nil
		}
		s.ended <- took{int64(n) + more, err}
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		_, _ = io.WriteString(w, "1:77\n")
	}))
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(srv.Close)
	s.URL, s.CAFile = srv.URL, certificateOf(t, srv)
	return s
}

// upload sends a file of so many zeros, and gives the answer.
func (s *stagedoor) upload(ctx context.Context, size int64) (httpAnswer, error) {
	head, tail := fileHead(s.Address("tools"), size)
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.Address("tools"))
	if err != nil {
		return httpAnswer{}, err
	}
	defer c.Close() //nolint:errcheck // its end is checked by the answer
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	if _, err := io.WriteString(c, head); err != nil {
		return httpAnswer{}, err
	}
	if _, err := io.CopyN(c, zeros{}, size); err != nil {
		return httpAnswer{}, err
	}
	if _, err := io.WriteString(c, tail); err != nil {
		return httpAnswer{}, err
	}
	a := answerOn(c)
	if a.Status == 0 {
		return a, errors.New(a.Body)
	}
	return a, nil
}

// sizes are of a small and a large file. The large one is 10 GB where
// STAGEDOOR_TEST_LARGE is set.
func sizes() (small, large int64) {
	small, large = 100_000_000, 1_000_000_000
	if os.Getenv("STAGEDOOR_TEST_LARGE") != "" {
		large = 10_000_000_000
	}
	return small, large
}

// mostMemory is by how much the memory of two processes may differ, in KiB, one
// of which has seen a file a hundred times as large.
const mostMemory = 8 << 10

// peak is the most memory that the process has had, in KiB.
func (s *stagedoor) peak() int {
	s.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				s.t.Fatal(err)
			}
			return n
		}
	}
	s.t.Fatal("no VmHWM in /proc/PID/status")
	return 0
}

// Not in parallel: it is about memory, and the garbage of a process that waits
// for its turn is collected later.
func TestAFileTakesTheSameMemoryWhateverItsSize(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("there is no /proc to read the memory of a process from")
	}
	small, large := sizes()
	for what, transfer := range map[string]func(*stagedoor, int64){
		"up": func(s *stagedoor, size int64) {
			a, err := s.upload(s.t.Context(), size)
			if err != nil || a.Body != "1:77\n" {
				s.t.Fatalf("an upload of %d bytes: %v %s", size, err, a)
			}
		},
		"down": func(s *stagedoor, size int64) {
			if n, err := s.download(s.t.Context(), size); err != nil || n != size {
				s.t.Fatalf("a download of %d bytes: %d, %v", size, n, err)
			}
		},
	} {
		var peaks []int
		for _, size := range []int64{small, large} {
			site := startSink(t)
			s := door(t, site.theSite, handleKey(t), everyDoor)
			if what == "down" {
				// HTTP/2 leaves garbage, of which there is the more the longer it
				// lasts, until the collector has found its pace.
				for range 10 {
					transfer(s, small)
				}
			}
			transfer(s, size)
			peaks = append(peaks, s.peak())
			s.Stop()
		}
		t.Logf("%s: %d bytes took %d KiB, %d bytes %d KiB", what, small, peaks[0], large, peaks[1])
		if peaks[1]-peaks[0] >= mostMemory {
			t.Errorf("%s: %d bytes took %d KiB, %d bytes %d KiB", what, small, peaks[0], large, peaks[1])
		}
	}
}

// download reads so many bytes from a sink and gives how many came.
func (s *stagedoor) download(ctx context.Context, size int64) (int64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s/file_serve/attachment/%d", s.base("tools"), size), http.NoBody)
	if err != nil {
		return 0, err
	}
	res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close() //nolint:errcheck // only read
	if res.StatusCode != http.StatusOK {
		return 0, errors.New(res.Status)
	}
	return io.Copy(struct{ io.Writer }{io.Discard}, res.Body)
}

// A tool whose file the site does not take yet has to wait: Stagedoor keeps no
// part of it but what fits a fixed buffer.
func TestAnUploadGoesAtThePaceOfTheSite(t *testing.T) {
	t.Parallel()
	const size = 256 << 20 // more than all buffers of two connections
	site := startSink(t)
	site.hold = make(chan struct{})
	var once sync.Once
	release := func() { once.Do(func() { close(site.hold) }) }
	t.Cleanup(release)
	s := door(t, site.theSite, handleKey(t), everyDoor)
	head, tail := fileHead(s.Address("tools"), size)
	c := s.dialed()
	if _, err := io.WriteString(c, head); err != nil {
		t.Fatal(err)
	}
	// Until a write has to wait; how long it waits before that is noticed says
	// nothing.
	sent := int64(0)
	for sent < size {
		if err := c.SetWriteDeadline(time.Now().Add(2 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := io.CopyN(struct{ io.Writer }{c}, zeros{}, min(1<<16, size-sent))
		sent += n
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if sent == size {
		t.Fatal("Stagedoor took a whole file that the site has not taken")
	}
	release()
	if err := c.SetWriteDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(c, zeros{}, size-sent); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, tail); err != nil {
		t.Fatal(err)
	}
	if a := answerOn(c); a.Body != "1:77\n" {
		t.Errorf("the upload: %s", a)
	}
	if got := <-site.ended; got.err != nil {
		t.Errorf("the site had %d bytes: %v", got.bytes, got.err)
	}
}

// An upload that is under way is finished though Stagedoor is told to end, and
// though its configuration changes.
func TestAnUploadUnderWayIsFinished(t *testing.T) {
	t.Parallel()
	for how, change := range map[string]func(*stagedoor){
		"a drain": func(s *stagedoor) {
			s.Signal(syscall.SIGTERM)
			s.AwaitLog(`"msg":"draining"`)
		},
		"a reload": func(s *stagedoor) {
			rewrite(s.t, s, "- upload: \"*\"", "- upload: Note")
			s.Signal(syscall.SIGHUP)
			s.AwaitAudit(`"ev":"reload"`)
		},
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			site := startSink(t)
			s := door(t, site.theSite, handleKey(t), everyDoor)
			const size = 4 << 20
			head, tail := fileHead(s.Address("tools"), size)
			c := s.dialed()
			if _, err := io.WriteString(c, head); err != nil {
				t.Fatal(err)
			}
			if _, err := io.CopyN(c, zeros{}, size/2); err != nil {
				t.Fatal(err)
			}
			<-site.begun
			change(s)
			if _, err := io.CopyN(c, zeros{}, size/2); err != nil {
				t.Fatal(err)
			}
			if a := over(c, tail); a.Body != "1:77\n" {
				t.Errorf("the upload: %s", a)
			}
			if got := <-site.ended; got.err != nil {
				t.Errorf("the site had %d bytes: %v", got.bytes, got.err)
			}
			if how == "a drain" {
				s.AwaitEnd()
				if s.err != nil {
					t.Errorf("stagedoor ended with %v", s.err)
				}
			} else { // the next is refused
				if a, err := s.upload(t.Context(), 1000); err != nil || !strings.HasPrefix(a.Body, "0:") {
					t.Errorf("an upload after the reload: %v %s", err, a)
				}
			}
		})
	}
}

// A site that fails an upload may have taken it: the client is told so, in
// words, and does not send it again.
func TestAnUploadThatTheSiteFailsIsSentOnce(t *testing.T) {
	t.Parallel()
	for _, version := range clients() {
		for what, f := range map[string]flowsite.Fault{
			"an error": {Method: "upload_file", Status: 500}, "a bad gateway": {Method: "upload_file", Status: 502},
			"a dead connection": {Method: "upload_file", Reset: true}, "a redirect": {Method: "upload_file", Status: 302},
			"a redirect that keeps the verb": {Method: "upload_file", Status: 307},
		} {
			t.Run(version+" "+what, func(t *testing.T) {
				t.Parallel()
				site := startSite(t, flowsite.Options{})
				site.Fail(f, 0)
				s := door(t, site, handleKey(t), everyDoor)
				p := startTool(t, version, s.base("tools"))
				file := filepath.Join(t.TempDir(), "plate.exr")
				write(t, file, 0o600, "some bytes")
				got := p.Do(fmt.Sprintf("sg.upload('Shot', 1, %q)", file))
				if got.Class != "ShotgunError" || !strings.Contains(got.Text, "0:Stagedoor: ") {
					t.Errorf("the tool is told %s", got)
				}
				if n := len(seen(site)); n != 1 {
					t.Errorf("the site saw %d uploads", n)
				}
			})
		}
	}
}

// A picture that the site is still at can't be shared: the client knows the
// answer, and says so.
func TestAThumbnailThatIsNotReady(t *testing.T) {
	t.Parallel()
	for _, version := range clients() {
		site := startSite(t, flowsite.Options{PendingThumbnails: true})
		s := door(t, site, handleKey(t), everyDoor)
		p := startTool(t, version, s.base("tools"))
		file := filepath.Join(t.TempDir(), "a.png")
		write(t, file, 0o600, "\x89PNG\r\n\x1a\n and so on")
		p.OK(fmt.Sprintf("sg.upload_thumbnail('Shot', 1, %q)", file))
		if got := p.Do(`sg.share_thumbnail([{'type': 'Shot', 'id': 2}], source_entity={'type': 'Shot', 'id': 1})`); got.Class != "ShotgunThumbnailNotReady" {
			t.Errorf("%s: %s", version, got)
		}
		wantNoViolations(t, site, "with a picture that is not ready")
	}
}

// The calls that ask for links name no entity: they need some rule of uploads.
func TestALinkToUploadNeedsARuleOfUploads(t *testing.T) {
	t.Parallel()
	site := storageSite(t, flowsite.Options{})
	for rules, want := range map[string]string{"    allow: [{read: '*'}]\n": "no_rule", "    allow: [{upload: Version.sg_uploaded_movie}]\n": ""} {
		s := door(t, site, handleKey(t), rules)
		a := s.ask("tools", formRequest("/upload/api_get_upload_link_info", "upload_type=Attachment&filename=a.mov&multipart_upload=False"))
		if a.refused() != want || a.Status != 200 || strings.HasPrefix(a.Body, "0:") != (want != "") {
			t.Errorf("%s%s", rules, a)
		}
		link := "1%0Ahttps%3A%2F%2F" + hostOf(site.StorageURL) + "%2Fa%0A2026-03-04T10:30:00Z%0AAttachment%0Ax%0A"
		a = s.ask("tools", formRequest("/upload/api_link_file", "entity_type=Asset&entity_id=1&display_name=a&upload_link_info="+link))
		if a.refused() != "no_rule" || !strings.HasPrefix(a.Body, "0:Stagedoor: comp-publisher may not upload to Asset") {
			t.Errorf("%slinking it to another entity: %s", rules, a)
		}
		s.Stop()
	}
	wantNoViolations(t, site, "with links")
}
