package flowsite

import (
	"time"
)

// The forms of dates on the wire (flow-protocol §8.5).
const (
	dateOnly = "2006-01-02"
	dateTime = "2006-01-02T15:04:05Z"
)

// spanOf makes the test of in_last, in_next and in_calendar_*. Weeks begin on
// Monday, and the site's day is the UTC day: neither is documented.
func (c *ctx) spanOf(f *field, rel string, values []any) (test, error) {
	var from, to time.Time
	var err error
	if rel == "in_last" || rel == "in_next" {
		from, to, err = c.around(rel, values)
	} else {
		from, to, err = c.calendar(rel, values)
	}
	if err != nil {
		return nil, err
	}
	form := dateTime
	if f.Type == "date" {
		form = dateOnly
	}
	low, high := from.Format(form), to.Format(form)
	exclusive := rel != "in_last" && rel != "in_next"
	return func(v any) bool {
		s, ok := v.(string)
		return ok && s >= low && (s < high || s == high && !exclusive)
	}, nil
}

// around is the time from now to now and n units, or back.
func (c *ctx) around(rel string, values []any) (from, to time.Time, err error) {
	wrong := bad("API %s() '%s' takes a number and HOUR, DAY, WEEK, MONTH or YEAR", c.method, rel)
	if len(values) != 2 {
		return from, to, wrong
	}
	n, ok := toInt(values[0])
	if !ok || n < 0 || n > 1_000_000 {
		return from, to, wrong
	}
	if rel == "in_last" {
		n = -n
	}
	var end time.Time
	switch values[1] {
	case "HOUR":
		end = c.now.Add(time.Duration(n) * time.Hour)
	case "DAY":
		end = c.now.AddDate(0, 0, n)
	case "WEEK":
		end = c.now.AddDate(0, 0, 7*n)
	case "MONTH":
		end = c.now.AddDate(0, n, 0)
	case "YEAR":
		end = c.now.AddDate(n, 0, 0)
	default:
		return from, to, wrong
	}
	if n < 0 {
		return end, c.now, nil
	}
	return c.now, end, nil
}

// calendar is the n-th day, week, month or year from the present one.
func (c *ctx) calendar(rel string, values []any) (from, to time.Time, err error) {
	wrong := bad("API %s() '%s' takes a number", c.method, rel)
	if len(values) != 1 {
		return from, to, wrong
	}
	n, ok := toInt(values[0])
	if !ok || n < -1_000_000 || n > 1_000_000 {
		return from, to, wrong
	}
	y, m, d := c.now.Date()
	switch rel {
	case "in_calendar_day":
		from = time.Date(y, m, d+n, 0, 0, 0, 0, time.UTC)
		return from, from.AddDate(0, 0, 1), nil
	case "in_calendar_week":
		monday := d - (int(c.now.Weekday())+6)%7
		from = time.Date(y, m, monday+7*n, 0, 0, 0, 0, time.UTC)
		return from, from.AddDate(0, 0, 7), nil
	case "in_calendar_month":
		from = time.Date(y, m+time.Month(n), 1, 0, 0, 0, 0, time.UTC)
		return from, from.AddDate(0, 1, 0), nil
	default:
		from = time.Date(y+n, 1, 1, 0, 0, 0, 0, time.UTC)
		return from, from.AddDate(1, 0, 0), nil
	}
}
