package proxy_test

import (
	"bufio"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"

	"stagedoor/proxy"
)

// words reads the constants of type Reason out of reason.go, in order, and
// those that answer has a case for.
func words(t *testing.T) (values []proxy.Reason, cases []string) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "reason.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ValueSpec:
			if id, ok := n.Type.(*ast.Ident); !ok || id.Name != "Reason" {
				return true
			}
			for _, v := range n.Values {
				lit, ok := v.(*ast.BasicLit)
				if !ok {
					t.Fatalf("%s is no plain word", n.Names[0])
				}
				word, _ := strconv.Unquote(lit.Value)
				values = append(values, proxy.Reason(word))
			}
		case *ast.FuncDecl:
			if n.Name.Name != "answer" {
				return false
			}
		case *ast.CaseClause:
			for _, e := range n.List {
				if id, ok := e.(*ast.Ident); ok {
					cases = append(cases, id.Name)
				}
			}
		}
		return true
	})
	return values, cases
}

func TestEveryReasonIsListedAndAnswered(t *testing.T) {
	values, cases := words(t)
	if !slices.Equal(values, proxy.Reasons()) {
		t.Errorf("declared %v, listed %v", values, proxy.Reasons())
	}
	if len(values) < 30 || len(cases) != len(values) {
		t.Errorf("%d reasons, %d cases of answer: %v", len(values), len(cases), cases)
	}
	seen := map[proxy.Reason]bool{}
	for _, r := range values {
		status, fault := proxy.AnswerOf(r)
		says := proxy.SaysOf(r)
		switch {
		case seen[r]:
			t.Errorf("%s is there twice", r)
		case status == 502 || status == 503 || status == 504:
			t.Errorf("%s: the client sends a call again on %d, or hides its text", r, status)
		case fault == 0 && (status < 400 || status >= 500), fault != 0 && status != 200 && status != 500:
			t.Errorf("%s: status %d with fault %d", r, status, fault)
		case fault == 102 && r != proxy.UserAuth && r != proxy.BadHandle:
			t.Errorf("%s would open a login window", r)
		case says == "" || strings.HasSuffix(says, ".") || says[0] < 'a' || says[0] > 'z':
			t.Errorf("%s says %q", r, says)
		}
		for _, c := range r {
			if c != '_' && (c < 'a' || c > 'z') {
				t.Errorf("%s is no label", r)
			}
		}
		seen[r] = true
	}
	if status, _ := proxy.AnswerOf("made up"); status != 500 {
		t.Errorf("an unknown reason answers %d", status)
	}
}

func targets() []string {
	return []string{
		"/api3/json", "/api3/json?", "/api3/json?a=b", "/api3/json/", "/api3%2fjson", "/api3/%6ason", "//api3/json",
		"/upload/upload_file", "/upload/x", "/file_serve/attachment/1", "/file_serve/attachment/1/..", "/files/a/../b", "/files/a%20b", "/files/a%2fb",
		"/images/a%25b", "/thumbnail/full/Shot/1", "/api/v1", "/api/v1/entity/Shot/1", "/api/v1/entity/Shot/1/../2", "/api/v1/entity/%53hot",
		"/api/v1/entity/shots.json", "/api/v2/entity/Shot", "/storage/a.b/host/x?y", "/internal_api/session", "/user/login",
		"/api3/json#x", `/api3\json`, "/./api3/json", "/x/../api3/json", "/API3/JSON", "*", "http://localhost/api3/json", "/api3/json;x",
	}
}

// FuzzRoute: a target that has a route is one path, read alike by whoever reads
// it, below one of the places that are served.
func FuzzRoute(f *testing.F) {
	for _, s := range targets() {
		f.Add("POST", s)
		f.Add("GET", s)
	}
	route := proxy.RouteOf()
	f.Fuzz(func(t *testing.T, verb, target string) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(verb + " " + target + " HTTP/1.1\r\nHost: localhost\r\n\r\n")))
		if err != nil || r.RequestURI != target || route(r) != "" {
			return
		}
		p, _, _ := strings.Cut(target, "?")
		if strings.HasPrefix(p, "/storage/") {
			return // sealed, and read by nobody but the host
		}
		if clean := path.Clean(r.URL.Path); clean != strings.TrimSuffix(r.URL.Path, "/") || strings.ContainsAny(r.URL.Path, "\\;#?\x00") {
			t.Fatalf("%q has a route and is read as %q", target, clean)
		}
		for _, place := range []string{"/api3/json", "/api3/track_metrics", "/api3/track_metrics/", "/upload/", "/file_serve/", "/thumbnail/", "/images/", "/files/", "/api/v1/", "/api/v1.1/", "/api/v1.x/", "/api/v1"} {
			if p == place || strings.HasSuffix(place, "/") && strings.HasPrefix(p, place) {
				return
			}
		}
		if p != "/api/v1.1" && p != "/api/v1.x" {
			t.Fatalf("%s %q has a route", verb, target)
		}
	})
}

func TestFuzzRouteHasSeeds(t *testing.T) {
	if len(targets()) < 10 {
		t.Error("the fuzz target has lost its seeds")
	}
	route := proxy.RouteOf()
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("POST /api3/json HTTP/1.1\r\nHost: localhost\r\n\r\n")))
	if err != nil || route(r) != "" {
		t.Error("the one route is not found: the fuzz target could not fail")
	}
}
