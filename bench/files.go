package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// blockSize is what the tool writes and reads at once, and after which the
	// file that it sends repeats itself.
	blockSize = 256 << 10
	// smallFile and largeFile show whether memory grows with the file.
	smallFile = 100e6
	largeFile = 10e9
	// maxGrowth is by how much it may, in bytes.
	maxGrowth = 8 << 20
	// minShare is the least of nginx's throughput that Stagedoor should have.
	minShare = 0.8
	// transferTime bounds one transfer of gigabytes.
	transferTime = 2 * time.Minute
)

// way is one direction.
type way struct {
	name string
	move func(ctx context.Context, c *contender, key string, size int64) error
}

func ways() []way { return []way{{"upload", upload}, {"download", download}} }

// fileSample is what one transfer told.
type fileSample struct {
	rate float64 // MB per second
	cpu  float64 // of the proxy, seconds for each GB
}

// fileRun is a contender with its transfers, by way.
type fileRun struct {
	*contender
	samples map[string][]fileSample
	peak    map[string]int64 // bytes
}

// fileContenders are those that pass files on.
func fileContenders() []*contender {
	door := &stagedoor{}
	return []*contender{
		{name: "nginx", needs: []string{"nginx"}, prepare: prepareNginxFiles},
		{name: nameBare, prepare: prepareBare},
		{name: nameStagedoor, injects: true, prepare: door.prepareFiles},
	}
}

func prepareNginxFiles(_ context.Context, l *lab, c *contender) ([]string, error) {
	values, err := l.nginxValues(c)
	if err != nil {
		return nil, err
	}
	file, err := l.write("nginx-files.conf", "nginx-files.conf", values)
	return []string{"nginx", "-p", l.dir, "-c", file, "-e", l.path(c.name + "-start.log")}, err
}

func (s *stagedoor) prepareFiles(ctx context.Context, l *lab, c *contender) ([]string, error) {
	if err := l.build(ctx, pkgStagedoor, "stagedoor"); err != nil {
		return nil, err
	}
	file, err := s.configure(ctx, l, "stagedoor-files.yaml", c.address, "")
	return []string{l.path("stagedoor"), "serve", "--config", file}, err
}

// compareFiles moves a file through every contender, both ways, in each round.
func (l *lab) compareFiles(ctx context.Context) error {
	size, err := parseSize(l.o.size)
	if err != nil {
		return err
	}
	var running []*fileRun
	for _, c := range fileContenders() {
		if l.o.only != "" && !slices.Contains(strings.Split(l.o.only, ","), c.name) {
			continue
		}
		if what := c.missing(); what != "" {
			l.printf("*** SKIPPED: %s. %s not found; on Debian: %s\n", c.name, what, install)
			l.skipped = append(l.skipped, c.name)
			continue
		}
		if err := c.launch(ctx, l); err != nil {
			return fmt.Errorf("starting %s: %w", c.name, err)
		}
		running = append(running, &fileRun{contender: c, samples: map[string][]fileSample{}, peak: map[string]int64{}})
	}
	if len(running) == 0 {
		return fmt.Errorf("nothing to compare: -only %q names no contender", l.o.only)
	}
	for _, w := range ways() {
		if err := l.moveAll(ctx, running, w, size); err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
	}
	for _, c := range running {
		c.process.stop()
	}
	growth, err := l.growth(ctx)
	if err != nil {
		return err
	}
	return l.report(ctx, "files", l.fileTable(ctx, running, size)+growth)
}

// moveAll measures one way.
func (l *lab) moveAll(ctx context.Context, running []*fileRun, w way, size int64) error {
	for _, c := range running {
		if _, err := l.move(ctx, c.contender, w, smallFile); err != nil { // connections, caches, sessions
			return fmt.Errorf("warming %s up: %w", c.name, err)
		}
		if err := forgetPeak(c.process.pid()); err != nil {
			return err
		}
	}
	for round := range l.o.rounds {
		for i := range running {
			c := running[(round+i)%len(running)]
			s, err := l.move(ctx, c.contender, w, size)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			c.samples[w.name] = append(c.samples[w.name], s)
			l.printf("round %d  %-8s  %-15s %7.0f MB/s  %5.2f s CPU per GB\n", round+1, w.name, c.name, s.rate, s.cpu)
		}
	}
	for _, c := range running {
		peak, err := peakMemory(c.process.pid())
		if err != nil {
			return err
		}
		c.peak[w.name] = peak
	}
	return nil
}

