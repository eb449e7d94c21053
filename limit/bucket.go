package limit

import "time"

// grain is what may lack of a token, and what floats lose of one: 1/1000000. It
// is taken all the same, so that nothing of it adds up.
const grain = 1e-6

// bucket counts tokens. It is not x/time/rate's: that one can't take back the
// tokens of a call whose time has come, nor take more than a burst, and here
// only one caller at a time ever waits for it. The zero rate is unlimited: the
// bucket is full. It is not safe for concurrent use.
type bucket struct {
	rate   float64 // tokens per second
	burst  int
	tokens float64 // at the time at, or more than fit; negative is debt
	at     time.Time
}

// level is how many tokens there are at t.
func (b *bucket) level(t time.Time) float64 {
	full := float64(b.burst)
	if b.rate == 0 {
		return full
	}
	// Clocks of different cores may differ by a little: time never runs back.
	passed := max(t.Sub(b.at), 0)
	return min(full, b.tokens+passed.Seconds()*b.rate)
}

// advance brings the bucket to t.
func (b *bucket) advance(t time.Time) {
	b.tokens = b.level(t)
	if t.After(b.at) {
		b.at = t
	}
}

// add gives n tokens at t, of which a full bucket spills some; it takes them if
// n is negative, whether they are there or not.
func (b *bucket) add(t time.Time, n int) {
	if b.rate == 0 {
		return
	}
	b.advance(t)
	b.tokens += float64(n)
}

// due is when there will be n tokens, t if there are. n is at most the burst.
func (b *bucket) due(t time.Time, n int) time.Time {
	lack := float64(n) - b.level(t)
	if lack <= grain {
		return t
	}
	return t.Add(seconds(lack / b.rate))
}

// set changes rate and burst. What is spent stays spent: a wider bucket has to
// fill first, a narrower one spills. One that wasn't limited starts full.
func (b *bucket) set(t time.Time, rate float64, burst int) {
	b.advance(t)
	if b.rate == 0 {
		b.tokens = float64(burst)
	}
	b.rate, b.burst = rate, burst
}
