package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/checker"

	"stagedoor/flow"
)

const (
	// MaxCondition is the length of a condition in characters; more belongs into
	// several rules.
	MaxCondition = 1024
	// MaxConditionCost bounds what one evaluation may cost, in CEL's own units of
	// about one step each: a few milliseconds at worst, and microseconds for most.
	// It is estimated at load for the largest call, and counted again when it runs.
	MaxConditionCost = 50_000
	// maxSpent bounds what one condition may cost for all parts of a batch: the
	// largest one has room for a plain comparison in each.
	maxSpent = 500_000
	// maxFacts and maxFact bound what a condition may look at: the length of a list,
	// and of a word in it. A condition that looks at more can't be evaluated.
	maxFacts = 256
	maxFact  = 2*flow.MaxName + 1
	// maxNesting bounds the parser.
	maxNesting = 32
)

// Condition is a condition in CEL over a call, compiled. It is immutable and may
// be used by any number of goroutines.
//
// In a batch it is asked for each part: call.kind, call.parts, call.script_name
// and call.sudo_as_login are the batch's, all others the part's.
type Condition struct {
	text    string
	program cel.Program
	vars    []variable
}

// variable is what a condition can look at.
type variable struct {
	name string
	kind *cel.Type
	of   func(*facts) any
}

// variables lists them, in the order of the documentation.
func variables() []variable {
	list := cel.ListType(cel.StringType)
	return []variable{
		{"call.method", cel.StringType, func(f *facts) any { return f.part.Method }},
		{"call.group", cel.StringType, func(f *facts) any { return string(f.part.Group) }},
		{"call.kind", cel.StringType, func(f *facts) any { return string(f.whole.Kind) }},
		{"call.type", cel.StringType, func(f *facts) any { return f.part.Type }},
		{"call.writes", cel.BoolType, func(f *facts) any { return f.part.Writes }},
		{"call.types", list, func(f *facts) any { return f.part.Types() }},
		{"call.fields", list, func(f *facts) any { return f.fields() }},
		{"call.written", list, func(f *facts) any { return f.fields(flow.UseWrite, flow.UseUpload) }},
		{"call.filtered", list, func(f *facts) any { return f.fields(flow.UseFilter) }},
		{"call.projects", cel.ListType(cel.IntType), func(f *facts) any { return f.part.Projects }},
		{"call.page_size", cel.IntType, func(f *facts) any { return rows(f.part) }},
		{"call.parts", cel.IntType, func(f *facts) any { return max(1, len(f.whole.Parts)) }},
		{"call.hops", cel.IntType, func(f *facts) any { return f.part.Hops }},
		{"call.sudo_as_login", cel.StringType, func(f *facts) any { return f.whole.SudoAsLogin }},
		{"call.script_name", cel.StringType, func(f *facts) any { return f.whole.ScriptName }},
		{"script", cel.StringType, func(f *facts) any { return f.script }},
	}
}

// Variables lists what a condition can look at, for messages.
func Variables() []string {
	var out []string
	for _, v := range variables() {
		out = append(out, v.name)
	}
	return out
}

// NewCondition compiles a condition. An error says what is wrong with it and
// where, in one line.
func NewCondition(text string) (*Condition, error) {
	switch n := len([]rune(text)); {
	case strings.TrimSpace(text) == "":
		return nil, errors.New("the condition is empty")
	case n > MaxCondition:
		return nil, fmt.Errorf("the condition has %d characters, %d are the most", n, MaxCondition)
	}
	options := []cel.EnvOption{
		cel.ParserRecursionLimit(maxNesting),
		cel.ParserExpressionSizeLimit(MaxCondition),
		cel.EagerlyValidateDeclarations(true),
	}
	vars := variables()
	for _, v := range vars {
		options = append(options, cel.Variable(v.name, v.kind))
	}
	env, err := cel.NewEnv(options...)
	if err != nil {
		return nil, fmt.Errorf("making ready for conditions: %w", err)
	}
	ast, issues := env.Compile(text)
	if issues.Err() != nil {
		return nil, wrong(text, issues)
	}
	if !ast.OutputType().IsExactType(cel.BoolType) {
		return nil, fmt.Errorf("the condition gives a %s; it has to be true or false", ast.OutputType())
	}
	cost, err := env.EstimateCost(ast, sizes{})
	if err != nil {
		return nil, fmt.Errorf("estimating the cost of a condition: %w", err)
	}
	if cost.Max > MaxConditionCost {
		return nil, fmt.Errorf("the condition may cost %d steps for a large call, %d are the most: look at fewer lists, or not at one inside another", cost.Max, MaxConditionCost)
	}
	program, err := env.Program(ast, cel.CostLimit(MaxConditionCost), cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil, fmt.Errorf("compiling a condition: %w", err)
	}
	return &Condition{text: text, program: program, vars: vars}, nil
}

