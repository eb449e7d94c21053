// Package caller says who is calling, from the connection and the request's
// outer form alone: the checks that keep web pages and other hosts out (threat
// model P5, P6), and the kernel's word about who holds the other end of a
// connection (P2). It believes nothing that a caller sends, and maps no user to
// anything.
package caller

import (
	"net"
	"net/http"
	"slices"
	"strings"
)

// Problem is why a request is turned away at the door, before any of it is
// understood.
type Problem string

// The problems.
const (
	BadTarget Problem = "bad_target" // not one absolute path
	BadHost   Problem = "bad_host"   // a name that is not this listener's
	Browser   Problem = "browser"    // sent by a web page
	Upgrade   Problem = "upgrade"    // asks for another protocol
	Override  Problem = "override"   // asks to be read as another method or type
)

// Door checks the outer form of a request. It is immutable and safe for
// concurrent use.
type Door struct {
	hosts map[string]struct{}
}

// NewDoor admits requests whose Host is one of the loopback names, or one of
// names, with or without a port that is the listener's own.
func NewDoor(port string, names ...string) *Door {
	d := &Door{hosts: make(map[string]struct{})}
	for _, n := range append([]string{"localhost", "127.0.0.1", "[::1]"}, names...) {
		n = strings.ToLower(n)
		if strings.Contains(n, ":") && !strings.HasPrefix(n, "[") && net.ParseIP(n) != nil {
			n = "[" + n + "]"
		}
		d.hosts[n+":"+port] = struct{}{}
		if port == "80" {
			d.hosts[n] = struct{}{}
		}
	}
	// shotgun_api3 loses the brackets of http://[::1]:PORT (flow-protocol §1.9).
	d.hosts["::1:"+port] = struct{}{}
	return d
}

// KnowsHost says whether a Host header names this listener, byte for byte but
// for case.
func (d *Door) KnowsHost(host string) bool {
	if len(host) > 255 {
		return false
	}
	if _, ok := d.hosts[host]; ok {
		return true
	}
	for i := range len(host) {
		if host[i] >= 0x80 { // ToLower folds some of these to ASCII
			return false
		}
	}
	_, ok := d.hosts[strings.ToLower(host)]
	return ok
}

// Origins lists the addresses that tools may know this listener by, as the
// beginning of a link.
func (d *Door) Origins() []string {
	out := make([]string, 0, len(d.hosts))
	for h := range d.hosts {
		out = append(out, "http://"+h)
	}
	slices.Sort(out)
	return out
}

// Check returns "" for a request that may come in.
//
// The target comes first: for an absolute-form target net/http replaces the
// Host by the target's, and the real header is gone.
func (d *Door) Check(r *http.Request) Problem {
	switch {
	case r.Method == http.MethodConnect,
		len(r.RequestURI) == 0, r.RequestURI[0] != '/', strings.HasPrefix(r.RequestURI, "//"),
		r.URL.Scheme != "", r.URL.Host != "", r.URL.User != nil, r.URL.Opaque != "":
		return BadTarget
	case !d.KnowsHost(r.Host):
		return BadHost
	case has(r, "Origin"), has(r, "Sec-Fetch-Site"), r.Method == http.MethodOptions:
		return Browser
	case has(r, "Upgrade"), has(r, "Http2-Settings"):
		return Upgrade
	case has(r, "X-Http-Method-Override"), has(r, "X-Http-Method"), has(r, "X-Method-Override"):
		return Override
	}
	return ""
}

func has(r *http.Request, name string) bool {
	_, ok := r.Header[name]
	return ok
}
