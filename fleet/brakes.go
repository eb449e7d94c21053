package fleet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"stagedoor/limit"
)

const (
	// MaxBrakeTime is the longest that a brake may hold: 7 days.
	MaxBrakeTime = 7 * 24 * time.Hour
	// MaxBrakeText bounds the name of a brake, its reason and its author, in bytes
	// each: 200.
	MaxBrakeText = 200
	// maxBrakeRate bounds a brake's rate, which is there to slow down: 10^6 a second.
	maxBrakeRate = 1e6
	// maxBrakeEntry bounds what a brake takes in Redis: three texts, two numbers and
	// what parts them, in bytes.
	maxBrakeEntry = 3*MaxBrakeText + 64
	// liftedTime is how long Redis remembers at least that a brake was lifted which
	// it doesn't know: an hour, for proxies that can't reach it now.
	liftedTime = time.Hour
	// lifted stands where a brake has its rate.
	lifted = "lifted"
)

var (
	// ErrNoBrake is the error for what can't be a brake.
	ErrNoBrake = errors.New("fleet: not a brake")
	// ErrTooManyBrakes is SetBrake's error when [limit.MaxBrakes] are on.
	ErrTooManyBrakes = errors.New("fleet: too many brakes are on")
	// ErrAway is the error of a change that Redis has not confirmed.
	ErrAway = errors.New("fleet: redis is away, so the other proxies don't hear of it")

	errEntry = errors.New("what is written there is no brake")
)

// brakes is what this proxy knows of the fleet's brakes.
type brakes struct {
	mu      sync.Mutex // guards all below
	version string
	known   map[string]entry // by field
	told    []limit.Brake    // the last that OnBrakes got
	err     string
}

// entry is one field of the hash. Its value is five parts with a tab between
// them: "1", the rate or "lifted", the end in milliseconds of Redis's clock, who,
// and why.
type entry struct {
	raw    string
	brake  limit.Brake
	lifted bool
}

func (s *brakes) problem() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// SetBrake puts a brake on, on all proxies, or changes the one of its scope and
// name. In Redis it ends by itself, and each proxy that knows it ends it by its
// own clock, also when Redis has lost it or is away. The error wraps
// [ErrNoBrake], [ErrTooManyBrakes] or [ErrAway]; after ErrAway it may still have
// been written.
func (f *Fleet) SetBrake(ctx context.Context, b limit.Brake) error {
	life := b.Until.Sub(f.now())
	if err := checkBrake(b); err != nil {
		return fmt.Errorf("%w: %w", ErrNoBrake, err)
	}
	if life < time.Millisecond || life > MaxBrakeTime {
		return fmt.Errorf("%w: it has to end within %s from now", ErrNoBrake, MaxBrakeTime)
	}
	_, err := f.writeBrake(ctx, b.Scope+":"+b.Name, strconv.FormatFloat(b.Rate, 'g', -1, 64), life, b.By, b.Why)
	return err
}

// LiftBrake takes a brake off, on all proxies, and says whether there was one.
// The error wraps [ErrNoBrake], [ErrTooManyBrakes] or [ErrAway].
func (f *Fleet) LiftBrake(ctx context.Context, scope, name string) (bool, error) {
	if err := checkBrake(limit.Brake{Scope: scope, Name: name}); err != nil {
		return false, fmt.Errorf("%w: %w", ErrNoBrake, err)
	}
	left := f.left(scope + ":" + name)
	had, err := f.writeBrake(ctx, scope+":"+name, lifted, max(left, liftedTime), "", "")
	return err == nil && (had == 1 || had == 0 && left > 0), err
}

// left is how long a brake that this proxy knows has to go.
func (f *Fleet) left(field string) time.Duration {
	f.brakes.mu.Lock()
	defer f.brakes.mu.Unlock()
	if e, ok := f.brakes.known[field]; ok && !e.lifted {
		return e.brake.Until.Sub(f.now())
	}
	return 0
}

// writeBrake says what Redis knew of the name; see setBrakeScript.
func (f *Fleet) writeBrake(ctx context.Context, field, rate string, life time.Duration, by, why string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, f.opts.Timeout)
	defer cancel()
	n, err := f.client.setBrake.Run(ctx, f.client.redis, []string{f.brakesKey()},
		field, rate, by, why, life.Milliseconds(), limit.MaxBrakes).Int()
	switch {
	case err != nil:
		return 0, fmt.Errorf("%w: %w", ErrAway, err)
	case n < 0:
		return 0, ErrTooManyBrakes
	}
	select {
	case f.look <- struct{}{}: // to have it in force here at once
	default:
	}
	return n, nil
}

func (f *Fleet) brakesKey() string { return f.opts.Prefix + ":brakes" }

// readBrakes asks Redis for the brakes. The error is that Redis is away; what is
// wrong with the brakes is not.
func (f *Fleet) readBrakes() error {
	s := &f.brakes
	s.mu.Lock()
	version := s.version
	s.mu.Unlock()
	ctx, cancel := f.operation()
	defer cancel()
	out, err := f.client.readBrakes.Run(ctx, f.client.redis, []string{f.brakesKey()},
		version, limit.MaxBrakes, maxBrakeEntry).Slice()
	if err != nil {
		return err
	}
	now := f.now()
	list, changed := f.learn(now, version, out)
	if changed && f.opts.OnBrakes != nil {
		f.opts.OnBrakes(list)
	}
	return nil
}

