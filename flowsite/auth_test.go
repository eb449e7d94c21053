package flowsite_test

import (
	"strings"
	"testing"
	"time"

	"stagedoor/flowsite"
)

// §1.5: 102 and its exact text, for every way in which a script's credential
// is not exactly right.
func TestScriptCredentialMustBeExact_1_5(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	c := call(t, s)
	refuse := func(name, key string) {
		t.Helper()
		got := c.as(object{"script_name": name, "script_key": key}).fault(102, "schema_read")
		if got != "Can't authenticate script '"+name+"'" {
			t.Errorf("message %q", got)
		}
	}
	refuse("nobody", scriptKey)
	refuse("Publish", scriptKey)
	refuse(scriptName, scriptKey+" ")
	refuse(scriptName, scriptKey[:len(scriptKey)-1])
	refuse(scriptName, strings.ToUpper(scriptKey))
	c.ok("schema_read")

	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(s.RotateKey(scriptName, "new key"))
	refuse(scriptName, scriptKey)
	c.as(object{"script_name": scriptName, "script_key": "new key"}).ok("schema_read")
	must(s.DisableScript(scriptName))
	refuse(scriptName, "new key")
	must(s.EnableScript(scriptName))
	must(s.RenameScript(scriptName, "publisher"))
	refuse(scriptName, "new key")
	c.as(object{"script_name": "publisher", "script_key": "new key"}).ok("schema_read")
	if s.RotateKey(scriptName, "x") == nil {
		t.Error("rotating the key of no script succeeded")
	}
	clean(t, s)
}

// §1.3, §1.5: people, the second factor (106), and sites that refuse
// passwords (108, 110).
func TestPeople_1_3(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	s.AddUser(flowsite.Person{Login: "two", Password: "pw", SecondFactor: "123456"})
	s.AddUser(flowsite.Person{Login: "gone", Password: "pw", Status: "dis"})
	user := func(login, pw string) object { return object{"user_login": login, "user_password": pw} }
	c := call(t, s)
	c.as(user("ann", password)).ok("schema_read")
	for login, pw := range map[string]string{"ann": "x", "ben": "x", "gone": "pw", "nobody": "x", "ann@studio.invalid": password} {
		if got := c.as(user(login, pw)).fault(102, "schema_read"); got != "Can't authenticate user '"+login+"'." {
			t.Errorf("message %q", got)
		}
	}
	c.as(user("two", "pw")).fault(106, "schema_read")
	c.as(user("two", "pw")).plus("auth_token", "000000").fault(102, "schema_read")
	c.as(user("two", "wrong")).plus("auth_token", "123456").fault(102, "schema_read")
	c.as(user("two", "pw")).plus("auth_token", "123456").ok("get_session_token")
	clean(t, s)
	for _, code := range []int{108, 110} {
		s := newSite(t, flowsite.Options{UserAuthCode: code})
		call(t, s).as(user("ann", password)).fault(code, "schema_read")
		call(t, s).ok("schema_read")
	}
}

// §2.3: a read of HumanUser with a person's login is a password check; with a
// script's credential it would accept any password, which is the caller's
// affair and not the site's.
func TestAuthenticateHumanUserIsARead_2_3(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	args := readArgs("HumanUser", all(cond("sg_status_list", "is", "act"), cond("login", "is", "ann")), "id", "login")
	args["paging"] = object{"entities_per_page": 1, "current_page": 1}
	c := call(t, s)
	login := c.as(object{"user_login": "ann", "user_password": password})
	login.same(login.rows(args), `[{"id":1,"login":"ann","type":"HumanUser"}]`)
	c.as(object{"user_login": "ann", "user_password": "wrong"}).fault(102, "read", args)
}

// §1.3, §1.5: session tokens: minted, used, expired.
func TestSessions_1_5(t *testing.T) {
	now := clock()
	s := newSite(t, flowsite.Options{Now: func() time.Time { return now }, SessionTTL: time.Hour})
	c := call(t, s)
	m, _ := c.ok("get_session_token").(object)
	token, _ := m["session_id"].(string)
	if len(token) != 32 || len(m) != 1 {
		t.Fatalf("get_session_token: %v", m)
	}
	strict := c.as(object{"session_token": token, "reject_if_expired": true})
	strict.same(strict.ok("get_session_token"), `{"session_id":"`+token+`"}`)
	now = now.Add(59 * time.Minute)
	strict.ok("schema_read") // keeps it alive
	now = now.Add(59 * time.Minute)
	strict.ok("schema_read")
	now = now.Add(61 * time.Minute)
	strict.fault(102, "schema_read")
	c.as(object{"session_token": token}).ok("schema_read") // revived: no reject_if_expired
	strict.ok("schema_read")
	s.ExpireSessions()
	strict.fault(102, "schema_read")
	c.as(object{"session_token": token[1:] + "0"}).fault(102, "schema_read")
	c.as(object{"session_token": token}).ok("schema_read")
	if err := s.DisableScript(scriptName); err != nil {
		t.Fatal(err)
	}
	c.as(object{"session_token": token}).fault(102, "schema_read")
	s.DropSessions()
	clean(t, s)
}