// move makes one transfer, of which the store must have seen a complete one.
func (l *lab) move(ctx context.Context, c *contender, w way, size int64) (s fileSample, err error) {
	ctx, cancel := context.WithTimeout(ctx, transferTime)
	defer cancel()
	if _, err := l.get(ctx, fmt.Sprintf("https://%s/length/%d", l.siteAddr, size)); err != nil {
		return s, err
	}
	key := l.key
	if c.injects {
		key = placeholder
	}
	goodBefore, badBefore, err := l.seen(ctx)
	if err != nil {
		return s, err
	}
	cpuBefore, err := cpuTime(c.process.pid())
	if err != nil {
		return s, err
	}
	began := time.Now()
	if err := w.move(ctx, c, key, size); err != nil {
		return s, err
	}
	took := time.Since(began)
	cpuAfter, err := cpuTime(c.process.pid())
	if err != nil {
		return s, err
	}
	good, bad, err := l.seen(ctx)
	if err != nil {
		return s, err
	}
	if got := good - goodBefore; bad != badBefore || got > 1 || got == 0 && w.name == "upload" {
		return s, fmt.Errorf("the site saw %d complete uploads with the key, and %d others", got, bad-badBefore)
	}
	s.rate = float64(size) / 1e6 / took.Seconds()
	s.cpu = (cpuAfter - cpuBefore).Seconds() / (float64(size) / 1e9)
	return s, nil
}

// upload sends the form that shotgun_api3 sends, with a file of that size.
func upload(ctx context.Context, c *contender, key string, size int64) error {
	const boundary = "0b9a0c6cbb1f4f21a5c0b8a9b7e7b3a1"
	var head, body bytes.Buffer
	for _, f := range [][2]string{
		{"entity_type", "Version"},
		{"entity_id", "77"},
		{"script_name", script},
		{"script_key", key},
		{"field_name", "sg_uploaded_movie"},
		{"display_name", "bunny_080_0200.mov"},
	} {
		fmt.Fprintf(&body, "--%s\r\nContent-Disposition: form-data; name=\"%s\"\r\n\r\n%s\r\n", boundary, f[0], f[1])
	}
	fmt.Fprintf(&body, "--%s\r\nContent-Disposition: form-data; name=\"file\"; filename=\"bunny_080_0200.mov\"\r\nContent-Type: video/quicktime\r\n\r\n", boundary)
	tail := "\r\n--" + boundary + "--\r\n\r\n"
	fmt.Fprintf(&head, "POST /upload/upload_file HTTP/1.1\r\nHost: %s\r\nUser-Agent: Python-urllib/3.11\r\n"+
		"Content-Type: multipart/form-data; boundary=%s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n",
		c.address, boundary, int64(body.Len())+size+int64(len(tail)))
	conn, err := connect(ctx, c.address)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Write(append(head.Bytes(), body.Bytes()...)); err != nil {
		return err
	}
	page := make([]byte, blockSize)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(page)
	for left := size; left > 0; {
		n, err := conn.Write(page[:min(left, blockSize)])
		if err != nil {
			return fmt.Errorf("sending the file: %w", err)
		}
		left -= int64(n)
	}
	if _, err := io.WriteString(conn, tail); err != nil {
		return err
	}
	return expect(conn, http.MethodPost, func(res *http.Response) error {
		var text strings.Builder
		if _, err := io.Copy(&text, io.LimitReader(res.Body, maxText)); err != nil {
			return err
		}
		if res.StatusCode != http.StatusOK || !strings.HasPrefix(text.String(), "1:77") {
			return fmt.Errorf("status %d: %.300s", res.StatusCode, text.String())
		}
		return nil
	})
}

// download fetches a file of that size.
func download(ctx context.Context, c *contender, _ string, size int64) error {
	conn, err := connect(ctx, c.address)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if _, err := fmt.Fprintf(conn, "GET /file_serve/attachment/77 HTTP/1.1\r\nHost: %s\r\nUser-Agent: Python-urllib/3.11\r\nConnection: close\r\n\r\n", c.address); err != nil {
		return err
	}
	return expect(conn, http.MethodGet, func(res *http.Response) error {
		if res.StatusCode != http.StatusOK {
			var text strings.Builder
			_, _ = io.Copy(&text, io.LimitReader(res.Body, maxText))
			return fmt.Errorf("status %d: %.300s", res.StatusCode, text.String())
		}
		if res.ContentLength != size && res.ContentLength != -1 {
			return fmt.Errorf("%d bytes are announced, not %d", res.ContentLength, size)
		}
		buf := make([]byte, blockSize)
		var n int64
		for {
			m, err := res.Body.Read(buf)
			n += int64(m)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return fmt.Errorf("after %d bytes: %w", n, err)
			}
		}
		if n != size {
			return fmt.Errorf("%d bytes came, not %d", n, size)
		}
		return nil
	})
}

func connect(ctx context.Context, addr string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	until, _ := ctx.Deadline()
	return conn, conn.SetDeadline(until)
}

func expect(conn net.Conn, method string, check func(*http.Response) error) error {
	res, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	err = check(res)
	return errors.Join(err, res.Body.Close())
}

// forgetPeak makes peakMemory begin anew (proc(5), clear_refs).
func forgetPeak(pid int) error {
	pids, err := tree(pid)
	for _, p := range pids {
		err = errors.Join(err, os.WriteFile(procFile(p, "clear_refs"), []byte("5"), 0))
	}
	return err
}