// learn takes what Redis answered, and says what is in force and whether that is
// news.
func (f *Fleet) learn(now time.Time, asked string, out []any) ([]limit.Brake, bool) {
	s := &f.brakes
	s.mu.Lock()
	defer s.mu.Unlock()
	problem := s.err
	if got, err := readAnswer(out); err != nil {
		problem = err.Error()
	} else if got.version != asked || got.version == "" {
		// Also when the version is gone: Redis has lost them, or all are over, and
		// what is known holds until its own end.
		s.version = got.version
		problem = s.merge(now, got)
	}
	if problem != s.err {
		s.err = problem
		if problem != "" {
			f.log.Error("brakes in redis can't be read; the others are in force", slog.String("error", problem))
		}
	}
	list := s.list(now)
	if slices.Equal(list, s.told) {
		return nil, false
	}
	s.told = list
	return slices.Clone(list), true
}

// found is an answer of readBrakesScript.
type found struct {
	now            int64 // Redis's, in milliseconds
	version        string
	fields, values []string
}

func readAnswer(out []any) (found, error) {
	var r found
	if len(out) < 2 || len(out)%2 != 0 || len(out) > 2+4*limit.MaxBrakes+2 {
		return r, errAnswer
	}
	now, ok := out[0].(int64)
	version, ok2 := out[1].(string)
	if !ok || !ok2 {
		return r, errAnswer
	}
	r.now, r.version = now, version
	for i := 2; i < len(out); i += 2 {
		field, ok := out[i].(string)
		value, ok2 := out[i+1].(string)
		if !ok || !ok2 {
			return r, errAnswer
		}
		r.fields, r.values = append(r.fields, field), append(r.values, value)
	}
	return r, nil
}

// merge takes over what Redis has. What it no longer has is kept until its end:
// it was not lifted, or that would stand there. It returns the first problem.
// s.mu is held.
func (s *brakes) merge(now time.Time, got found) string {
	if s.known == nil {
		s.known = make(map[string]entry)
	}
	problem := ""
	for i, field := range got.fields {
		raw := got.values[i]
		if s.known[field].raw == raw && raw != "" {
			continue // with the end that it had, by our clock
		}
		e, ends, err := parseEntry(field, raw)
		left := time.Duration(ends-got.now) * time.Millisecond
		_, old := s.known[field]
		switch {
		case err != nil:
			problem = cmp.Or(problem, fmt.Sprintf("%.40q: %v", field, err))
		case ends <= got.now:
			delete(s.known, field)
		case ends-got.now > 2*MaxBrakeTime.Milliseconds():
			problem = cmp.Or(problem, fmt.Sprintf("%.40q: it lasts longer than a brake can", field))
		case !old && len(s.known) >= limit.MaxBrakes:
			problem = cmp.Or(problem, "there are more than can be")
		default:
			e.brake.Until = now.Add(left)
			s.known[field] = e
		}
	}
	return problem
}

// list forgets what is over, and is what is in force, by scope and name. s.mu is
// held.
func (s *brakes) list(now time.Time) []limit.Brake {
	var list []limit.Brake
	for field, e := range s.known {
		switch {
		case !e.brake.Until.After(now):
			delete(s.known, field)
		case !e.lifted:
			list = append(list, e.brake)
		}
	}
	slices.SortFunc(list, func(a, b limit.Brake) int {
		return cmp.Or(cmp.Compare(a.Scope, b.Scope), cmp.Compare(a.Name, b.Name))
	})
	return list
}

// parseEntry reads a field and its value, whoever wrote them: only what we write
// ourselves is taken.
func parseEntry(field, raw string) (entry, int64, error) {
	var none entry
	parts := strings.Split(raw, "\t")
	scope, name, ok := strings.Cut(field, ":")
	if !ok || len(parts) != 5 || parts[0] != "1" {
		return none, 0, errEntry
	}
	b := limit.Brake{Scope: scope, Name: name, By: parts[3], Why: parts[4]}
	ends, err := strconv.ParseInt(parts[2], 10, 64)
	if err != nil || ends <= 0 || strconv.FormatInt(ends, 10) != parts[2] {
		return none, 0, errEntry
	}
	if parts[1] != lifted {
		b.Rate, err = strconv.ParseFloat(parts[1], 64)
		if err != nil || strconv.FormatFloat(b.Rate, 'g', -1, 64) != parts[1] {
			return none, 0, errEntry
		}
	}
	if err := checkBrake(b); err != nil {
		return none, 0, err
	}
	return entry{raw: raw, brake: b, lifted: parts[1] == lifted}, ends, nil
}

// checkBrake says what is wrong with a brake, but for its end.
func checkBrake(b limit.Brake) error {
	switch {
	case b.Scope != limit.ScopeScript && b.Scope != limit.ScopeCaller:
		return errors.New("the scope has to be script or caller")
	case b.Name == "":
		return errors.New("it has no name")
	case !(b.Rate >= 0 && b.Rate <= maxBrakeRate), math.Signbit(b.Rate):
		return errors.New("the rate has to be from 0 to 1000000 a second")
	case !oneLine(b.Name), !oneLine(b.Why), !oneLine(b.By):
		return fmt.Errorf("name, reason and author have to be one line of UTF-8, up to %d bytes", MaxBrakeText)
	}
	return nil
}

func oneLine(s string) bool {
	return len(s) <= MaxBrakeText && utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}
