package vault

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/vault/api"

	"stagedoor/secret"
)

// maxNames bounds how many field names an error lists.
const maxNames = 20

// reading is what one look at a script's secret brought.
type reading struct {
	key      secret.Value
	siteName string // "" where the secret has none
	version  string
	created  time.Time
	older    []secret.Value // keys of earlier versions, newest first
}

// read asks Vault for one script's key.
func (s *Store) read(ctx context.Context, sess *session, version int, sc *Script) (*reading, *fault) {
	ctx, cancel := context.WithTimeout(ctx, s.opt.Timeout)
	defer cancel()
	path := s.opt.Mount + "/" + sc.Path
	if version == 2 {
		path = s.opt.Mount + "/data/" + sc.Path
	}
	resp, err := sess.client.Logical().ReadRawWithContext(ctx, path)
	if resp != nil {
		defer func() { _ = resp.Body.Close() }()
	}
	switch {
	case status(err) == http.StatusNotFound:
		return nil, s.notFound(sc, resp, err)
	case refusal(err) == http.StatusForbidden:
		return nil, faultf(denied, "Vault refuses to let this login read %s; give it a policy with: path %q { capabilities = [\"read\"] }", path, path)
	}
	if err != nil {
		return nil, s.outage(err)
	}
	sec, err := api.ParseSecret(resp.Body)
	if err != nil {
		return nil, s.outage(err)
	}
	if sec == nil || sec.Data == nil {
		return nil, s.outage(errors.New("no secret in the answer"))
	}
	if version == 2 {
		return s.readingV2(sc, sec.Data)
	}
	return s.reading(sc, sec.Data)
}

// older reads the keys that a script had before, of the versions that Vault
// still keeps: they only serve to recognise a tool that carries one, so what
// can't be read is left out.
func (s *Store) older(ctx context.Context, sess *session, sc *Script, newest string) (keys []secret.Value) {
	ctx, cancel := context.WithTimeout(ctx, s.opt.Timeout)
	defer cancel()
	n, err := strconv.Atoi(newest)
	for v := n - 1; err == nil && v >= max(1, n-secret.MaxOld); v-- {
		sec, rerr := sess.client.Logical().ReadWithDataWithContext(ctx, s.opt.Mount+"/data/"+sc.Path, url.Values{"version": {strconv.Itoa(v)}})
		if rerr != nil || sec == nil {
			continue
		}
		if fields, ok := sec.Data["data"].(map[string]any); ok {
			if r, f := s.reading(sc, fields); f == nil {
				keys = append(keys, r.key)
			}
		}
	}
	return keys
}

// notFound tells Vault's own 404s, which mean that the key is gone, from those
// of anything else on the way, which mean nothing.
func (s *Store) notFound(sc *Script, resp *api.Response, err error) *fault {
	re, ok := errors.AsType[*api.ResponseError](err)
	if !ok || resp == nil || re.RawError {
		return s.outage(err)
	}
	body, rerr := io.ReadAll(io.LimitReader(resp.Body, maxAnswer)) //nolint:forbidigo // bounded here and in wire
	if rerr != nil {
		return s.outage(rerr)
	}
	sec, perr := api.ParseSecret(bytes.NewReader(body))
	if perr == nil && sec != nil {
		if meta, ok := sec.Data["metadata"].(map[string]any); ok {
			return s.deleted(sc, meta)
		}
		if len(sec.Warnings) > 0 {
			return faultf(gone, "nothing is at %s for this kind of engine; leave vault.kv_version out to have it found", s.where(sc))
		}
	}
	if re.Errors == nil {
		return s.outage(err)
	}
	return faultf(gone, "nothing is at %s in Vault; write the key with: %s", s.where(sc), s.put(sc))
}

// deleted is the fault for a version that Vault keeps no data of.
func (s *Store) deleted(sc *Script, meta map[string]any) *fault {
	v := version(meta)
	if meta["destroyed"] == true {
		return faultf(gone, "version %s of %s in Vault is destroyed; write the key again with: %s", v, s.where(sc), s.put(sc))
	}
	return faultf(gone, "version %s of %s in Vault is deleted; bring it back with: vault kv undelete -mount=%s -versions=%s %s",
		v, s.where(sc), s.opt.Mount, v, sc.Path)
}

// readingV2 takes a KV v2 answer apart.
func (s *Store) readingV2(sc *Script, data map[string]any) (*reading, *fault) {
	meta, ok := data["metadata"].(map[string]any)
	if !ok {
		return nil, s.outage(errors.New("no metadata in the answer"))
	}
	fields, ok := data["data"].(map[string]any)
	if !ok {
		return nil, s.deleted(sc, meta)
	}
	r, f := s.reading(sc, fields)
	if f != nil {
		return nil, f
	}
	r.version = version(meta)
	if at, ok := meta["created_time"].(string); ok {
		// Without a time that can be read, it is unknown: nothing depends on it.
		r.created, _ = time.Parse(time.RFC3339Nano, at)
	}
	return r, nil
}

func version(meta map[string]any) string {
	n, ok := meta["version"].(json.Number)
	if !ok {
		return ""
	}
	return n.String()
}

