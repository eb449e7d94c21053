package policy_test

import (
	"strings"
	"testing"

	"stagedoor/flow"
	"stagedoor/policy"
)

// upload is a form that puts a file into fields, "Version.image".
func upload(fields ...string) *flow.Call {
	c := &flow.Call{Kind: flow.KindUpload, Method: "upload_file", Group: flow.GroupUpload, Writes: true}
	for _, f := range fields {
		typ, field, _ := strings.Cut(f, ".")
		c.Type = typ
		c.Touches = append(c.Touches, flow.Touch{Type: typ, Field: field, Use: flow.UseUpload})
	}
	return c
}

// share is share_thumbnail: a picture that is read and put elsewhere.
func share(source string, targets ...string) *flow.Call {
	c := upload(targets...)
	typ, field, _ := strings.Cut(source, ".")
	c.Method = "share_thumbnail"
	c.Touches = append(c.Touches, flow.Touch{Type: typ, Field: field, Use: flow.UseReturn})
	return c
}

func download(field string) *flow.Call {
	typ, name, _ := strings.Cut(field, ".")
	return &flow.Call{Kind: flow.KindDownload, Method: "download", Group: flow.GroupDownload, Type: typ, Touches: []flow.Touch{{Type: typ, Field: name, Use: flow.UseDownload}}}
}

func rest(method string) *flow.Call {
	return &flow.Call{Kind: flow.KindREST, Method: method, Group: flow.GroupNamed, Writes: method != "webhook_read"}
}

func decided(t *testing.T, want bool, s *policy.Script, calls ...*flow.Call) {
	t.Helper()
	for _, c := range calls {
		if v := s.Decide(policy.Query{Call: c}); v.Allow != want {
			t.Errorf("%s %v: %+v", c.Method, c.Touches, v)
		}
	}
}

func TestUploadRules(t *testing.T) {
	s := script(t, "- upload: Version.sg_uploaded_movie")
	decided(t, true, s, upload("Version.sg_uploaded_movie"), upload())
	decided(t, false, s, upload("Version.image"), upload("Version.attachments"), upload("Version.SG_UPLOADED_MOVIE"), upload("Shot.sg_uploaded_movie"),
		upload("Version.sg_uploaded_movie", "Version.image"), upload("Version."), download("Version.sg_uploaded_movie"), share("Shot.image", "Version.sg_uploaded_movie"))

	s = script(t, "- upload: [Version, Shot.image]", "- read: Task.image")
	decided(t, true, s, upload("Version.image"), upload("Version.anything"), upload("Version."), share("Task.image", "Shot.image", "Version.image"))
	decided(t, false, s, upload("Shot."), share("Task.filmstrip_image", "Shot.image"), share("Shot.image", "Shot.image"), share("Task.image", "Shot.image", "Asset.image"))

	decided(t, false, script(t), upload(), upload("Version.image"))
	decided(t, false, script(t, "- {read: \"*\", create: \"*\", update: \"*\", download: \"*\"}"), upload(), upload("Version.image"), share("Version.image"))
	decided(t, false, &policy.Script{Rules: []policy.Rule{{Verb: "upload", Targets: []policy.Target{{Type: "*"}}}}}, upload()) // never compiled
}

func TestNoBroadUploadReachesWhatGivesRights(t *testing.T) {
	s := script(t, "- upload: \"*\"")
	decided(t, true, s, upload("Shot.image"), upload("CustomEntity01.attachments"), upload("Attachment.this_file"))
	for _, typ := range []string{"ApiUser", "HumanUser", "humanuser", "EventLogEntry", "PermissionRuleSet", "ActionMenuItem", "HumanUser_projects_Connection"} {
		decided(t, false, s, upload(typ+".image"))
	}
	decided(t, true, script(t, "- upload: HumanUser.image"), upload("HumanUser.image"))
	decided(t, false, script(t, "- upload: HumanUser"), upload("HumanUser.email"))
	if v := script(t, "- upload: HumanUser").Decide(policy.Query{Call: upload("HumanUser.salted_password")}); v.Allow || v.Reason != policy.SecretField {
		t.Errorf("%+v", v)
	}
}

