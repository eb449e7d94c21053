package proxy_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"stagedoor/proxy"
)

// kept are reads whose answers are kept before each write of a test.
func kept() map[string]string {
	return map[string]string{
		"shot":        reading("Shot", "code"),
		"task":        reading("Task", "content"),
		"task's shot": reading("Task", "entity.Shot.code"),
		"note":        reading("Note", "subject"),
		"event":       reading("EventLogEntry", "event_type"),
		"thread":      `{"method_name":"note_thread_contents","params":[{},{"note_id":1}]}`,
		"preset":      `{"method_name":"read","params":[{},{"type":"Note","return_fields":["subject"],"additional_filter_presets":[{"preset_name":"latest"}]}]}`,
		"schema":      schemaRead,
		"shot schema": shotSchema,
		"preferences": prefsRead,
	}
}

// writing is a call that writes one field of a record.
func writing(method, typ, field, value string) string {
	id := `"id":7,`
	if method == "create" {
		id = ""
	}
	return `{"method_name":"` + method + `","params":[{},{"type":"` + typ + `",` + id + `"fields":[{"field_name":"` + field + `","value":` + value + `}]}]}`
}

// removing is a delete or revive.
func removing(method, typ string) string {
	return `{"method_name":"` + method + `","params":[{},{"type":"` + typ + `","id":7}]}`
}

func TestWritesDropWhatTheyMayChange(t *testing.T) {
	form := func(r *http.Request) {
		r.URL.Path, r.RequestURI = "/upload/share_thumbnail", "/upload/share_thumbnail"
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	all := []string{"shot", "task", "task's shot", "note", "event", "thread", "preset", "schema", "shot schema", "preferences"}
	records := []string{"shot", "task", "task's shot", "note", "event", "thread", "preset"}
	always := []string{"event", "thread", "preset"}
	for _, tt := range []struct {
		name, call string
		edit       edits
		drops      []string
	}{
		{"a read", reading("Asset", "code"), nil, nil},
		{"an update", writing("update", "Shot", "code", `"a"`), nil, append([]string{"shot", "task's shot", "shot schema"}, always...)},
		{"an update in another spelling", writing("update", "SHOT", "code", `"a"`), nil, append([]string{"shot", "task's shot", "shot schema"}, always...)},
		{"a create", writing("create", "Asset", "code", `"a"`), nil, always},
		{"a create with a link", writing("create", "Version", "entity", `{"type":"Shot","id":1}`), nil, append([]string{"shot", "task's shot", "shot schema"}, always...)},
		{"a create of tasks by template", writing("create", "Asset", "task_template", `{"type":"TaskTemplate","id":1}`), nil, records},
		{"a delete", removing("delete", "Asset"), nil, records},
		{"a revive", removing("revive", "Shot"), nil, append([]string{"shot schema"}, records...)},
		{"a batch", `{"method_name":"batch","params":[{},[{"request_type":"create","type":"Asset","fields":[]},{"request_type":"update","type":"Task","id":1,"fields":[]}]]}`, nil, append([]string{"task", "task's shot"}, always...)},
		{"a batch with a delete", `{"method_name":"batch","params":[{},[{"request_type":"create","type":"Asset","fields":[]},{"request_type":"delete","type":"Asset","id":1}]]}`, nil, records},
		{"as somebody else", `{"method_name":"update","params":[{"sudo_as_login":"joe"},{"type":"Task","id":1,"fields":[]}]}`, nil, append([]string{"task", "task's shot"}, always...)},
		{"by REST", `PUT /api/v1/entity/Task/1 {"content":"a"}`, nil, append([]string{"task", "task's shot"}, always...)},
		{"an upload", "script_name=pub&script_key=x&entities=Task_1&source_entity=Task_2", form, append([]string{"task", "task's shot"}, always...)},
		{"a follow", `{"method_name":"follow","params":[{},{"user":{"type":"HumanUser","id":1},"entity":{"type":"Task","id":1}}]}`, nil, append([]string{"task", "task's shot"}, always...)},
		{"a field of the schema", `{"method_name":"schema_field_create","params":[{},{"type":"Asset","data_type":"text","properties":[]}]}`, nil, all},
		{"preferences", `PUT /api/v1/preferences/update [{"preference":"enable","entity_type":"CustomEntity01","display_name":"x"}]`, nil, all},
		{"a person", writing("update", "HumanUser", "sg_status_list", `"dis"`), nil, all},
		{"who is on a project", writing("update", "Project", "users", `[]`), nil, all},
		{"a project was opened", `{"method_name":"update_project_last_accessed_by_current_user","params":[{},{"project_id":1}]}`, nil, always},
		{"a session", `{"method_name":"get_session_token","params":[{}]}`, nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inHall(t, 30, func(h *hall) {
				h.site.atOnce()
				for _, call := range kept() {
					h.asks(call)
				}
				if got := <-h.sends(tt.call, noEdit(tt.edit)); got.status != http.StatusOK || got.header.Get("Stagedoor-Refused") != "" {
					h.t.Fatalf("%d %s", got.status, got.body.String())
				}
				for name, call := range kept() {
					if drops := slices.Contains(tt.drops, name); h.asks(call) != drops {
						t.Errorf("%s: dropped is %t", name, !drops)
					}
				}
			})
		})
	}
}

