package policy

import "stagedoor/flow"

// Condition is a condition in CEL over a call, compiled. It is immutable.
type Condition struct {
	text string
}

// NewCondition compiles a condition.
func NewCondition(text string) (*Condition, error) { return &Condition{text: text}, nil }

// String is the condition as it was written.
func (c *Condition) String() string { return c.text }

func (c *Condition) holds(_, _ *flow.Call, _ string, _ *uint32) (holds, ok bool) { return false, false }