// §1.3, §5.2, §8.6: sudo_as_login: by login and never by e-mail, for active
// people who may be impersonated, by a script that may; the log names both.
func TestSudo_1_3(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	s.AddUser(flowsite.Person{Login: "boss", NoImpersonation: true})
	s.AddScript("meek", "another key", flowsite.Role{Name: "meek", NoSudo: true})
	c := call(t, s)
	for _, login := range []string{"dan", "nobody", "boss", "ben@studio.invalid", "Ben"} {
		got := c.plus("sudo_as_login", login).fault(102, "schema_read")
		if !strings.HasPrefix(got, "The user does not have permission to 'sudo':") {
			t.Errorf("%s: %q", login, got)
		}
	}
	c.as(object{"script_name": "meek", "script_key": "another key", "sudo_as_login": "ben"}).fault(102, "schema_read")
	// A bad key is no question of sudo.
	got := c.as(object{"script_name": scriptName, "script_key": "x", "sudo_as_login": "ben"}).fault(102, "schema_read")
	if got != "Can't authenticate script 'publish'" {
		t.Errorf("message %q", got)
	}
	c.plus("sudo_as_login", "ben").plus("session_uuid", "u-1").ok("update", object{"type": "Shot", "id": 1, "fields": fields("description", "new")})
	log := s.EventLog()
	if len(log) != 1 || log[0].User != "Ben Okafor" || log[0].Actual != scriptName || log[0].SessionUUID != "u-1" {
		t.Errorf("event log: %+v", log)
	}
	clean(t, s)
}

// Roles: methods, types, fields, projects; ApiUser for admins only (§6.2).
func TestRoles(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	s.AddScript("artist", "key of artist", flowsite.Role{
		Name: "Artist", Methods: []string{"read", "update", "batch"},
		Read:  map[string][]string{"Shot": {"code", "sg_sequence"}, "Sequence": {"*"}},
		Write: map[string][]string{"Shot": {"code"}}, Projects: []int{flowsite.DemoFilm},
	})
	c := call(t, s).as(object{"script_name": "artist", "script_key": "key of artist"})
	if got := len(c.rows(readArgs("Shot", all(), "code", "sg_sequence.Sequence.description"))); got != 8 {
		t.Errorf("sees %d shots, not the film's 8", got)
	}
	update := func(id int, kv ...any) object { return object{"type": "Shot", "id": id, "fields": fields(kv...)} }
	c.ok("update", update(1, "code", "x"))
	c.fault(104, "update", update(9, "code", "of the other project"))
	c.fault(104, "update", update(1, "description", "x"))
	c.fault(104, "read", readArgs("Shot", all(), "description"))
	c.fault(104, "read", readArgs("Shot", cond("description", "is", "x")))
	c.fault(104, "read", readArgs("Shot", all(), "project.Project.name"))
	c.fault(104, "read", readArgs("Task", all()))
	c.fault(104, "read", readArgs("ApiUser", all()))
	c.fault(104, "delete", object{"type": "Shot", "id": 1})
	c.fault(104, "schema_read")
	part := update(1, "description", "x")
	part["request_type"] = "update"
	c.fault(104, "batch", array{part})
	call(t, s).ok("read", readArgs("ApiUser", all(), "firstname"))
	clean(t, s)
}

// §6.2: what nobody should read answers with a canary.
func TestHiddenFieldsAnswerACanary_6_2(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	c := call(t, s)
	c.same(c.rows(readArgs("ApiUser", all(), "salted_password")), `[{"id":1,"salted_password":"canary-salted_password-ApiUser-1","type":"ApiUser"}]`)
	c.same(c.rows(readArgs("HumanUser", cond("id", "is", 2), "password_proxy")), `[{"id":2,"password_proxy":"canary-password_proxy-HumanUser-2","type":"HumanUser"}]`)
	c.ok("create", object{"type": "Shot", "fields": fields("code", "x"), "return_fields": array{"code"}})
	c.same(c.rows(readArgs("Shot", cond("code", "is", "x"), "created_by.ApiUser.salted_password")),
		`[{"created_by.ApiUser.salted_password":"canary-salted_password-ApiUser-1","id":13,"type":"Shot"}]`)
	c.fault(103, "update", object{"type": "ApiUser", "id": 1, "fields": fields("salted_password", "x")})
	c.ok("update", object{"type": "HumanUser", "id": 1, "fields": fields("password_proxy", "x")})
	if strings.Contains(string(s.Snapshot()), scriptKey) {
		t.Error("the snapshot holds a key")
	}
}