func noEdit(e edits) edits {
	if e == nil {
		return func(*http.Request) {}
	}
	return e
}

// The site has done a write, but a read began before it.
func TestAReadThatBeganBeforeAWriteAnswersNobodyAfterIt(t *testing.T) {
	inHall(t, 30, func(h *hall) {
		before := h.sends(readShot)
		old := h.next()
		during := h.sends(createShot)
		h.next().answer(`{"results":{"id":1}}`)
		if got := (<-during).body.String(); got != `{"results":{"id":1}}` {
			h.t.Fatal(got)
		}
		after := h.sends(readShot)
		fresh := h.next() // and does not wait for the old one
		old.answer(`{"results":"old"}`)
		if got := (<-before).body.String(); got != `{"results":"old"}` || h.proxy.Shared().Entries != 0 {
			t.Errorf("%s, %+v", got, h.proxy.Shared())
		}
		later := h.sends(readShot)
		h.none()
		fresh.answer(`{"results":"new"}`)
		for _, p := range []chan *page{after, later, h.sends(readShot)} {
			if got := (<-p).body.String(); got != `{"results":"new"}` {
				t.Error(got)
			}
		}
	})
}

func TestAnAnswerThatAWriteOvertookIsNotKept(t *testing.T) {
	inHall(t, 30, func(h *hall) {
		read := h.sends(readShot)
		old := h.next()
		write := h.sends(createShot)
		h.next().answer(`{"results":{"id":1}}`)
		<-write
		old.answer(`{"results":"old"}`)
		<-read
		if s := h.proxy.Shared(); s.Entries != 0 || s.Bytes != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// A read that comes while a write is on its way may see what was before it, but
// only until the writer can know that it is done.
func TestAnAnswerFromTheMiddleOfAWriteEndsWithIt(t *testing.T) {
	inHall(t, 30, func(h *hall) {
		first := h.sends(readShot)
		h.next().answer(`{"results":"before"}`)
		<-first
		writer := &page{sink: sink{header: http.Header{}}, audit: h.audit, slow: make(chan struct{})}
		during := h.sendsOn(h.local, createShot, writer)
		write := h.next()
		a := h.sends(readShot)
		h.next().answer(`{"results":"old"}`)
		<-a
		if got := h.does(readShot); got != `{"results":"old"}` {
			t.Error(got)
		}
		write.answer(`{"results":{"id":1}}`)
		synctest.Wait() // now its answer is on its way to the writer, and no further
		b := h.sends(readShot)
		h.next().answer(`{"results":"new"}`)
		if got := (<-b).body.String(); got != `{"results":"new"}` {
			t.Error(got)
		}
		close(writer.slow)
		<-during
	})
}

// A write whose end is not known may still be done, after whatever is read now.
func TestAfterAWriteWithoutAnEndNothingIsKept(t *testing.T) {
	for name, ends := range map[string]func(hangUp func(), write *asking){
		"its caller hung up":   func(hangUp func(), _ *asking) { hangUp() },
		"the connection broke": func(_ func(), write *asking) { write.done <- nil },
		"a gateway gave up":    func(_ func(), write *asking) { write.done <- status(http.StatusBadGateway) }, //nolint:bodyclose // the proxy closes it
	} {
		t.Run(name, func(t *testing.T) {
			inHall(t, 300, func(h *hall) {
				ctx, hangUp := context.WithCancel(h.t.Context())
				defer hangUp()
				writer := h.sends(createShot, func(r *http.Request) { *r = *r.WithContext(ctx) })
				ends(hangUp, h.next())
				<-writer
				h.site.atOnce()
				h.does(readShot)
				h.does(schemaRead)
				if !h.asks(readShot) {
					t.Error("an answer was kept")
				}
				if h.asks(schemaRead) {
					t.Error("an answer that has nothing to do with it was not")
				}
				pass(time.Minute)
				h.does(readShot)
				if h.asks(readShot) {
					t.Error("after a minute none was")
				}
			})
		})
	}
}

// Of a write that was refused here nothing is dropped.
func TestARefusedWriteDropsNothing(t *testing.T) {
	inHall(t, 30, func(h *hall) {
		h.site.atOnce()
		h.asks(readShot)
		h.does(strings.Replace(createShot, `"Shot"`, `"ApiUser"`, 1))
		h.keys.mu.Lock()
		h.keys.err = errors.New("no key")
		h.keys.mu.Unlock()
		h.does(createShot)
		h.keys.mu.Lock()
		h.keys.err = nil
		h.keys.mu.Unlock()
		if h.asks(readShot) {
			t.Error("it did")
		}
	})
}

// What is remembered of writes is bounded: beyond it everything counts as
// written.
func TestManyTypesWritten(t *testing.T) {
	s := proxy.NewShares()
	s.Write("Shot")
	began := s.Clock()
	for i := range 4096 {
		s.Write("CustomEntity" + strings.Repeat("x", i))
		if s.Types() > 4096 {
			t.Fatalf("%d types are remembered", s.Types())
		}
	}
	if !s.Changed("Shot", began) {
		t.Error("a write was forgotten")
	}
	if began = s.Clock(); s.Changed("Shot", began) {
		t.Error("everything counts as written for ever")
	}
}
