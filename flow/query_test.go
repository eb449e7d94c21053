package flow_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"stagedoor/flow"
)

func TestQueriesAreReadInOrder(t *testing.T) {
	for raw, want := range map[string][]flow.Pair{
		"":    nil,
		"a=":  {{Name: "a"}},
		"b=1": {{Name: "b", Value: "1"}},
		"filter[entity.Shot.code]=a,b&page[size]=5&sort=-id":     {{Name: "filter[entity.Shot.code]", Value: "a,b"}, {Name: "page[size]", Value: "5"}, {Name: "sort", Value: "-id"}},
		"filter%5Bcode%5d=%C3%A9+x%26y&fields=*&x==a=b&_=(')!~/": {{Name: "filter[code]", Value: "é x&y"}, {Name: "fields", Value: "*"}, {Name: "x", Value: "=a=b"}, {Name: "_", Value: "(')!~/"}},
	} {
		got, err := flow.ReadQuery(raw)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %q, %v", raw, got, err)
		}
		again, err := flow.ReadQuery(string(flow.AppendQuery(nil, got)))
		if err != nil || !reflect.DeepEqual(again, want) {
			t.Errorf("%s: written again as %q", raw, again)
		}
	}
}

func TestQueriesThatCanBeReadInTwoWays(t *testing.T) {
	for _, raw := range []string{
		"a", "a&b=1", "=1", "&", "a=1&", "&a=1", "a=1&&b=2", "a=1;b=2", "a=1&a=2", "a=1&%61=2", "a=%", "a=%4", "a=%4g", "a=%u0041", "a= ", "a=\t", "a=%0a", "a=%7f", "a%0d=1", "a=%00",
		"a=\xff", "a=é", "a=%ff", "a=%c0%80", "a=%ed%a0%80", "a=1#b", "?", strings.Repeat("a", flow.MaxQuery) + "=1", manyFields(flow.MaxPairs + 1),
	} {
		_, err := flow.ReadQuery(raw)
		var p *flow.ParseError
		if !errors.As(err, &p) || p.Flaw == "" {
			t.Errorf("%.40q: %v", raw, err)
		}
	}
}