// String is the condition as it was written.
func (c *Condition) String() string { return c.text }

// wrong says in one line what is wrong with a condition.
func wrong(text string, issues *cel.Issues) error {
	e := issues.Errors()[0]
	msg, _, _ := strings.Cut(e.Message, " expecting {")
	msg, _, _ = strings.Cut(msg, " (in container")
	if strings.HasPrefix(msg, "undeclared reference to ") && !strings.Contains(msg, "'_") {
		name := strings.Trim(strings.TrimPrefix(msg, "undeclared reference to "), "'")
		if name == "call" {
			name = word(text, e.Location.Line(), e.Location.Column())
		}
		if isFunction(text, name) {
			return fmt.Errorf("character %d: there is no function %s", e.Location.Column()+1, name)
		}
		return fmt.Errorf("character %d: there is no %s; a condition knows %s", e.Location.Column()+1, name, strings.Join(Variables(), ", "))
	}
	hint := ""
	if strings.Contains(msg, "token recognition error at: '= '") || strings.Contains(msg, "token recognition error at: '=") {
		hint = "; equal is =="
	}
	return fmt.Errorf("character %d: %s%s", e.Location.Column()+1, strings.ReplaceAll(msg, "\n", " "), hint)
}

func isFunction(text, name string) bool { return strings.Contains(text, name+"(") }

// word is the dotted name that begins at a place of a text.
func word(text string, line, column int) string {
	lines := strings.Split(text, "\n")
	if line < 1 || line > len(lines) {
		return "call"
	}
	r := []rune(lines[line-1])
	if column < 0 || column >= len(r) {
		return "call"
	}
	rest := string(r[column:])
	if n := strings.IndexFunc(rest, func(r rune) bool { return r != '.' && r != '_' && (r < 'a' || r > 'z') }); n >= 0 {
		rest = rest[:n]
	}
	return rest
}

// sizes tells CEL how large the facts of a call can be.
type sizes struct{}

// EstimateSize is the size of a variable, or of an item of a list in one.
func (sizes) EstimateSize(n checker.AstNode) *checker.SizeEstimate {
	path := n.Path()
	if len(path) == 0 {
		return nil
	}
	most := uint64(maxFact)
	if n.Type().Kind() == cel.ListKind {
		most = maxFacts
	}
	return &checker.SizeEstimate{Max: most}
}

// EstimateCallCost leaves the costs of functions as CEL has them.
func (sizes) EstimateCallCost(string, string, *checker.AstNode, []checker.AstNode) *checker.CallEstimate {
	return nil
}

// facts is what a condition sees of a call. CEL asks for what it needs, by name.
type facts struct {
	whole, part *flow.Call
	script      string
	vars        []variable
}

// Parent is none.
func (*facts) Parent() cel.Activation { return nil }

// ResolveName gives a variable; one that is too large can't be looked at.
func (f *facts) ResolveName(name string) (any, bool) {
	i := slices.IndexFunc(f.vars, func(v variable) bool { return v.name == name })
	if i < 0 {
		return nil, false
	}
	switch v := f.vars[i].of(f).(type) {
	case string:
		return v, len(v) <= maxFact
	case []string:
		return v, len(v) <= maxFacts && !slices.ContainsFunc(v, func(s string) bool { return len(s) > maxFact })
	case []int64:
		return v, len(v) <= maxFacts
	default:
		return v, true
	}
}

// fields names the fields that a call reaches in one of the uses, or in any.
func (f *facts) fields(uses ...flow.Use) []string {
	out := []string{}
	for i := range f.part.Touches {
		t := &f.part.Touches[i]
		if t.Field == "" || len(uses) > 0 && !slices.Contains(uses, t.Use) {
			continue
		}
		if name := t.Type + "." + t.Field; len(out) <= maxFacts && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// holds evaluates the condition for a part of a call. ok is false where it can't
// be told: a fact is too large, it costs too much, or CEL has no answer. spent
// is what earlier parts have cost.
func (c *Condition) holds(whole, part *flow.Call, script string, spent *uint32) (holds, ok bool) {
	if c.program == nil || *spent > maxSpent {
		return false, false
	}
	out, details, err := c.program.Eval(&facts{whole, part, script, c.vars})
	if details != nil {
		if cost := details.ActualCost(); cost != nil {
			*spent += uint32(min(*cost, MaxConditionCost))
		}
	}
	if err != nil {
		return false, false
	}
	holds, ok = out.Value().(bool)
	return holds, ok
}
