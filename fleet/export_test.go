package fleet

import "stagedoor/limit"

// ParseEntry reads a brake as it stands in Redis.
func ParseEntry(field, raw string) (b limit.Brake, lifted bool, ends int64, err error) {
	e, ends, err := parseEntry(field, raw)
	return e.brake, e.lifted, ends, err
}

// Known is how many budgets a fleet knows.
func (f *Fleet) Known() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.budgets)
}
