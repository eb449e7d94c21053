package config

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// listenPos is where the parts of a listener stand.
type listenPos struct {
	node, address, scripts, defaultScript, remote *node
}

// listen reads one address, one listener, or a list of either.
func (r *reading) listen(n *node) {
	switch n.kind {
	case kindText:
		r.listener(n, true)
	case kindMap:
		r.listener(n, false)
	case kindList:
		if len(n.items) == 0 {
			r.value(n, "an empty list", "name an address: 127.0.0.1:8470")
		}
		for _, it := range n.items {
			if it.kind != kindMap {
				it.key = n.key
			}
			r.listener(it, false)
		}
	case kindNull, kindInt, kindFloat, kindBool:
		r.value(n, "an address is wanted here, this is "+n.kind.String(), "write 127.0.0.1:8470")
	}
}

// listener reads one. single is the short form, whose identity and shared stand
// at the top level.
func (r *reading) listener(n *node, single bool) {
	l := Listener{KeepAlive: true}
	pos := listenPos{node: n, address: n}
	identity := r.seen.top.field("identity")
	var address string
	if n.kind != kindMap {
		r.text(&address)(n)
		if single {
			if v := r.seen.top.field("shared"); v != nil && v.kind != kindNull {
				r.boolean(&l.Shared)(v)
			}
		} else {
			identity = nil
		}
	} else {
		identity = n.field("identity")
		r.object(n, "a listener", []field{
			{"address", func(v *node) { pos.address = v; r.text(&address)(v) }, "127.0.0.1:8470"},
			{"name", r.listenerName(&l.Name), ""},
			{"identity", func(*node) {}, ""},
			{"shared", r.boolean(&l.Shared), ""},
			{"scripts", func(v *node) { pos.scripts = v; r.texts(&l.Scripts, r.text)(v) }, ""},
			{"default_script", func(v *node) { pos.defaultScript = v; r.text(&l.DefaultScript)(v) }, ""},
			{"hosts", r.texts(&l.Hosts, r.hostName), ""},
			{"keepalive", r.onOff(&l.KeepAlive), ""},
			{"allow_remote", func(v *node) { pos.remote = v; r.boolean(&l.AllowRemote)(v) }, ""},
		}, "callers", "tls", "mode", "group", "owner", "socket", "place", "lane", "default_caller")
	}
	r.identity(identity, pos.address, &l)
	if address != "" {
		l.Address = r.address(pos.address, address, l.AllowRemote)
	}
	if l.Name == "" {
		l.Name = l.Address
	}
	r.cfg.Listeners = append(r.cfg.Listeners, l)
	r.seen.listen = append(r.seen.listen, pos)
}

// identity wants to have it written out that callers are not told apart.
func (r *reading) identity(n, address *node, l *Listener) {
	switch {
	case n == nil:
		at := address.where()
		r.error(at, "who may call here? Anyone who can connect to this address may use its scripts",
			"if that is right, write it out beside the address: identity: none; or identity: kernel, to know the user (Linux)")
	case n.kind == kindText && n.text == "none":
		l.Identity = "none"
		r.warn(n.place, "identity: none: anyone who can connect to this address may use its scripts", "")
	case n.kind == kindText && n.text == "kernel":
		l.Identity = "kernel"
		if l.AllowRemote {
			r.error(n.place, "identity: kernel with allow_remote: the kernel knows callers on this host only", "give other hosts a listener of their own, with identity: none")
			return
		}
		r.warn(n.place, "identity: kernel: callers are known by their user (on Linux), and any user of this host may use the scripts of this address", "")
	case n.kind == kindNull:
	default:
		r.value(n, quoted(n)+" is not known", "write none, or kernel")
	}
}

func (r *reading) listenerName(dst *string) reader {
	form := regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)
	return r.textLike(dst, func(s string) (msg, hint string) {
		if !form.MatchString(s) {
			return "is no name", "letters a-z, digits, - and _"
		}
		return "", ""
	})
}

// hostName reads a name for the Host check.
func (r *reading) hostName(dst *string) reader {
	read := r.textLike(dst, func(s string) (msg, hint string) {
		if !validHost(s) {
			return "is no host name", "write it without scheme and port; each name in full"
		}
		return "", ""
	})
	return func(n *node) {
		read(n)
		*dst = strings.ToLower(*dst)
	}
}

