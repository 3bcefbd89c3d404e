package main

import (
	"archive/tar"
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"slipway.dev/slipway/internal/engine/inside"
)

// keepFor bounds how long a task tries to hand over what it made.
const keepFor = 15 * time.Minute

// begin asks whether this start of the task may happen.
func (t task) begin(ctx context.Context) error {
	start := os.Getenv(inside.PodUID) + "/" + rand.Text()
	return again(ctx, func(ctx context.Context) (bool, error) {
		return t.post(ctx, inside.WordBegin, "", func(w io.Writer) error {
			_, err := io.WriteString(w, start)
			return err
		})
	})
}

// keep hands over a folder.
func (t task) keep(i int, dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), keepFor)
	defer cancel()
	return again(ctx, func(ctx context.Context) (bool, error) {
		return t.post(ctx, inside.WordKeep, "&folder="+strconv.Itoa(i), func(w io.Writer) error { return pack(w, dir) })
	})
}

// post sends a word; final says that asking again is of no use.
//
// It speaks HTTP by itself: a client of the standard library would double the
// size of what is in every pod.
func (t task) post(ctx context.Context, word, query string, body func(w io.Writer) error) (final bool, err error) {
	d := net.Dialer{Timeout: 10 * time.Second}
	c, err := d.DialContext(ctx, "tcp", t.Inbox)
	if err != nil {
		return false, err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	w := bufio.NewWriterSize(c, 32<<10)
	fmt.Fprintf(w, "POST %s%s?object=%s%s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
		t.Path, word, t.Object, query, t.Inbox, t.Token)
	sent := body(chunks{w})
	if errors.Is(sent, errBody) {
		return true, sent
	}
	if sent == nil {
		_, sent = io.WriteString(w, "0\r\n\r\n")
	}
	sent = errors.Join(sent, w.Flush())
	// The engine may have answered before it read all.
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Minute))
	status, text, err := readAnswer(bufio.NewReader(c))
	switch {
	case err != nil:
		return false, errors.Join(sent, err)
	case status/100 == 2:
		return true, sent
	case status/100 == 4 && status != 429:
		return true, errors.New(text)
	}
	return false, fmt.Errorf("the platform answers %d: %s", status, text)
}

func readAnswer(r *bufio.Reader) (status int, text string, err error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return 0, "", err
	}
	f := strings.Fields(line)
	if len(f) < 2 || !strings.HasPrefix(f[0], "HTTP/") {
		return 0, "", fmt.Errorf("the platform answers %q", line)
	}
	if status, err = strconv.Atoi(f[1]); err != nil {
		return 0, "", err
	}
	for line != "\r\n" {
		if line, err = r.ReadString('\n'); err != nil {
			return 0, "", err
		}
	}
	b, err := io.ReadAll(io.LimitReader(r, 4<<10))
	return status, strings.TrimSpace(string(b)), err
}

// chunks is the body of a request of unknown length.
type chunks struct{ w *bufio.Writer }

func (c chunks) Write(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	if _, err := fmt.Fprintf(c.w, "%x\r\n", len(b)); err != nil {
		return 0, err
	}
	n, err := c.w.Write(b)
	if err != nil {
		return n, err
	}
	_, err = io.WriteString(c.w, "\r\n")
	return n, err
}

// errBody says that the fault is in what should be sent.
var errBody = errors.New("the folder cannot be read")

// pack writes a folder as tar, as everybody's to read and nobody's to change.
func pack(w io.Writer, dir string) error {
	buf := bufio.NewWriterSize(w, 256<<10)
	tw := tar.NewWriter(buf)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return errors.Join(errBody, err)
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil || rel == "." {
			return err
		}
		return packEntry(tw, path, rel, d)
	})
	if err != nil {
		return err
	}
	return errors.Join(tw.Close(), buf.Flush())
}

func packEntry(tw *tar.Writer, path, rel string, d fs.DirEntry) error {
	info, err := d.Info()
	if err != nil {
		return errors.Join(errBody, err)
	}
	h := &tar.Header{Name: filepath.ToSlash(rel), ModTime: info.ModTime().Truncate(time.Second), Mode: 0o644}
	if info.Mode().Perm()&0o111 != 0 {
		h.Mode = 0o755
	}
	switch {
	case d.IsDir():
		h.Typeflag, h.Name, h.Mode = tar.TypeDir, h.Name+"/", 0o755
	case info.Mode()&os.ModeSymlink != 0:
		h.Typeflag, h.Mode = tar.TypeSymlink, 0o777
		if h.Linkname, err = os.Readlink(path); err != nil {
			return errors.Join(errBody, err)
		}
	case info.Mode().IsRegular():
		h.Typeflag, h.Size = tar.TypeReg, info.Size()
	default: // a socket or a pipe is nothing to keep
		return nil
	}
	if h.Typeflag != tar.TypeReg {
		return tw.WriteHeader(h)
	}
	f, err := os.Open(path)
	if err != nil {
		return errors.Join(errBody, err)
	}
	defer f.Close()
	if err := tw.WriteHeader(h); err != nil {
		return err
	}
	n, err := io.Copy(tw, io.LimitReader(f, h.Size))
	if err == nil && n < h.Size {
		err = fmt.Errorf("%w: %s became shorter while it was read", errBody, rel)
	}
	return err
}
