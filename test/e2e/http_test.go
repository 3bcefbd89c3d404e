package e2e_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// get fetches a page as a person and prints status, headers and body:
//
//	get PERSON [-X METHOD] [-H 'Name: value']… [-d BODY] [-xhr] [-once] URL [PATTERN…]
//
// It navigates as a browser does, through redirects and sign-in; -once follows
// none, -xhr asks as a script in a page does. Every PATTERN must be in the
// answer. With ! one that is there fails.
func (w *world) get(ts *testscript.TestScript, neg bool, args []string) {
	text, err := w.fetch(args)
	ts.Check(err)
	_, _, patterns, err := parse(args)
	ts.Check(err)
	_, werr := io.WriteString(ts.Stdout(), text)
	ts.Check(werr)
	if neg {
		for _, p := range patterns {
			if matches(text, []string{p}) == nil {
				ts.Fatalf("the answer holds %q:\n%.3000s", p, text)
			}
		}
		return
	}
	ts.Check(matches(text, patterns))
}

func matches(text string, patterns []string) error {
	for _, p := range patterns {
		re, err := regexp.Compile("(?m)" + p)
		if err != nil {
			return err
		}
		if !re.MatchString(text) {
			return fmt.Errorf("no match for %q in:\n%.3000s", p, text)
		}
	}
	return nil
}

type fetch struct {
	person, method, body string
	header               http.Header
	xhr, once            bool
}

func parse(args []string) (f fetch, target string, patterns []string, err error) {
	f = fetch{method: http.MethodGet, header: http.Header{}}
	if len(args) < 2 {
		return f, "", nil, errors.New("usage: get PERSON [options] URL [PATTERN…]")
	}
	f.person, args = args[0], args[1:]
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		switch args[0] {
		case "-xhr":
			f.xhr, args = true, args[1:]
			continue
		case "-once":
			f.once, args = true, args[1:]
			continue
		}
		if len(args) < 2 {
			return f, "", nil, fmt.Errorf("%s needs a value", args[0])
		}
		switch args[0] {
		case "-X":
			f.method = args[1]
		case "-d":
			f.body = args[1]
		case "-H":
			k, v, _ := strings.Cut(args[1], ":")
			f.header[k] = append(f.header[k], strings.TrimSpace(v)) // the spelling stays
		default:
			return f, "", nil, fmt.Errorf("unknown option %s", args[0])
		}
		args = args[2:]
	}
	if len(args) == 0 {
		return f, "", nil, errors.New("no URL")
	}
	return f, args[0], args[1:], nil
}

func (w *world) fetch(args []string) (string, error) {
	f, target, _, err := parse(args)
	if err != nil {
		return "", err
	}
	c, err := w.client(f.person)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	for range 12 {
		req, err := http.NewRequestWithContext(ctx, f.method, target, strings.NewReader(f.body))
		if err != nil {
			return "", err
		}
		if !f.xhr {
			req.Header.Set("Accept", "text/html")
			req.Header.Set("Sec-Fetch-Mode", "navigate")
			req.Header.Set("Sec-Fetch-Dest", "document")
		}
		for k, v := range f.header {
			req.Header[k] = v
		}
		res, err := c.Do(req)
		if err != nil {
			return "", err
		}
		body, err := io.ReadAll(io.LimitReader(res.Body, 4<<20))
		_ = res.Body.Close()
		if err != nil {
			return "", err
		}
		if res.StatusCode/100 == 3 && !f.once && !f.xhr {
			next, err := res.Location()
			if err != nil {
				return "", err
			}
			target, f.method, f.body = next.String(), http.MethodGet, ""
			continue
		}
		return render(target, res, body), nil
	}
	return "", fmt.Errorf("too many redirects, at last to %s", target)
}

func render(target string, res *http.Response, body []byte) string {
	var b strings.Builder
	fmt.Fprintf(&b, "HTTP %d\nURL %s\n", res.StatusCode, target)
	names := make([]string, 0, len(res.Header))
	for k := range res.Header {
		names = append(names, k)
	}
	slices.Sort(names)
	for _, k := range names {
		for _, v := range res.Header[k] {
			fmt.Fprintf(&b, "%s: %s\n", k, v)
		}
	}
	b.WriteString("\n")
	b.Write(body)
	b.WriteString("\n")
	return b.String()
}

// raw sends a file's bytes as they stand, with \r\n for line ends and $VAR
// expanded by the script, over TLS to the edge, and prints what comes back:
//
//	raw FILE PATTERN…
func (w *world) raw(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: raw FILE PATTERN…")
	}
	request := strings.ReplaceAll(ts.ReadFile(args[0]), "\n", "\r\n")
	for _, name := range []string{"BASE", "API"} {
		request = strings.ReplaceAll(request, "$"+name, ts.Getenv(name))
	}
	addr := net.JoinHostPort("127.0.0.1", w.in.Hosts.Port)
	conn, err := (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}, ServerName: w.in.Hosts.Base}}).
		DialContext(context.Background(), "tcp", addr)
	ts.Check(err)
	defer conn.Close()
	ts.Check(conn.SetDeadline(time.Now().Add(20 * time.Second)))
	_, err = io.WriteString(conn, request)
	ts.Check(err)
	answer, err := io.ReadAll(conn)
	if len(answer) == 0 {
		ts.Check(err)
	}
	ts.Check(matches(string(answer), args[1:]))
}
