package cli

import (
	"bytes"
	"errors"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kballard/go-shellquote"
)

// curlRequest makes the request that a curl line would send. Files of forms are
// not opened: what is in them decides nothing.
func curlRequest(line string, words []string) (*rawRequest, error) {
	if len(words) == 0 {
		var err error
		if words, err = shellquote.Split(line); err != nil {
			return nil, fmt.Errorf("reading the curl line: %w", err)
		}
	}
	c := &curl{raw: rawRequest{header: http.Header{}}}
	c.form = multipart.NewWriter(&c.parts)
	for rest := words[1:]; len(rest) > 0; {
		var err error
		if rest, err = c.word(rest); err != nil {
			return nil, err
		}
	}
	return c.finish()
}

// curl collects what a line says.
type curl struct {
	raw    rawRequest
	data   []string
	isData bool
	isGet  bool // -G: the data goes into the query
	isJSON bool
	isForm bool
	form   *multipart.Writer
	parts  bytes.Buffer
}

// curlFlag is what an option of curl means here.
type curlFlag uint8

const (
	curlUnknown curlFlag = iota
	curlAlone            // takes nothing and decides nothing
	curlSkipped          // takes a value and decides nothing
	curlMethod
	curlHeader
	curlData
	curlDataRaw
	curlDataBinary
	curlDataURL
	curlJSON
	curlForm
	curlURL
	curlGet
	curlHead
	curlFile
)

// curlOption knows the options that such lines have.
func curlOption(name string) curlFlag {
	switch name {
	case "-X", "--request":
		return curlMethod
	case "-H", "--header":
		return curlHeader
	case "-d", "--data", "--data-ascii":
		return curlData
	case "--data-raw":
		return curlDataRaw
	case "--data-binary":
		return curlDataBinary
	case "--data-urlencode":
		return curlDataURL
	case "--json":
		return curlJSON
	case "-F", "--form", "--form-string":
		return curlForm
	case "--url":
		return curlURL
	case "-G", "--get":
		return curlGet
	case "-I", "--head":
		return curlHead
	case "-T", "--upload-file":
		return curlFile
	}
	alone := []string{
		"-s", "--silent", "-S", "--show-error", "-k", "--insecure", "-L", "--location", "-v", "--verbose", "-i", "--include",
		"-f", "--fail", "--fail-with-body", "--compressed", "-g", "--globoff", "-#", "-N", "--no-buffer", "-O", "-J", "--http1.1", "-4",
	}
	skipped := []string{
		"-o", "--output", "--cacert", "-m", "--max-time", "--connect-timeout", "--retry", "-x", "--proxy", "--noproxy",
		"-w", "--write-out", "--unix-socket", "-A", "--user-agent", "-e", "--referer", "-b", "--cookie", "-c", "--cookie-jar", "--resolve",
	}
	switch {
	case slices.Contains(alone, name):
		return curlAlone
	case slices.Contains(skipped, name):
		return curlSkipped
	}
	return curlUnknown
}

// word reads one argument and its value, and gives the rest.
func (c *curl) word(rest []string) ([]string, error) {
	w := rest[0]
	rest = rest[1:]
	switch {
	case !strings.HasPrefix(w, "-") || w == "-":
		return rest, c.url(w)
	case strings.HasPrefix(w, "--"):
		return c.option(w, rest)
	}
	// Short options may stand together, the last with its value: -sXPOST.
	for i := 1; i < len(w); i++ {
		name := "-" + w[i:i+1]
		switch curlOption(name) { //nolint:exhaustive // the others take a value
		case curlAlone, curlGet, curlHead, curlUnknown:
			if _, err := c.option(name, nil); err != nil {
				return nil, err
			}
			continue
		}
		if value := w[i+1:]; value != "" {
			rest = append([]string{value}, rest...)
		}
		return c.option(name, rest)
	}
	return rest, nil
}

func (c *curl) option(name string, rest []string) ([]string, error) {
	switch f := curlOption(name); f { //nolint:exhaustive // the others take a value
	case curlUnknown:
		return nil, fmt.Errorf("the curl option %s is not known here; leave out what does not matter", name)
	case curlAlone:
		return rest, nil
	case curlGet:
		c.isGet = true
		return rest, nil
	case curlHead:
		c.raw.method = http.MethodHead
		return rest, nil
	default:
		if len(rest) == 0 {
			return nil, fmt.Errorf("the curl option %s has no value", name)
		}
		return rest[1:], c.value(f, rest[0])
	}
}

