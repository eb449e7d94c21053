package config

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Bounds of limits.
const (
	maxHold        = 10 * time.Minute
	MaxShare       = 100_000 // of 1/N: proxies that share a budget
	minLease       = 100 * time.Millisecond
	maxLease       = time.Minute
	minUploadBytes = 1 << 10
	maxUploadBytes = 1 << 40
)

// kindWords are the kinds of calls that a script's limit may bound, in the order
// of [Limit.Kinds].
func kindWords() []string { return []string{"read", "write", "schema", "upload", "download"} }

// limit reads a script's limit.
func (r *reading) limit(l *Limit, pos *scriptPos, n *node) {
	burst, lane := 0, "farm"
	hold := time.Duration(-1)
	var rate, perNode float64
	r.object(n, "limit", []field{
		{"rate", func(v *node) { pos.rate = v; r.rate(&rate)(v) }, ""},
		{"fleet", func(v *node) { pos.fleet = v; r.rate(&l.Fleet)(v) }, ""},
		{"node", r.rate(&perNode), ""},
		{"burst", r.count(&burst, 1, MaxBurst), ""},
		{"in_flight", r.count(&l.InFlight, 1, MaxInFlight), ""},
		{"max_hold", r.duration(&hold, 0, maxHold), ""},
		{"queue", r.count(&l.Queue, 0, MaxQueue), ""},
		{"lane", r.word(&lane, "interactive", "farm"), ""},
		{"kinds", func(v *node) { l.Kinds = r.kinds(v) }, ""},
		{"upload_bytes", r.size(&l.UploadBytes, minUploadBytes, maxUploadBytes), ""},
	}, "site", "share")
	switch {
	case rate > 0 && perNode > 0:
		r.error(n.field("node").key.place, "rate and node are the same: calls per second of this proxy", "keep one of the two")
	case rate > 0:
		l.Rate = rate
	case perNode > 0:
		l.Rate = perNode
	case l.Fleet > 0:
		l.Rate = l.Fleet // no proxy has more than all of them
	}
	if perNode > 0 && l.Fleet > 0 && perNode > l.Fleet {
		r.warn(n.field("node").key.place, fmt.Sprintf("this proxy's %s is more than all proxies may (fleet: %s)", showRate(perNode), showRate(l.Fleet)), "")
	}
	l.Interactive = lane == "interactive"
	l.MaxHold = defaultHold(l.Interactive)
	if hold >= 0 {
		l.MaxHold = hold
	}
	l.Burst = burst
	if burst == 0 {
		l.Burst = defaultBurst(l.Rate)
	}
	if w := l.LongestWait(); w > l.MaxHold {
		at := n.key.place
		r.warn(at, fmt.Sprintf("a batch of more than %d parts may have to wait %s for a full bucket; max_hold refuses it after %s", l.Burst, showDuration(w), showDuration(l.MaxHold)), "")
	}
	for _, k := range l.Kinds {
		if k.Rate > l.Rate {
			r.warn(n.field("kinds").key.place, fmt.Sprintf("kinds: %s may make %s, and all calls together %s", k.Kind, showRate(k.Rate), showRate(l.Rate)), "")
		}
	}
}

func defaultHold(interactive bool) time.Duration {
	if interactive {
		return DefaultInteractiveHold
	}
	return DefaultMaxHold
}

// kinds reads {read: 10/s, write: {rate: 5/s, burst: 5}}.
func (r *reading) kinds(n *node) (out []KindLimit) {
	limits := map[string]*KindLimit{}
	var fields []field
	for _, word := range kindWords() {
		fields = append(fields, field{word, func(v *node) {
			k := &KindLimit{Kind: word}
			if v.kind == kindMap {
				r.object(v, word, []field{{"rate", r.rate(&k.Rate), "10/s"}, {"burst", r.count(&k.Burst, 1, MaxBurst), ""}})
			} else {
				r.rate(&k.Rate)(v)
			}
			if k.Burst == 0 {
				k.Burst = defaultBurst(k.Rate)
			}
			limits[word] = k
		}, ""})
	}
	r.object(n, "kinds", fields)
	for _, word := range kindWords() {
		if k := limits[word]; k != nil {
			out = append(out, *k)
		}
	}
	return out
}

// limits reads what is asked of the site together.
func (r *reading) limits(n *node) {
	l := &r.cfg.Limits
	r.object(n, "limits", []field{
		{"site", r.siteLimit, ""},
		{"caller", func(v *node) { r.budget(&l.Caller, v, "limits.caller") }, ""},
		{"fleet", r.fleet, ""},
	}, "share", "lane")
}

func (r *reading) siteLimit(n *node) {
	l := &r.cfg.Limits
	least := 0
	r.budget(&l.Site, n, "limits.site", field{"min_in_flight", r.count(&least, 1, MaxInFlight), ""})
	l.MinInFlight = min(DefaultMinInFlight, l.Site.InFlight)
	if least == 0 {
		return
	}
	l.MinInFlight = least
	if at := n.field("min_in_flight"); least > l.Site.InFlight {
		r.error(at.key.place, fmt.Sprintf("min_in_flight (%d) is more than in_flight (%d)", least, l.Site.InFlight), "")
	}
}

