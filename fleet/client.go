package fleet

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"stagedoor/limit"
)

const (
	// OperationTimeout is how long one operation on Redis may take where the options
	// say nothing, a connection that has to be made for it included: 500 ms. What takes longer counts as
	// away. It is also the longest that the first call of an idle proxy waits.
	OperationTimeout = 500 * time.Millisecond
	// maxConnections is how many connections one proxy has to Redis at most. A
	// script takes Redis some 30 microseconds, so that four of them carry more
	// operations than a proxy ever asks for; a fleet has one or two each.
	maxConnections = 4
	// maxIdle is how many of them are kept: one, and one for a second budget.
	maxIdle = 2
	// idleTime is how long a connection that nobody needs is kept. The look at
	// the brakes keeps one in use.
	idleTime = 30 * time.Second
	// bufferSize is that of a connection, each way, in bytes: what goes over it is
	// short, and Redis has one for every proxy.
	bufferSize = 4 << 10
	// maxAhead bounds how far ahead a call may be promised tokens: 10 min, the
	// longest max_hold.
	maxAhead = 10 * time.Minute
)

// errAnswer is an answer of Redis that our scripts don't give.
var errAnswer = errors.New("redis gave an answer that is none of ours")

// client is Redis as this package uses it. Nothing is tried twice: a lease that
// may have been given is lost, and comes back with time.
type client struct {
	redis                       *redis.Client
	lease, setBrake, readBrakes *redis.Script
}

// quiet is go-redis's logger: what it has to say comes back as an error as
// well, and is logged once, by us.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

// newClient makes a client. It connects when it is first used.
func newClient(o *Options) (*client, error) {
	u, err := url.Parse(o.URL)
	if err != nil || u.Host == "" || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("fleet: the address of Redis has to be redis://HOST:PORT or rediss://HOST:PORT, and nothing more")
	}
	host := u.Host
	if u.Port() == "" {
		host = net.JoinHostPort(u.Hostname(), "6379")
	}
	opts := &redis.Options{
		Addr:                       host,
		ClientName:                 clientName(o.Node),
		Protocol:                   2, // nothing is pushed to us
		CredentialsProviderContext: credentials(o),
		MaxRetries:                 -1,
		DialerRetries:              1,
		DialTimeout:                o.Timeout,
		ReadTimeout:                o.Timeout,
		WriteTimeout:               o.Timeout,
		PoolTimeout:                o.Timeout,
		ContextTimeoutEnabled:      true,
		PoolSize:                   maxConnections,
		MaxActiveConns:             maxConnections,
		MaxIdleConns:               maxIdle,
		ConnMaxIdleTime:            idleTime,
		ReadBufferSize:             bufferSize,
		WriteBufferSize:            bufferSize,
		DisableIdentity:            true,
		MaintNotificationsConfig:   &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	switch u.Scheme {
	case "redis":
	case "rediss":
		opts.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: o.Roots, ServerName: u.Hostname()}
	default:
		return nil, fmt.Errorf("fleet: the address of Redis begins with %s://; write redis:// or rediss://", u.Scheme)
	}
	// The logger is one for the whole process, and would write to stderr. Nothing
	// else here uses go-redis, and to silence it twice does no harm.
	redis.SetLogger(quiet{})
	return &client{
		redis: redis.NewClient(opts),
		lease: redis.NewScript(leaseScript), setBrake: redis.NewScript(setBrakeScript), readBrakes: redis.NewScript(readBrakesScript),
	}, nil
}

// clientName is the name that Redis's CLIENT LIST shows: a node's, where it has
// one that Redis takes.
func clientName(node string) string {
	for _, r := range node {
		if r <= ' ' || r > '~' {
			return "stagedoor"
		}
	}
	if node == "" || len(node) > 200 {
		return "stagedoor"
	}
	return "stagedoor/" + node
}

// credentials reads user and password for each new connection, so that a
// password that was changed is found by itself.
func credentials(o *Options) func(context.Context) (string, string, error) {
	user, password := o.User, o.Password
	return func(context.Context) (string, string, error) {
		if password == nil {
			return "", "", nil
		}
		v, err := password()
		if err != nil {
			return "", "", fmt.Errorf("reading the password of Redis: %w", err)
		}
		var s string
		v.Reveal(func(b []byte) { s = string(b) }) // go-redis takes it as a string
		return user, s, nil
	}
}

// question is one operation on a budget.
type question struct {
	rate  float64
	burst int
	need  int           // tokens without which there is no use in any
	want  int           // tokens of all who wait, need included
	more  int           // tokens to have in advance
	hold  time.Duration // the longest wait for need
	lane  limit.Lane
	back  int // tokens that were leased and not used
	owed  int // tokens of refused calls
}

// answer is what came of it.
type answer struct {
	given int           // tokens; -1 is none
	wait  time.Duration // until they may be used, or could be had
	shift int64         // in microseconds
}

func (c *client) ask(ctx context.Context, key string, q question) (answer, error) {
	fast := 0
	if q.lane == limit.Interactive {
		fast = 1
	}
	out, err := c.lease.Run(ctx, c.redis, []string{key},
		strconv.FormatFloat(q.rate, 'g', -1, 64), q.burst, q.need, q.want, q.more,
		min(q.hold, maxAhead).Microseconds(), fast, q.back, q.owed, deepest(q).Microseconds()).Int64Slice()
	if err != nil {
		return answer{}, err
	}
	if len(out) != 3 {
		return answer{}, errAnswer
	}
	a := answer{given: int(out[0]), wait: time.Duration(out[1]) * time.Microsecond, shift: out[2]}
	most := max(q.need, q.want) + q.more
	if out[0] < -1 || out[0] > int64(most) || out[1] < 0 || a.wait > longestWait(q) || a.shift < 0 {
		return answer{}, errAnswer
	}
	return a, nil
}

// deepest is the longest that a budget can be used up in advance: what one dear
// call leaves it in debt, and what is promised.
func deepest(q question) time.Duration { return maxAhead + bursts(q, maxBursts) }

// longestWait is the longest wait that the script can answer: the deepest debt,
// and a full bucket, both ways, to come.
func longestWait(q question) time.Duration { return deepest(q) + bursts(q, 4) }

// bursts is how long n bursts of a budget take, within what a Duration holds.
func bursts(q question, n float64) time.Duration {
	const longest = 10 * 365 * 24 * time.Hour
	return time.Duration(min(n*float64(q.burst)/q.rate, longest.Seconds()) * float64(time.Second))
}

// shift reads by how much the interactive lane has put off the others.
func (c *client) shift(ctx context.Context, key string) (int64, error) {
	n, err := c.redis.HGet(ctx, key, "shift").Int64()
	if errors.Is(err, redis.Nil) {
		return 0, nil // Redis has lost it: nobody is put off
	}
	return n, err
}

func (c *client) close() { _ = c.redis.Close() } // says only that it was closed