// address reads host:port, and refuses one that other hosts can reach unless
// that is allowed. It gives "" where it refused.
func (r *reading) address(n *node, s string, remote bool) string {
	if strings.HasPrefix(s, "unix:") || strings.HasPrefix(s, "/") {
		r.value(n, "unix sockets are not yet known by this version", "write 127.0.0.1:8470")
		return ""
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		r.value(n, quoted(n)+" is no address", "write HOST:PORT, for example 127.0.0.1:8470; an IPv6 address in quotes: \"[::1]:8470\"")
		return ""
	}
	if p, perr := strconv.ParseUint(port, 10, 16); perr != nil || strconv.FormatUint(p, 10) != port {
		r.value(n, quoted(n)+" has no valid port", "a number from 1 to 65535")
		return ""
	}
	a, err := netip.ParseAddr(host)
	switch {
	case loopback(host):
		return s
	case host != "" && (err != nil || a.Zone() != ""):
		r.value(n, quoted(n)+" names a host; what it stands for can change", "write an IP address, or localhost")
		return ""
	case !remote:
		r.value(n, quoted(n)+" can be reached from other hosts",
			fmt.Sprintf("write 127.0.0.1:%s, or {address: %q, allow_remote: true} if that is meant", port, s))
		return ""
	}
	return s
}

// same says whether two addresses would take the same port.
func same(a, b string) bool {
	ah, ap, aerr := net.SplitHostPort(a)
	bh, bp, berr := net.SplitHostPort(b)
	if aerr != nil || berr != nil || ap != bp || ap == "0" {
		return false
	}
	return canonical(ah) == canonical(bh) || wildcard(ah) || wildcard(bh)
}

func canonical(host string) string {
	if host == "localhost" {
		return "127.0.0.1"
	}
	if a, err := netip.ParseAddr(host); err == nil {
		return a.Unmap().String()
	}
	return host
}

func wildcard(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "" || err == nil && a.IsUnspecified()
}

// addresses refuses a port taken twice, and a name.
func (r *reading) addresses() {
	ls := r.cfg.Listeners
	for i := range ls {
		at := r.seen.listen[i].address
		for j := range i {
			if same(ls[i].Address, ls[j].Address) {
				r.value(at, quoted(at)+" is taken", fmt.Sprintf("another listener has it in line %d", r.seen.listen[j].address.line))
			} else if ls[i].Name != "" && ls[i].Name == ls[j].Name {
				r.error(at.where(), fmt.Sprintf("two listeners have the name %q", ls[i].Name), "names mark metrics and records: give this one its own")
			}
		}
		if a := r.seen.admin; same(ls[i].Address, r.cfg.Admin.Address) {
			if a == nil {
				r.value(at, quoted(at)+" is where health and metrics are served unless told otherwise", "use another port, or set admin:")
			} else {
				r.value(a, "a listener has this address too", fmt.Sprintf("see line %d", at.line))
			}
		}
		if ls[i].AllowRemote {
			r.warn(r.seen.listen[i].remote.key.place, "allow_remote: whoever can reach "+ls[i].Address+" may use its scripts, in plain HTTP", "")
		}
	}
}

// served fills in the scripts of each listener and checks those named.
func (r *reading) served() {
	var all []string
	for i := range r.cfg.Scripts {
		all = append(all, r.cfg.Scripts[i].Name)
	}
	used := map[string]bool{}
	for i := range r.cfg.Listeners {
		l, pos := &r.cfg.Listeners[i], r.seen.listen[i]
		if pos.scripts == nil {
			l.Scripts = slices.Clone(all)
		} else if len(l.Scripts) == 0 {
			return // what is wrong there has been said
		}
		for _, s := range l.Scripts {
			used[s] = true
		}
		r.servedBy(l, pos, all)
	}
	if len(r.cfg.Listeners) == 0 {
		return // what is wrong there has been said
	}
	for i := range r.cfg.Scripts {
		if s := &r.cfg.Scripts[i]; !used[s.Name] {
			r.error(r.seen.scripts[i].node.key.place, fmt.Sprintf("no listener serves %q: its rules can never match", s.Name), "add it to the scripts of a listener, or remove it")
		}
	}
}

// servedBy checks the scripts that one listener names.
func (r *reading) servedBy(l *Listener, pos listenPos, all []string) {
	for _, s := range l.Scripts {
		if !slices.Contains(all, s) {
			r.error(pos.scriptNode(s), fmt.Sprintf("there is no script %q", s), didYouMean(s, all))
		}
	}
	if d := pos.defaultScript; l.DefaultScript != "" && !slices.Contains(l.Scripts, l.DefaultScript) {
		r.value(d, quoted(d)+" is not served here", didYouMean(l.DefaultScript, l.Scripts))
	}
	if n := len(l.Scripts); n > 1 && !l.Shared {
		at := pos.address.where()
		if pos.scripts != nil {
			at = pos.scripts.key.place
		}
		r.error(at, fmt.Sprintf("%d scripts on a listener that can't tell callers apart: each caller may use all of them", n),
			"if that is right, write it out beside the address: shared: true")
	}
}

// scriptNode is where a listener names a script.
func (p listenPos) scriptNode(name string) place {
	for _, it := range p.scripts.items {
		if it.text == name {
			return it.place
		}
	}
	return p.scripts.place
}