// budget reads a rate and calls in flight.
func (r *reading) budget(b *Budget, n *node, where string, more ...field) {
	burst := 0
	r.object(n, where, append([]field{
		{"rate", r.rate(&b.Rate), ""},
		{"burst", r.count(&burst, 1, MaxBurst), ""},
		{"in_flight", r.count(&b.InFlight, 1, MaxInFlight), ""},
	}, more...))
	switch {
	case b.Rate > 0 && burst == 0:
		burst = defaultBurst(b.Rate)
	case b.Rate == 0 && burst > 0 && n.field("rate") == nil:
		r.error(n.field("burst").key.place, "burst without rate", "it is how many calls may come at once after a pause; add rate: 20/s")
	}
	b.Burst = burst
}

// fleet reads where proxies share their budgets.
func (r *reading) fleet(n *node) {
	f := &Fleet{Lease: DefaultLease, Prefix: DefaultPrefix}
	r.cfg.Limits.Fleet = f
	var password *node
	ok := r.object(n, "limits.fleet", []field{
		{"redis", r.redis(f), "rediss://REDIS:6379"},
		{"ca", r.path(&f.CA), ""},
		{"user", r.text(&f.User), ""},
		{"password", func(v *node) { password = v; r.vaultRef(&f.Password, &f.PasswordField)(v) }, ""},
		{"password_file", r.path(&f.PasswordFile), ""},
		{"share", r.share(&f.Share), "1/800"},
		{"lease", r.duration(&f.Lease, minLease, maxLease), ""},
		{"prefix", r.prefix(&f.Prefix), ""},
	}, "sentinel", "cluster", "database")
	r.seen.fleetPassword = password
	file := n.field("password_file")
	switch {
	case !ok:
	case password != nil && file != nil:
		r.error(file.key.place, "password and password_file: there is one password", "keep password (in Vault) or password_file")
	case f.Password != "" && f.PasswordField == "":
		r.value(password, "names no field", "write PATH#FIELD, for example infra/stagedoor-redis#password")
	case f.User != "" && password == nil && file == nil:
		r.error(n.field("user").key.place, "user without a password", "add password: PATH#FIELD (in Vault) or password_file: PATH")
	}
	if strings.HasPrefix(f.Redis, "redis://") && f.CA != "" {
		r.error(n.field("ca").key.place, "ca without TLS", "write rediss:// in redis, or remove ca")
	}
}

// redis reads the address of Redis.
func (r *reading) redis(f *Fleet) reader {
	return func(n *node) {
		var s string
		if r.text(&s)(n); s == "" {
			return
		}
		u, ok := r.url(n, s, "rediss://REDIS:6379")
		switch {
		case !ok:
			return
		case u.Scheme != "redis" && u.Scheme != "rediss":
			r.value(n, quoted(n)+" is no address of Redis", "write rediss://"+u.Host+"; redis:// is without TLS")
			return
		}
		host := strings.ToLower(u.Host)
		if u.Port() == "" {
			host += ":6379"
		}
		f.Redis = u.Scheme + "://" + host
		if u.Scheme == "redis" && !loopback(u.Hostname()) {
			r.warn(n.place, "redis:// is without TLS: whoever is on the way reads its password, and may change budgets", "write rediss://"+host)
		}
	}
}

// share reads 1/N.
func (r *reading) share(dst *float64) reader {
	form := regexp.MustCompile(`^1/([1-9][0-9]{0,5})$`)
	return func(n *node) {
		m := form.FindStringSubmatch(n.text)
		if n.kind != kindText || m == nil {
			r.value(n, quoted(n)+" is no share", "write 1/800, for a fleet of 800 proxies")
			return
		}
		v, _ := strconv.Atoi(m[1]) // six digits fit
		if v > MaxShare {
			r.value(n, fmt.Sprintf("%s is out of bounds: from 1/%d to 1/1", quoted(n), MaxShare), "")
			return
		}
		*dst = 1 / float64(v)
	}
}

func (r *reading) prefix(dst *string) reader {
	form := regexp.MustCompile(`^[a-z0-9][a-z0-9:_-]{0,62}$`)
	return r.textLike(dst, func(s string) (msg, hint string) {
		if !form.MatchString(s) {
			return "is no prefix", "letters a-z, digits, -, _ and :"
		}
		return "", ""
	})
}

// fleets checks that scripts and limits.fleet speak of the same.
func (r *reading) fleets() {
	shared := r.cfg.Limits.Fleet != nil
	for i := range r.seen.scripts {
		pos := &r.seen.scripts[i]
		switch rate := pos.rate; {
		case pos.fleet != nil && !shared:
			r.error(pos.fleet.key.place, "this limit has a fleet's budget, and there is no limits.fleet", "add limits: {fleet: {redis: rediss://REDIS:6379, share: 1/800}}, or write node for this proxy alone")
		case rate == nil || !shared && pos.fleet == nil:
		default:
			r.error(rate.key.place, "with limits.fleet, a bare rate may be all proxies' or this one's", "write fleet: "+rate.text+" for all of them together, or node: "+rate.text+" for each")
		}
	}
	f := r.cfg.Limits.Fleet
	if !shared || r.cfg.Limits.Site.Rate > 0 || slices.ContainsFunc(r.cfg.Scripts, func(s Script) bool { return s.Limit.Fleet > 0 }) {
		return
	}
	if f.Redis != "" {
		r.warn(r.seen.top.field("limits").field("fleet").key.place, "no budget is shared: neither limits.site has a rate nor a script's limit a fleet", "")
	}
}
