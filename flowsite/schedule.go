package flowsite

import (
	"time"
)

// dayKey is a day of a project's, a person's or (both 0) the studio's work
// schedule.
type dayKey struct {
	date          string
	project, user int
}

type day struct {
	working     bool
	description any
}

// maxSchedule bounds how many days one call reads.
const maxSchedule = 3660

func (c *ctx) workScheduleRead(a args) (any, error) {
	if err := c.mayMethod(); err != nil {
		return nil, err
	}
	from, err := c.dateOf(a, "start_date")
	if err != nil {
		return nil, err
	}
	to, err := c.dateOf(a, "end_date")
	if err != nil {
		return nil, err
	}
	if to.Before(from) || to.Sub(from) > maxSchedule*24*time.Hour {
		return nil, bad("API %s() the range of dates is empty or too long", c.method)
	}
	project, user, err := c.scheduleOf(a)
	if err != nil {
		return nil, err
	}
	out := map[string]any{}
	for d := from; !d.After(to); d = d.AddDate(0, 0, 1) {
		out[d.Format(dateOnly)] = c.rule(d, project, user)
	}
	return out, nil
}

// rule is the nearest exception, or else the studio's week.
func (c *ctx) rule(d time.Time, project, user int) map[string]any {
	date := d.Format(dateOnly)
	show := func(r day, why string) map[string]any {
		return map[string]any{"working": r.working, "description": r.description, "reason": why}
	}
	if r, ok := c.state.days[dayKey{date, 0, user}]; ok && user != 0 {
		return show(r, "USER_EXCEPTION")
	}
	if r, ok := c.state.days[dayKey{date, project, 0}]; ok && project != 0 {
		return show(r, "PROJECT_EXCEPTION")
	}
	if r, ok := c.state.days[dayKey{date, 0, 0}]; ok {
		return show(r, "STUDIO_EXCEPTION")
	}
	weekend := d.Weekday() == time.Saturday || d.Weekday() == time.Sunday
	return show(day{working: !weekend}, "STUDIO_WORK_WEEK")
}

func (c *ctx) workScheduleUpdate(a args) (any, error) {
	if err := c.mayMethod(); err != nil {
		return nil, err
	}
	d, err := c.dateOf(a, "date")
	if err != nil {
		return nil, err
	}
	project, user, err := c.scheduleOf(a)
	if err != nil {
		return nil, err
	}
	working, ok := a["working"].(bool)
	if !ok {
		return nil, bad("API %s() working is no boolean", c.method)
	}
	if a["description"] != nil {
		if _, err := c.text(a, "description"); err != nil {
			return nil, err
		}
	}
	switch a["recalculate_field"] {
	case nil, "due_date", "duration":
	default:
		return nil, bad("API %s() recalculate_field must be 'due_date' or 'duration'", c.method)
	}
	date := d.Format(dateOnly)
	c.state.days[dayKey{date, project, user}] = day{working, a["description"]}
	return map[string]any{
		"date": date, "working": working, "description": a["description"], "project": a["project"], "user": a["user"],
	}, nil
}

func (c *ctx) dateOf(a args, name string) (time.Time, error) {
	s, err := c.text(a, name)
	if err != nil {
		return time.Time{}, err
	}
	d, err := time.Parse(dateOnly, s)
	if err != nil {
		return time.Time{}, bad("API %s() %s is not a date", c.method, name)
	}
	return d, nil
}

func (c *ctx) scheduleOf(a args) (project, user int, err error) {
	for name, to := range map[string]*int{"project": &project, "user": &user} {
		if a[name] == nil {
			continue
		}
		e, err := c.row(a, name)
		if err != nil {
			return 0, 0, err
		}
		*to = e.id
	}
	if project != 0 && user != 0 {
		return 0, 0, bad("API %s() takes a project or a user, not both", c.method)
	}
	return project, user, nil
}