func (c *curl) value(f curlFlag, v string) error {
	switch f {
	case curlMethod:
		c.raw.method = v
	case curlHeader:
		return c.raw.addHeader(v)
	case curlData:
		return c.add(v, true, true)
	case curlDataBinary:
		return c.add(v, true, false)
	case curlDataRaw:
		return c.add(v, false, false)
	case curlDataURL:
		name, value, _ := strings.Cut(v, "=")
		return c.add(name+"="+url.QueryEscape(value), false, false)
	case curlJSON:
		c.isJSON = true
		return c.add(v, true, false)
	case curlForm:
		return c.part(v)
	case curlURL:
		return c.url(v)
	case curlFile:
		c.raw.method = http.MethodPut
	case curlUnknown, curlAlone, curlSkipped, curlGet, curlHead:
	}
	return nil
}

func (c *curl) url(v string) error {
	if c.raw.target != "" {
		return errors.New("the curl line has two URLs")
	}
	c.raw.target = v
	return nil
}

// add notes data; "@name" is a file's, where the option takes files.
func (c *curl) add(v string, file, trim bool) error {
	c.isData = true
	if name, ok := strings.CutPrefix(v, "@"); ok && file {
		if name == "-" {
			return errors.New("the curl line reads standard input; give it the data, or a file")
		}
		f, err := os.Open(filepath.Clean(name))
		if err != nil {
			return fmt.Errorf("the data of the curl line: %w", err)
		}
		defer f.Close() //nolint:errcheck // only read
		b, err := readBounded(f, maxCallText)
		if err != nil {
			return err
		}
		v = string(b)
		if trim {
			v = strings.NewReplacer("\r", "", "\n", "").Replace(v)
		}
	}
	c.data = append(c.data, v)
	return nil
}

// part adds a field of a form: name=value, or a file by name=@path.
func (c *curl) part(v string) error {
	c.isForm = true
	name, value, ok := strings.Cut(v, "=")
	if !ok {
		return fmt.Errorf("a form's field is name=value, this is none: %.40q", v)
	}
	h := textproto.MIMEHeader{}
	disposition := fmt.Sprintf("form-data; name=%q", name)
	if path, ok := strings.CutPrefix(value, "@"); ok {
		path, _, _ = strings.Cut(path, ";")
		disposition += fmt.Sprintf("; filename=%q", filepath.Base(path))
		h.Set("Content-Type", "application/octet-stream")
		value = "-" // any file
	}
	h.Set("Content-Disposition", disposition)
	w, err := c.form.CreatePart(h)
	if err != nil {
		return fmt.Errorf("writing the form: %w", err)
	}
	if _, err := w.Write([]byte(value)); err != nil {
		return fmt.Errorf("writing the form: %w", err)
	}
	return nil
}

// finish fills in what curl itself would.
func (c *curl) finish() (*rawRequest, error) {
	r := &c.raw
	if r.target == "" {
		return nil, errors.New("the curl line has no URL")
	}
	contentType := ""
	switch {
	case c.isForm:
		if err := c.form.Close(); err != nil {
			return nil, fmt.Errorf("writing the form: %w", err)
		}
		r.body, contentType = c.parts.Bytes(), c.form.FormDataContentType()
	case c.isGet && c.isData:
		sep := "?"
		if strings.Contains(r.target, "?") {
			sep = "&"
		}
		r.target += sep + strings.Join(c.data, "&")
	case c.isJSON:
		r.body, contentType = []byte(strings.Join(c.data, "")), "application/json"
	case c.isData:
		r.body, contentType = []byte(strings.Join(c.data, "&")), "application/x-www-form-urlencoded"
	}
	if contentType != "" && len(r.header["Content-Type"]) == 0 {
		r.header.Set("Content-Type", contentType)
	}
	switch {
	case r.method != "":
	case contentType != "":
		r.method = http.MethodPost
	default:
		r.method = http.MethodGet
	}
	return r, nil
}