func TestDownloadRules(t *testing.T) {
	s := script(t, "- download: [Attachment, Version.image]")
	decided(t, true, s, download("Attachment"), download("Version.image"))
	decided(t, false, s, download("Version.filmstrip_image"), download("Shot.image"), download("images"), download("files"),
		&flow.Call{Kind: flow.KindDownload, Method: "download", Group: flow.GroupDownload})
	s = script(t, "- download: \"*\"")
	decided(t, true, s, download("Attachment"), download("HumanUser.image"))
	decided(t, false, s, download("images"), download("files"), download("EventLogEntry.x"), download("HumanUser.password_proxy"))
	s = script(t, "- download: [images, Shot]")
	decided(t, true, s, download("images"), download("Shot.image"))
	decided(t, false, s, download("files"), download("Attachment"))
	decided(t, false, script(t, "- {read: \"*\", upload: \"*\"}"), download("Attachment"), download("Shot.image"))
}

func TestWhatOnlyRESTHasIsNamed(t *testing.T) {
	broad := script(t, "- {read: \"*\", create: \"*\", update: \"*\", delete: \"*\", upload: \"*\", download: [\"*\", images, files], schema: \"*\", follow: \"*\", link: \"*\"}", "- preferences", "- schedule")
	for _, m := range flow.RESTMethods() {
		decided(t, false, broad, rest(m))
		s := script(t, "- "+m)
		decided(t, true, s, rest(m))
		for _, other := range flow.RESTMethods() {
			if other != m {
				decided(t, false, s, rest(other))
			}
		}
		withType := rest(m)
		withType.Type, withType.Touches = "Shot", []flow.Touch{{Type: "Shot", Field: "code", Use: flow.UseReturn}}
		decided(t, false, s, withType)
		decided(t, true, script(t, "- "+m, "- read: Shot.code"), withType)
	}
}

// reads says whether a script may show fields of an answer to a call.
func reads(s *policy.Script, c *flow.Call, record, typ, field string) bool {
	return s.Reader(policy.Query{Call: c}).May(flow.Seen{Record: record, Type: typ, Field: field})
}

// TestReaderOfRules: whatever the call was.
func TestReaderOfRules(t *testing.T) {
	s := script(t, "- read: {Shot: [code], Version: \"*\"}", "- {update: Task.content, read: Custom*}")
	for field, want := range map[string]bool{
		"Shot.code": true, "Shot.id": true, "Shot.type": true, "Shot.description": false, "Shot.*": false, "Version.x": true, "Version.*": true,
		"Task.id": true, "Task.content": false, "Asset.id": false, "Asset.type": false, "CustomEntity01.code": true,
		"Version.salted_password": false, "Version.": false, "EventLogEntry.id": false,
	} {
		typ, name, _ := strings.Cut(field, ".")
		if got := reads(s, rest("read"), typ, typ, name); got != want {
			t.Errorf("%s: %v", field, got)
		}
	}
	if reads(&policy.Script{}, rest("read"), "Shot", "Shot", "id") {
		t.Error("the zero script may read")
	}
}

