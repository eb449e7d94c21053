package limit

import "time"

// Latency is what the site takes now and what is usual, as the averages that it
// is judged by; 0 where too few answers are known.
func (h *Health) Latency() (now, usual time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.n < healthKnown {
		return 0, 0
	}
	return seconds(h.fast), seconds(h.slow)
}

// Len is how many callers have a budget of their own.
func (c *Callers) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.byKey)
}