// growth compares Stagedoor's peak after a small file and a large one, each in
// a process of its own.
func (l *lab) growth(ctx context.Context) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "\n| stagedoor, peak memory MiB | %s | %s | difference |\n|---|--:|--:|--:|\n", sizeText(smallFile), sizeText(largeFile))
	for _, w := range ways() {
		var peaks [2]int64
		for i, size := range []int64{smallFile, largeFile} {
			c := fileContenders()[2]
			c.name += "-" + w.name + "-" + strconv.Itoa(i)
			if err := c.launch(ctx, l); err != nil {
				return "", err
			}
			if _, err := l.move(ctx, c, w, size); err != nil {
				return "", fmt.Errorf("%s of %s: %w", w.name, sizeText(size), err)
			}
			var err error
			if peaks[i], err = peakMemory(c.process.pid()); err != nil {
				return "", err
			}
			c.process.stop()
		}
		word := "within"
		if peaks[1]-peaks[0] >= maxGrowth {
			word = "OVER"
		}
		fmt.Fprintf(&b, "| %s | %.1f | %.1f | %.1f (%s) |\n", w.name, mib(peaks[0]), mib(peaks[1]), mib(peaks[1]-peaks[0]), word)
	}
	return b.String(), nil
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }

// fileTable writes the figures as Markdown.
func (l *lab) fileTable(ctx context.Context, cs []*fileRun, size int64) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s. %d rounds of %s, one transfer at a time; medians.\n\n", l.machine(ctx), l.o.rounds, sizeText(size))
	for _, w := range ways() {
		fmt.Fprintf(&b, "| %s | MB/s | lowest to highest | ÷ nginx | CPU s per GB | ÷ nginx | peak memory MiB |\n|---|--:|--:|--:|--:|--:|--:|\n", w.name)
		for _, c := range cs {
			rates, cpu := c.rates(w.name), middle(c.cpu(w.name))
			perNginx, cpuPerNginx := "–", "–"
			if base := findRun(cs, "nginx"); base != nil {
				perNginx = fmt.Sprintf("%.2f", base.share(c, w.name))
				cpuPerNginx = fmt.Sprintf("%.2f", cpu/middle(base.cpu(w.name)))
			}
			fmt.Fprintf(&b, "| %s | %.0f | %.0f–%.0f | %s | %.2f | %s | %.1f |\n",
				c.name, middle(rates), rates[0], rates[len(rates)-1], perNginx, cpu, cpuPerNginx, mib(c.peak[w.name]))
		}
		b.WriteString("\n")
	}
	if base, ours := findRun(cs, "nginx"), findRun(cs, nameStagedoor); base != nil && ours != nil {
		b.WriteString("Goal: ")
		for i, w := range ways() {
			share := base.share(ours, w.name)
			word := "reached"
			if share < minShare {
				word = "MISSED"
			}
			fmt.Fprintf(&b, "%s%s at %.2f of nginx's throughput, at least %.1f: %s", []string{"", "; "}[min(i, 1)], w.name, share, minShare, word)
		}
		b.WriteString(".\n")
	}
	for _, name := range l.skipped {
		fmt.Fprintf(&b, " SKIPPED, not installed: %s.", name)
	}
	return b.String()
}

func findRun(cs []*fileRun, name string) *fileRun {
	for _, c := range cs {
		if c.name == name {
			return c
		}
	}
	return nil
}

// share is what part of this throughput another one has.
func (c *fileRun) share(other *fileRun, way string) float64 {
	return middle(other.rates(way)) / middle(c.rates(way))
}

func (c *fileRun) rates(way string) []float64 {
	return c.figures(way, func(s fileSample) float64 { return s.rate })
}

func (c *fileRun) cpu(way string) []float64 {
	return c.figures(way, func(s fileSample) float64 { return s.cpu })
}

// figures are sorted.
func (c *fileRun) figures(way string, figure func(fileSample) float64) []float64 {
	v := make([]float64, len(c.samples[way]))
	for i, s := range c.samples[way] {
		v[i] = figure(s)
	}
	slices.Sort(v)
	return v
}

// parseSize reads 1GB, 100MB and the like: powers of 1000, as disks have them.
func parseSize(s string) (int64, error) {
	for unit, n := range map[string]int64{"MB": 1e6, "GB": 1e9} {
		if digits, ok := strings.CutSuffix(s, unit); ok {
			v, err := strconv.ParseInt(digits, 10, 32)
			if err == nil && v > 0 && v <= 100_000 {
				return v * n, nil
			}
		}
	}
	return 0, fmt.Errorf("-size is a number with MB or GB, not %q", s)
}

func sizeText(n int64) string {
	switch {
	case n%1e9 == 0:
		return fmt.Sprintf("%d GB", n/1e9)
	case n%1e6 == 0:
		return fmt.Sprintf("%d MB", n/1e6)
	}
	return fmt.Sprintf("%d bytes", n)
}
