package config

import "fmt"

// whole checks what only the whole file shows.
func (r *reading) whole() {
	c := r.cfg
	if l := r.seen.top.field("listen"); l != nil && l.kind != kindText {
		for _, v := range []*node{r.seen.identity, r.seen.shared} {
			if v != nil {
				r.error(v.key.place, v.name()+" at the top level goes with a single address", "say it in each listener: {address: …, "+v.name()+": …}")
			}
		}
	}
	r.addresses()
	r.served()
	r.callerKnown()
	r.fleets()
	r.compose()
	r.againstSchema()
	r.keys()
	r.handleKey()
	r.storageSite()
	if c.MaxBuffered < c.MaxBody {
		at := r.seen.maxBuffer
		if at == nil {
			at = r.seen.maxBody
		}
		r.value(at, fmt.Sprintf("one body (max_body, %s) would not fit into all buffers (max_buffered, %s)", showSize(c.MaxBody), showSize(c.MaxBuffered)), "")
	}
}

// keys checks where keys come from, all scripts together.
func (r *reading) keys() {
	c := r.cfg
	inVault := c.Handles.Vault != "" || c.Limits.Fleet != nil && c.Limits.Fleet.Password != ""
	first := map[string]string{}
	for i := range c.Scripts {
		s, pos := &c.Scripts[i], r.seen.scripts[i]
		inVault = inVault || pos.active != nil
		from := s.File
		if s.Active != "" {
			from = s.Active + "#" + s.KeyField
		}
		switch other, twice := first[from]; {
		case from == "":
		case twice:
			r.warn(pos.node.key.place, fmt.Sprintf("%s and %s use the same key: the site can't tell them apart", other, s.Name), "")
		default:
			first[from] = s.Name
		}
	}
	switch {
	case inVault && r.seen.vault == nil:
		r.error(r.firstActive(), "this key is in Vault, and there is no vault section", "add vault: {address: https://VAULT:8200}")
	case !inVault && r.seen.vault != nil && len(c.Scripts) > 0:
		r.warn(r.seen.vault.key.place, "no key is in Vault: this section is not used", "")
		c.Vault = nil
	}
	switch {
	case inVault && r.seen.login == nil:
		r.error(r.firstActive(), "this key is in Vault, and nothing says how to log in there", "add login: {token_file: /PATH}, or approle, or kubernetes")
	case !inVault && r.seen.login != nil && len(c.Scripts) > 0:
		r.warn(r.seen.login.key.place, "no key is in Vault: this section is not used", "")
		c.Login = nil
	}
}

// firstActive is where the first key in Vault is named.
func (r *reading) firstActive() place {
	for _, p := range r.seen.scripts {
		if p.active != nil {
			return p.active.key.place
		}
	}
	for _, v := range []*node{r.seen.handleVault, r.seen.fleetPassword} {
		if v != nil {
			return v.key.place
		}
	}
	return place{}
}
