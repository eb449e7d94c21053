package flow_test

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"

	"stagedoor/flow"
	"stagedoor/internal/parts"
)

// pythonReads reads calls as a program in Python does, which a site or a proxy
// before it may be: the one that came in, and the one that is sent.
const pythonReads = `
import base64, json, sys

def types(v):
    if isinstance(v, dict):
        for k, x in v.items():
            if k == "type" and isinstance(x, str):
                yield x
            yield from types(x)
    elif isinstance(v, list):
        for x in v:
            yield from types(x)

answers = []
for pair in json.load(sys.stdin):
    came, sent = (json.loads(base64.b64decode(pair[k])) for k in ("came", "sent"))
    auth, arg = sent["params"]
    answers.append({
        "method": sent["method_name"], "members": sorted(sent), "auth": sorted(auth), "key": auth.get("script_key"),
        "type": arg.get("type", "") if isinstance(arg, dict) else "",
        "parts": [[p["request_type"], p["type"]] for p in arg] if isinstance(arg, list) else [],
        "types": sorted(set(types(arg))),
        "same": came["method_name"] == sent["method_name"] and came["params"][-1] == arg,
    })
json.dump(answers, sys.stdout)
`

type pythonCall struct {
	Method, Key, Type    string
	Members, Auth, Types []string
	Parts                [][2]string
	Same                 bool
}

// nastyValues is JSON, or nearly, that readers are known to take differently.
func nastyValues() []string {
	return []string{
		`"\ud83d\ude00"`, `"\uD83D\uDE00"`, `"\ud83d"`, `"\ude00\ud83d"`, `"\ud83dx"`, `"\u0000"`, `"\u007f"`, "\"\x7f\"", "\"\u2028\u2029\"", `"\u2028"`,
		"\"\xff\"", "\"\xc0\xaf\"", "\"\xed\xa0\x80\"", "\"\t\"", "\"\n\"", `"\/"`, `"\v"`, `"\x41"`, `"\'"`, `"\u12"`, `"\U0041"`, `"\\u0041"`, `"\\\\"`, `"\\\""`, `'a'`, `"a" "b"`,
		`0`, `-0`, `-0.0`, `1e400`, `-1e400`, `2e-999`, `1E5`, `1e+5`, `18446744073709551616`, `0.1000000000000000055511151231257827`, `01`, `-`, `+1`, `.5`, `1.`, `0x10`, `1_000`, `1e`, "\u0661",
		`NaN`, `Infinity`, `-Infinity`, `nan`, `None`, `True`, `true`, `null`, `undefined`, `nul`,
		`[]`, `[,]`, `[1,]`, `[1 2]`, `{}`, `{"a":1,}`, `{"a":1,"a":2}`, `{"a":1,"\u0061":2}`, `{"a":{"b":1,"b":2}}`, `{a:1}`, `{"a" 1}`, `{1:2}`, `{"":""}`, `{"\ud800":1,"\ud801":2}`,
		`{"type":"Shot","id":1}`, `{"typ\u0065":"Shot","id":1}`, `{"type":"Sh\u006ft","id":1}`, `{"type":"Asset","Type":"ApiUser","id":1}`, `{"type":["ApiUser"],"id":1}`, `{"type":"Asset","id":1,"typ\u0065":"ApiUser"}`,
		`{"x":{"type":"Task","id":2}}`, `[[[{"type":"Task"}]]]`, `/*x*/1`, "1//x\n", "#\n1", "\f1", "\v1", "\u00a01", "\ufeff1", " \t\r\n1 \t\r\n", `"</script><!--&amp;"`, `"` + strings.Repeat(`\\`, 50) + `"`,
	}
}

