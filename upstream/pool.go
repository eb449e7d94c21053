package upstream

import (
	"container/list"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
)

// maxHosts is how many hosts a Pool is connected to: a site's storage is a
// handful of them, and each may keep connections open.
const maxHosts = 32

// Pool is a client for many hosts by the rules of one: a bounded set of Sites,
// each made when it is first asked for. Which hosts may be called is its user's
// decision. It is safe for concurrent use; Close it.
type Pool struct {
	o Options

	mu struct {
		sync.Mutex
		sites  map[string]*list.Element // by host
		recent *list.List               // of *entry, the one used last in front
		closed bool
	}
}

type entry struct {
	host string
	site *Site
}

// NewPool makes a Pool. Of the options all but Site hold for each host.
func NewPool(o Options) *Pool {
	p := &Pool{o: o}
	p.mu.sites, p.mu.recent = make(map[string]*list.Element), list.New()
	return p
}

var errPoolClosed = errors.New("the pool is closed")

// Site gives the client for a host, NAME or NAME:PORT in small letters; the
// port is 443 otherwise. The host that was used the longest time ago goes when
// there are too many: calls to it that are under way are not disturbed.
func (p *Pool) Site(host string) (*Site, error) {
	if err := checkHost(host); err != nil {
		return nil, err
	}
	site, gone, err := p.site(strings.TrimSuffix(host, ":443"))
	if gone != nil {
		gone.Close() // writes to the network: not under the lock
	}
	return site, err
}

func (p *Pool) site(host string) (site, gone *Site, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.closed {
		return nil, nil, errPoolClosed
	}
	if at := p.mu.sites[host]; at != nil {
		p.mu.recent.MoveToFront(at)
		return at.Value.(*entry).site, nil, nil //nolint:forcetypeassert,errcheck // the list has no other
	}
	o := p.o
	o.Site = &url.URL{Scheme: "https", Host: host}
	e := &entry{host: host, site: New(o)}
	p.mu.sites[host] = p.mu.recent.PushFront(e)
	if p.mu.recent.Len() > maxHosts {
		old, ok := p.mu.recent.Remove(p.mu.recent.Back()).(*entry)
		if ok {
			delete(p.mu.sites, old.host)
			gone = old.site
		}
	}
	return e.site, gone, nil
}

// Close drops all idle connections. Calls under way end as they would; no other
// begins.
func (p *Pool) Close() {
	p.mu.Lock()
	p.mu.closed = true
	all := make([]*Site, 0, len(p.mu.sites))
	for e := p.mu.recent.Front(); e != nil; e = e.Next() {
		if e, ok := e.Value.(*entry); ok {
			all = append(all, e.site)
		}
	}
	clear(p.mu.sites)
	p.mu.recent.Init()
	p.mu.Unlock()
	for _, s := range all {
		s.Close()
	}
}

// checkHost refuses what names no host in the one spelling: two spellings would
// be two hosts to one reader and one to another.
func checkHost(host string) error {
	bad := fmt.Errorf("%q is no host", host)
	name, port := host, ""
	if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') {
		name, port = host[:i], host[i+1:]
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || strconv.FormatUint(n, 10) != port {
			return bad
		}
	}
	if ip, ok := strings.CutPrefix(name, "["); ok {
		addr, err := netip.ParseAddr(strings.TrimSuffix(ip, "]"))
		if err != nil || addr.Zone() != "" || "["+addr.String()+"]" != name || !addr.Is6() {
			return bad
		}
		return nil
	}
	if net.ParseIP(name) != nil {
		return nil
	}
	const maxName, maxLabel = 253, 63 // RFC 1035 §2.3.4
	if len(name) > maxName {
		return bad
	}
	last := ""
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > maxLabel || label[0] == '-' || label[len(label)-1] == '-' {
			return bad
		}
		if strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return bad
		}
		last = label
	}
	if last[0] < 'a' { // 0177.1, 0x7f and the like: an address to some
		return bad
	}
	return nil
}