// reading takes the key and the name out of the fields of a secret.
func (s *Store) reading(sc *Script, fields map[string]any) (*reading, *fault) {
	key, f := s.field(sc, fields, sc.KeyField)
	if f != nil {
		return nil, f
	}
	switch {
	case key == nil && sc.own != notOwn:
		return nil, faultf(unusable, "the secret at %s has no field %q, only %s; write it with: %s", s.where(sc), sc.KeyField, names(fields), s.write(sc, fields))
	case key == nil:
		return nil, faultf(unusable, "the secret at %s has no field %q, only %s; set key_field, or write it with: %s",
			s.where(sc), sc.KeyField, names(fields), s.write(sc, fields))
	case sc.own == ownHandles && len(*key) < MinHandleKey:
		return nil, faultf(unusable, "the field %q of %s is shorter than %d characters, so that it might be guessed; write another with: %s",
			sc.KeyField, s.where(sc), MinHandleKey, s.write(sc, fields))
	case sc.own == notOwn && len(*key) < secret.MinLen:
		return nil, faultf(unusable, "the field %q of %s is shorter than %d characters, so that it can't be told from other data in answers; set a longer key on the site",
			sc.KeyField, s.where(sc), secret.MinLen)
	}
	r := &reading{key: secret.FromString(*key)}
	if sc.NameField == "" {
		return r, nil
	}
	name, f := s.field(sc, fields, sc.NameField)
	if f != nil {
		return nil, f
	}
	if name != nil {
		r.siteName = *name
	}
	return r, nil
}

// field is one field's text, nil where there is none.
func (s *Store) field(sc *Script, fields map[string]any, name string) (*string, *fault) {
	v, ok := fields[name]
	if !ok {
		return nil, nil
	}
	t, ok := v.(string)
	switch {
	case !ok:
		return nil, faultf(unusable, "the field %q of %s is no text; write it as one with: %s", name, s.where(sc), s.write(sc, fields))
	case t == "":
		return nil, faultf(unusable, "the field %q of %s is empty; write it with: %s", name, s.where(sc), s.write(sc, fields))
	case strings.TrimFunc(t, stray) != t:
		return nil, faultf(unusable, "the field %q of %s begins or ends with white space; write it without, and end the input with Ctrl-D twice in place of Enter: %s",
			name, s.where(sc), s.write(sc, fields))
	case !utf8.ValidString(t) || strings.ContainsFunc(t, unicode.IsControl):
		// It could not be sent as it is, nor be told apart in answers and logs.
		return nil, faultf(unusable, "the field %q of %s holds a control character or is not UTF-8; write it with: %s", name, s.where(sc), s.write(sc, fields))
	}
	return &t, nil
}

// stray is what comes along when a key is pasted.
func stray(r rune) bool {
	return unicode.IsSpace(r) || unicode.IsControl(r) || r == '\ufeff' || r == '\u200b'
}

// names lists the fields of a secret: their names, never what is in them.
func names(fields map[string]any) string {
	if len(fields) == 0 {
		return "an empty secret"
	}
	var all []string
	for name := range fields {
		all = append(all, fmt.Sprintf("%.60q", name))
	}
	slices.Sort(all)
	if len(all) > maxNames {
		all = append(all[:maxNames], "more")
	}
	return strings.Join(all, ", ")
}

func (s *Store) where(sc *Script) string { return s.opt.Mount + "/" + sc.Path }

// put is the command that writes the key, which is typed and not shown.
func (s *Store) put(sc *Script) string {
	if sc.own == ownHandles { // it need not be typed
		return fmt.Sprintf("%s | vault kv put -mount=%s %s %s=-", drawKey, s.opt.Mount, sc.Path, sc.KeyField)
	}
	return fmt.Sprintf("vault kv put -mount=%s %s %s=-", s.opt.Mount, sc.Path, sc.KeyField)
}

// drawKey is the command that draws a key of handles.
const drawKey = `openssl rand -base64 32 | tr -d '\n'`

// write is put for a secret that is there: where others share it with the key of
// handles, they stay.
func (s *Store) write(sc *Script, fields map[string]any) string {
	if _, has := fields[sc.KeyField]; sc.own != ownHandles || len(fields) == 0 || has && len(fields) == 1 {
		return s.put(sc)
	}
	return fmt.Sprintf("%s | vault kv patch -mount=%s %s %s=-", drawKey, s.opt.Mount, sc.Path, sc.KeyField)
}

// ask finds out the version of the KV engine. Any token that may read something
// below the mount may know.
func (s *Store) ask(ctx context.Context, sess *session) (int, *fault) {
	ctx, cancel := context.WithTimeout(ctx, s.opt.Timeout)
	defer cancel()
	sec, err := sess.client.Logical().ReadWithContext(ctx, "sys/internal/ui/mounts/"+s.opt.Mount)
	if refusal(err) == http.StatusForbidden {
		return 0, faultf(denied, "Vault has no mount %s, or this login may read nothing below it; check vault.mount and the policy of the login", s.opt.Mount)
	}
	if err != nil {
		return 0, s.outage(err)
	}
	if sec == nil || sec.Data == nil {
		return 0, s.outage(errors.New("no mount in the answer"))
	}
	if kind, ok := sec.Data["type"].(string); !ok || kind != "kv" && kind != "generic" {
		return 0, faultf(unusable, "the mount %s in Vault is no KV engine; set vault.mount to one", s.opt.Mount)
	}
	if options, ok := sec.Data["options"].(map[string]any); ok && options["version"] == "2" {
		return 2, nil
	}
	return 1, nil
}