// nastyBodies puts each of them where a value may stand, and plays with the rest.
func nastyBodies() []string {
	var out []string
	for _, v := range nastyValues() {
		out = append(out, call("create", `{"type":"Version","fields":[{"field_name":"sg_x","value":`+v+`}]}`))
	}
	read := call("read", `{"type":"Shot","return_fields":["code"]}`)
	return append(out,
		call(`re\u0061d`, `{"t\u0079pe":"Sh\u006Ft","r\u0065turn_fields":["c\u006fde"]}`),
		call("batch", `[{"request_typ\u0065":"d\u0065lete","type":"Shot","id":1},{"id":2,"type":"Ass\u0065t","request_type":"delete"}]`),
		call("batch", `[{"request_type":"update","type":"Shot","id":1,"fields":[]},{"request_type":"update","request_typ\u0065":"delete","type":"Shot","id":1}]`),
		call("batch", `[ {"request_type":"update" , "fields":[{"field_name":"a","value":"}],{\"request_type\":\"delete\"}"}],"type":"A","id":1} , {"type":"B","request_type":"delete","id":1}]`),
		call("read", `{"type":"Shot","type":"ApiUser"}`), call("read", `{"type":"Shot","typ\u0065":"ApiUser"}`), call("read", `{"type":"Shot","return_fields":["code"],"Type":"ApiUser"}`),
		`{"method_name":"read","params":[{"script_n\u0061me":"a","product":"x\",\"sudo_as_login\":\"root"},{"type":"Shot"}]}`,
		`{"method_name":"read","params":[{"script_name":"a","session_token":"x","user":{"a":[]}},{"type":"Shot"}]}`,
		`{"method_name":"read","method_nam\u0065":"delete","params":[{},{"type":"Shot"}]}`, `{"params":[{},{"type":"Shot"}],"method_name":"read"}`,
		read+" \n", read+"\x00", read+read, read+"x", "\ufeff"+read, " "+read, "\x00"+read, strings.TrimSuffix(read, "}"), "["+read+"]", read+",",
	)
}

// TestPythonReadsWhatWasDecided: of everything that is let through, the json of
// Python reads the method, the types and the parts that the rules were asked
// about, our credentials and no others, and the argument that came in.
func TestPythonReadsWhatWasDecided(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		parts.Missing(t, "python3", err)
	}
	type pair struct {
		Came []byte `json:"came"`
		Sent []byte `json:"sent"`
	}
	var pairs []pair
	var decided []*flow.Call
	refused := 0
	for _, body := range nastyBodies() {
		m, err := flow.ParseRPC([]byte(body), nil, flow.DefaultMaxDepth)
		if err != nil {
			refused++
			continue
		}
		pairs, decided = append(pairs, pair{[]byte(body), m.Body(cred())}), append(decided, &m.Call)
	}
	if len(pairs) < 40 || refused < 40 {
		t.Errorf("%d read and %d refused: these were meant to be of both kinds", len(pairs), refused)
	}
	in, err := json.Marshal(pairs)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), python, "-I", "-c", pythonReads)
	cmd.Stdin = bytes.NewReader(in)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.Bytes())
	}
	var answers []pythonCall
	if err := json.Unmarshal(out, &answers); err != nil || len(answers) != len(pairs) {
		t.Fatalf("%d answers, %v", len(answers), err)
	}
	for i, got := range answers {
		pythonAgrees(t, decided[i], got, pairs[i].Sent)
	}
}

func pythonAgrees(t *testing.T, c *flow.Call, got pythonCall, sent []byte) {
	t.Helper()
	if got.Method != c.Method || got.Type != c.Type || !got.Same || got.Key != realKey || !slices.Equal(got.Members, []string{"method_name", "params"}) {
		t.Errorf("Python reads %+v in %s", got, sent)
	}
	for _, k := range got.Auth {
		if !slices.Contains([]string{"script_name", "script_key", "product", "session_uuid"}, k) {
			t.Errorf("%s goes out in %s", k, sent)
		}
	}
	for _, typ := range got.Types {
		if flow.IsTypeName(typ) && !slices.Contains(c.Types(), typ) {
			t.Errorf("Python reads the type %s in %s", typ, sent)
		}
	}
	var want [][2]string
	for i := range c.Parts {
		want = append(want, [2]string{c.Parts[i].Method, c.Parts[i].Type})
	}
	if len(want) != len(got.Parts) || len(want) > 0 && !reflect.DeepEqual(got.Parts, want) {
		t.Errorf("Python reads the parts %v in %s", got.Parts, sent)
	}
}