// TestRefusedFilesSayWhatWouldAllowThem: the sentence, and the rule to paste.
func TestRefusedFilesSayWhatWouldAllowThem(t *testing.T) {
	for _, tt := range []struct {
		c             *flow.Call
		what, suggest string
	}{
		{upload("Version.sg_uploaded_movie"), "upload to Version.sg_uploaded_movie", "- upload: Version.sg_uploaded_movie"},
		{upload("Version.image", "Shot.image"), "upload to Version.image", "- upload: {Version: image, Shot: image}"},
		{upload("Version."), "upload to every field of Version", "- upload: Version"},
		{share("Task.image", "Shot.image"), "upload to Shot.image", "- {upload: Shot.image, read: Task.image}"},
		{upload(), "upload a file", "- upload: Version.sg_uploaded_movie # or where the file is for"},
		{download("Attachment"), "download files of Attachment", "- download: Attachment"},
		{download("Version.image"), "download Version.image", "- download: Version.image"},
		{download("images"), "download the site's images", "- download: images"},
		{download("files"), "download the site's files", "- download: files"},
		{rest("webhook_write"), "call webhook_write", "- webhook_write"},
		{rest("transcode"), "call transcode", "- transcode"},
	} {
		v := script(t).Decide(policy.Query{Call: tt.c})
		if v.Allow || v.Reason != policy.NoRule || v.What != tt.what || v.Suggest != tt.suggest {
			t.Errorf("%s %v: %+v", tt.c.Method, tt.c.Touches, v)
			continue
		}
		s := script(t, v.Suggest)
		if again := s.Decide(policy.Query{Call: tt.c}); !again.Allow {
			t.Errorf("%s: the suggestion %q does not do: %+v", tt.c.Method, v.Suggest, again)
		}
		smallest(t, tt.what, tt.c, s)
	}
}

// TestFormsAreDecidedAsTheyAreRead: what the clients send, from its bytes.
func TestFormsAreDecidedAsTheyAreRead(t *testing.T) {
	s := script(t, "- upload: [Version.sg_uploaded_movie, Shot.image]", "- read: Task.image")
	for _, tt := range []struct {
		path, body string
		want       bool
	}{
		{"/upload/api_get_upload_link_info", "upload_type=Attachment&filename=a.mov&multipart_upload=False", true},
		{"/upload/api_link_file", "entity_type=Version&entity_id=1&upload_link_info=x&field_name=sg_uploaded_movie&display_name=a", true},
		{"/upload/api_link_file", "entity_type=Version&entity_id=1&upload_link_info=x&field_name=image&display_name=a", false},
		{"/upload/api_link_file", "entity_type=Version&entity_id=1&upload_link_info=x&display_name=a", false},
		{"/upload/share_thumbnail", "entities=Shot_1%2CShot_2&source_entity=Task_3&filmstrip_thumbnail=False", true},
		{"/upload/share_thumbnail", "entities=Shot_1%2CAsset_2&source_entity=Task_3&filmstrip_thumbnail=False", false},
		{"/upload/share_thumbnail", "entities=Shot_1&source_entity=Asset_3&filmstrip_thumbnail=False", false},
		{"/upload/share_thumbnail", "entities=Shot_1&source_entity=Task_3&filmstrip_thumbnail=1", false},
	} {
		f, err := flow.ParseForm(tt.path, []byte(tt.body+"&script_name=tool&script_key=x"), nil)
		if err != nil {
			t.Errorf("%s %s: %v", tt.path, tt.body, err)
			continue
		}
		decided(t, tt.want, s, &f.Call)
	}
}

// TestAnObservedScriptSeesWholeAnswers: observing changes nothing of what a tool
// gets, but for what needs naming.
func TestAnObservedScriptSeesWholeAnswers(t *testing.T) {
	s, c := script(t, "- read: Shot.code"), sentence(t, "read Shot.code")
	may := func(observe bool, typ, field string) bool {
		return s.Reader(policy.Query{Call: c, Observe: observe}).May(flow.Seen{Record: typ, Type: typ, Field: field})
	}
	if may(false, "Shot", "description") || !may(true, "Shot", "description") || !may(true, "Task", "content") {
		t.Error("an observed script is shown less than without rules, or one that isn't is shown more")
	}
	if may(true, "EventLogEntry", "meta") || may(true, "HumanUser", "salted_password") {
		t.Error("an observed script is shown what needs naming")
	}
}
