package flowsite

import (
	"fmt"
)

// script is a script user with its key.
type script struct {
	name, key string
	id        int // of its ApiUser row
	role      Role
	disabled  bool
}

func (s *script) identity() identity {
	return identity{script: s, role: s.role, actor: link{"ApiUser", s.id}}
}

// Person is someone who can log in.
type Person struct {
	Login, Password string
	First, Last     string
	Email           string
	// Status is "act" (also when "") or "dis".
	Status string
	// SecondFactor, when set, is asked for as auth_token.
	SecondFactor string
	// NoImpersonation refuses sudo_as_login with this login.
	NoImpersonation bool
	Role            Role
}

type person struct {
	Person
	id int
}

func (p *person) row() link { return link{"HumanUser", p.id} }

func (p *person) identity() identity {
	return identity{person: p, role: p.Role, actor: p.row()}
}

// AddScript makes a script user and its ApiUser row, whose id it returns. A
// name that is taken gets the new key and role, and keeps its row.
func (s *Site) AddScript(name, key string, role Role) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.scripts[name]; old != nil {
		old.key, old.role, old.disabled = key, role, false
		return old.id
	}
	id := s.findLocked("ApiUser", "firstname", name)
	if id == 0 {
		id = s.seedLocked("ApiUser", 0, map[string]any{"firstname": name, "description": "Script " + name})
	}
	s.scripts[name] = &script{name: name, key: key, id: id, role: role}
	return id
}

// findLocked is the id of the row whose field has the text, or 0.
func (s *Site) findLocked(typ, key, text string) int {
	t := s.state.table(typ)
	for _, id := range t.ids {
		if t.rows[id].values[key] == text {
			return id
		}
	}
	return 0
}

// AddUser makes a person and their HumanUser row, whose id it returns. A login
// that is taken gets the new password, role and (where given) status. A person
// with no password can't log in.
func (s *Site) AddUser(p Person) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := s.findLocked("HumanUser", "login", p.Login)
	if id == 0 {
		id = s.seedLocked("HumanUser", 0, map[string]any{
			"login": p.Login, "firstname": orDefault(p.First, p.Login), "lastname": p.Last,
			"email": orDefault(p.Email, p.Login+"@studio.invalid"), "sg_status_list": orDefault(p.Status, "act"),
			"can_impersonate": !p.NoImpersonation,
		})
	}
	if e := s.state.get(link{"HumanUser", id}); p.Status != "" || p.NoImpersonation {
		s.state.put(e.with(map[string]any{"sg_status_list": orDefault(p.Status, "act"), "can_impersonate": !p.NoImpersonation}))
	}
	s.people[p.Login] = &person{Person: p, id: id}
	return id
}

// activeLocked reads the row: a person can be made inactive through the API.
func (s *Site) activeLocked(p *person) bool {
	e := s.state.get(p.row())
	return e != nil && !e.retired && e.values["sg_status_list"] == "act"
}

func (s *Site) impersonableLocked(p *person) bool {
	e := s.state.get(p.row())
	return e != nil && e.values["can_impersonate"] != false
}

// DisableScript makes the site refuse the script; EnableScript ends that.
func (s *Site) DisableScript(name string) error {
	return s.change(name, func(sc *script) { sc.disabled = true })
}

// EnableScript makes the site accept the script again.
func (s *Site) EnableScript(name string) error {
	return s.change(name, func(sc *script) { sc.disabled = false })
}

// RotateKey gives the script a new key; the old one is refused at once.
func (s *Site) RotateKey(name, key string) error {
	return s.change(name, func(sc *script) { sc.key = key })
}

// SetRole changes what the script may do.
func (s *Site) SetRole(name string, role Role) error {
	return s.change(name, func(sc *script) { sc.role = role })
}

// RenameScript changes the name that the script authenticates with.
func (s *Site) RenameScript(name, to string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	sc := s.scripts[name]
	if sc == nil || s.scripts[to] != nil {
		return fmt.Errorf("renaming script %q to %q: no such script, or the name is taken", name, to)
	}
	delete(s.scripts, name)
	sc.name = to
	s.scripts[to] = sc
	if e := s.state.get(link{"ApiUser", sc.id}); e != nil {
		s.state.put(e.with(map[string]any{"firstname": to}))
	}
	return nil
}

func (s *Site) change(name string, do func(*script)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	sc := s.scripts[name]
	if sc == nil {
		return fmt.Errorf("changing script %q: there is none", name)
	}
	do(sc)
	return nil
}
