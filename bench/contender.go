package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strings"
)

// contender is one proxy.
type contender struct {
	name string
	// injects says that the proxy puts the key in; else the tool's call has it.
	injects bool
	// needs are programs and files, any of which may be missing.
	needs []string
	// prepare writes the configuration and gives the command.
	prepare func(ctx context.Context, l *lab, c *contender) (argv []string, err error)
	// check looks at the proxy after the last run; may be nil.
	check func(ctx context.Context, l *lab) error

	address string
	script  string // wrk's
	process *process
	samples []sample
	peak    int64 // bytes
}

// The names are used to find the two that others are compared with.
const (
	nameLua       = "nginx-lua"
	nameBare      = "reverseproxy"
	nameStagedoor = "stagedoor"
)

// contenders are all, in the order of the table.
func contenders() []*contender {
	modules := nginxModules()
	stagedoor := &stagedoor{}
	return []*contender{
		{name: "nginx", needs: []string{"nginx"}, prepare: prepareNginx("nginx.conf", modules)},
		{name: "haproxy", needs: []string{"haproxy"}, prepare: prepareHAProxy},
		{name: nameLua, injects: true, needs: []string{
			"nginx", filepath.Join(modules, "ndk_http_module.so"), filepath.Join(modules, "ngx_http_lua_module.so"), "/usr/lib/*/lua/5.1/cjson.so",
		}, prepare: prepareNginx("nginx-lua.conf", modules)},
		{name: nameBare, prepare: prepareBare},
		{name: nameStagedoor, injects: true, prepare: stagedoor.prepare, check: stagedoor.check},
	}
}

// missing names what is not there.
func (c *contender) missing() string {
	for _, need := range c.needs {
		if _, err := lookPath(need); err != nil {
			return need
		}
	}
	return ""
}

// lookPath finds a program, also in the folders of daemons, which are not in
// everybody's path; or a file, by a pattern.
func lookPath(name string) (string, error) {
	if strings.Contains(name, "/") {
		found, err := filepath.Glob(name)
		if err != nil || len(found) == 0 {
			return "", errors.Join(err, os.ErrNotExist)
		}
		return found[0], nil
	}
	found, err := exec.LookPath(name)
	if err == nil {
		return found, nil
	}
	for _, dir := range []string{"/usr/sbin", "/usr/local/sbin"} {
		if found, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return found, nil
		}
	}
	return "", err
}

// launch brings the proxy up.
func (c *contender) launch(ctx context.Context, l *lab) (err error) {
	if c.address, err = freeAddress(ctx); err != nil {
		return err
	}
	argv, err := c.prepare(ctx, l, c)
	if err != nil {
		return err
	}
	if argv[0], err = lookPath(argv[0]); err != nil {
		return err
	}
	c.process, err = l.start(ctx, c.name, c.address, argv...)
	return err
}

// start brings the proxy up and makes one call through it, whose answer has to
// be the site's.
func (c *contender) start(ctx context.Context, l *lab) (err error) {
	if err := c.launch(ctx, l); err != nil {
		return err
	}
	key := l.key
	if c.injects {
		key = placeholder
	}
	if c.script, err = l.write("read.lua", c.name+".lua", map[string]string{"Body": read(key)}); err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+c.address+"/api3/json", strings.NewReader(read(key)))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	got, err := l.do(req)
	if err != nil {
		return err
	}
	if got != answer() {
		return fmt.Errorf("the answer is not the site's: %.300s", got)
	}
	return nil
}

// nginxModules is where nginx keeps its modules.
func nginxModules() string {
	nginx, err := lookPath("nginx")
	if err != nil {
		return "/usr/lib/nginx/modules"
	}
	out, err := exec.Command(nginx, "-V").CombinedOutput() //nolint:noctx // prints and ends
	if m := regexp.MustCompile(`--modules-path=(\S+)`).FindSubmatch(out); err == nil && m != nil {
		return string(m[1])
	}
	return "/usr/lib/nginx/modules"
}

