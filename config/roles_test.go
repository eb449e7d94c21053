package config_test

import (
	"fmt"
	"testing"

	"stagedoor/config"
)

// A rule says where it stands and which role brought it, for records and
// refusals; a script's own come first, and each role's once.
func TestRulesOfRolesKeepTheirPlaces(t *testing.T) {
	c, ds := config.Parse("/etc/stagedoor/stagedoor.yaml", []byte(`version: 1
site: https://acme.shotgrid.autodesk.com
listen: 127.0.0.1:8470
identity: none
shared: true
roles:
  reader:
    roles: [linker]
    allow:
      - read: Shot
    deny:
      - read: Shot.sg_internal
  linker: {allow: [{link: Asset}]}
scripts:
  comp:
    file: /etc/comp.json
    roles: [reader, linker]
    allow:
      - update: Shot.code
    deny: [{update: Shot.code, projects: [5]}]
  none: {file: /etc/none.json, roles: reader}
`))
	if c == nil {
		t.Fatal(config.Format(ds))
	}
	var got []string
	for _, s := range c.Scripts {
		got = append(got, fmt.Sprint(s.Name, " ", s.AllowWhere, " ", s.Roles))
		for _, r := range s.Allow {
			got = append(got, fmt.Sprint("allow ", r.Verb, " ", r.Where(), " ", r.Role))
		}
		for _, r := range s.Deny {
			got = append(got, fmt.Sprint("deny ", r.Verb, " ", r.Where(), " ", r.Role))
		}
	}
	want := []string{
		"comp stagedoor.yaml:18 [reader linker]",
		"allow update stagedoor.yaml:19 ", "allow read stagedoor.yaml:10 reader", "allow link stagedoor.yaml:13 linker",
		"deny update stagedoor.yaml:20 ", "deny read stagedoor.yaml:12 reader",
		"none stagedoor.yaml:21 [reader linker]",
		"allow read stagedoor.yaml:10 reader", "allow link stagedoor.yaml:13 linker",
		"deny read stagedoor.yaml:12 reader",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
}
