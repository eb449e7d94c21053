package fleet_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"stagedoor/internal/parts"
)

// network is two network namespaces with a cable between them: Redis is in one,
// proxies in the other. Nobody else can reach either.
type network struct {
	t           *testing.T
	redis, node string
}

// Addresses of the range for documentation, which exist in the two namespaces
// alone: Redis's own, and both ends of the cable.
const redisIP, redisEnd, nodeEnd = "192.0.2.1", "192.0.2.5", "192.0.2.6"

func ip(args ...string) error {
	out, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// newNetwork needs root, or what stands for it.
func newNetwork(t *testing.T) (*network, error) {
	t.Helper()
	id := fmt.Sprintf("%d", os.Getpid())
	n := &network{t: t, redis: "sdr" + id, node: "sdn" + id}
	t.Cleanup(func() {
		_ = ip("netns", "del", n.redis) // what was made of it
		_ = ip("netns", "del", n.node)
	})
	for _, args := range [][]string{
		{"netns", "add", n.redis},
		{"netns", "add", n.node},
		{"link", "add", "sd0", "netns", n.redis, "type", "veth", "peer", "name", "sd0", "netns", n.node},
		{"-n", n.redis, "addr", "add", redisIP + "/32", "dev", "lo"},
		{"-n", n.redis, "addr", "add", redisEnd + "/30", "dev", "sd0"},
		{"-n", n.node, "addr", "add", nodeEnd + "/30", "dev", "sd0"},
		{"-n", n.redis, "link", "set", "lo", "up"},
		{"-n", n.redis, "link", "set", "sd0", "up"},
		{"-n", n.node, "link", "set", "sd0", "up"},
		{"-n", n.node, "route", "add", redisIP, "via", redisEnd},
	} {
		if err := ip(args...); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// plug takes the cable out of Redis's end, and puts it back.
func (n *network) plug(in bool) {
	n.t.Helper()
	state := "down"
	if in {
		state = "up"
	}
	if err := ip("-n", n.redis, "link", "set", "sd0", state); err != nil {
		n.t.Fatal(err)
	}
}

func within(netns string) []string { return []string{"ip", "netns", "exec", netns} }

// TestTwentyProcessesInAPartitionedNetwork has half of the proxies cut off.
func TestTwentyProcessesInAPartitionedNetwork(t *testing.T) {
	near, far := farm(""), farm("")
	near, far = near[:processes/2], far[processes/2:]
	n, err := newNetwork(t)
	var p *proxies
	var plug func(in bool)
	if err == nil {
		r := parts.Redis(t, parts.RedisOptions{Bind: redisIP, Within: within(n.redis)})
		p = startProxies(t, urls(near, r.URL), within(n.redis))
		q := startProxies(t, urls(far, r.URL), within(n.node))
		p.all = append(p.all, q.all...)
		plug = n.plug
	} else {
		t.Logf("\n*** no network namespaces here: %v ***\n*** packets are dropped between two sockets instead ***", err)
		r := parts.Redis(t, parts.RedisOptions{})
		w := r.Wire()
		p = startProxies(t, append(urls(near, r.URL), urls(far, "redis://"+w.Address)...), nil)
		plug = func(in bool) {
			if in {
				w.Mend()
			} else {
				w.Cut()
			}
		}
	}
	p.await("up", 0, isBack)
	from := time.Now()
	pause(t, time.Second)
	plug(false)
	p.await("alone", processes/2, isAway)
	parted := time.Now()
	pause(t, 2*time.Second)
	mended := time.Now()
	plug(true)
	p.await("back", processes/2, isBack)
	back := time.Now()
	pause(t, time.Second)
	to := time.Now()
	let := p.end()
	// The near half has the budget to itself; the far half its shares.
	p.within(let, parted, mended, farmRate+shareAlone/2, burstsAlone)
	p.within(let, back, to, farmRate, burstsAlone)
	p.within(let, from, to, farmRate+shareAlone/2, burstsAlone)
	for i := range processes / 2 {
		if n := p.outages[i]; n != 0 {
			t.Errorf("near proxy %d lost Redis %d times", i, n)
		}
	}
}

func urls(orders []node, url string) []node {
	for i := range orders {
		orders[i].URL = url
	}
	return orders
}