func prepareNginx(name, modules string) func(context.Context, *lab, *contender) ([]string, error) {
	return func(_ context.Context, l *lab, c *contender) ([]string, error) {
		values, err := l.nginxValues(c)
		if err != nil {
			return nil, err
		}
		values["Modules"] = modules
		file, err := l.write(name, name, values)
		return []string{"nginx", "-p", l.dir, "-c", file, "-e", l.path(c.name + "-start.log")}, err
	}
}

// nginxValues fills a configuration of nginx in.
func (l *lab) nginxValues(c *contender) (map[string]string, error) {
	values := map[string]string{"Dir": l.dir, "Listen": c.address, "Site": l.siteAddr, "CA": l.ca, "Key": l.key, "User": "", "Buffering": "on"}
	if os.Geteuid() != 0 {
		return values, nil
	}
	// workers would become a user who can't read the folder
	u, err := user.Current()
	if err != nil {
		return nil, err
	}
	g, err := user.LookupGroupId(u.Gid)
	if err != nil {
		return nil, err
	}
	values["User"] = u.Username + " " + g.Name
	return values, nil
}

func prepareHAProxy(_ context.Context, l *lab, c *contender) ([]string, error) {
	file, err := l.write("haproxy.cfg", "haproxy.cfg", map[string]string{"Listen": c.address, "Site": l.siteAddr, "CA": l.ca})
	return []string{"haproxy", "-f", file}, err
}

func prepareBare(ctx context.Context, l *lab, c *contender) ([]string, error) {
	err := l.build(ctx, pkgBare, "bare")
	return []string{l.path("bare"), "-listen", c.address, "-site", "https://" + l.siteAddr, "-ca", l.ca}, err
}

// stagedoor is the contender that this is about.
type stagedoor struct{ admin string }

func (s *stagedoor) prepare(ctx context.Context, l *lab, c *contender) ([]string, error) {
	if err := l.build(ctx, pkgStagedoor, "stagedoor"); err != nil {
		return nil, err
	}
	file, err := s.configure(ctx, l, "stagedoor.yaml", c.address, "")
	return []string{l.path("stagedoor"), "serve", "--config", file}, err
}

func (s *stagedoor) configure(ctx context.Context, l *lab, name, listen, maxBuffered string) (file string, err error) {
	if s.admin, err = freeAddress(ctx); err != nil {
		return "", err
	}
	return l.write(name, "stagedoor.yaml", map[string]string{
		"SiteName": strings.Replace(l.siteAddr, "127.0.0.1", "localhost", 1), "CA": l.ca, "Listen": listen,
		"Admin": s.admin, "Dir": l.dir, "MaxBuffered": maxBuffered,
	})
}

// check makes sure that what was measured is what was meant: no call was held,
// and none refused.
func (s *stagedoor) check(ctx context.Context, l *lab) error {
	text, err := l.get(ctx, "http://"+s.admin+"/metrics")
	if err != nil {
		return err
	}
	if n := metric(text, "stagedoor_hold_seconds_count"); n != 0 {
		return fmt.Errorf("%.0f calls were held: this machine is too fast for the limit in conf/stagedoor.yaml", n)
	}
	// wrk hangs up with calls under way at the end of each run: those may count.
	if n := metric(text, "stagedoor_refused_total"); n > float64((l.o.rounds+1)*l.o.connections) {
		return fmt.Errorf("%.0f calls were refused: %s", n, grep(text, "stagedoor_refused_total"))
	}
	if metric(text, "stagedoor_calls_total") == 0 {
		return errors.New("its metrics know of no call")
	}
	return nil
}

// grep gives the lines that begin with a text.
func grep(text, prefix string) (found []string) {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, prefix) {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return found
}

// metric adds up all series of a name in Prometheus' text form.
func metric(text, name string) float64 {
	var sum float64
	for line := range strings.Lines(text) {
		series, value, _ := strings.Cut(strings.TrimSpace(line), "} ")
		if base, _, labelled := strings.Cut(series, "{"); labelled && base == name {
			var v float64
			if _, err := fmt.Sscan(value, &v); err == nil {
				sum += v
			}
			continue
		}
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			var v float64
			if _, err := fmt.Sscan(rest, &v); err == nil {
				sum += v
			}
		}
	}
	return sum
}
