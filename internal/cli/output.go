package cli

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"golang.org/x/term"

	"slipway.dev/slipway/internal/base/errs"
)

// print writes v as JSON, or calls human.
func (p *program) print(v any, human func()) error {
	if !p.json {
		human()
		return nil
	}
	e := json.NewEncoder(p.Out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// line writes v as one line of JSON.
func (p *program) line(v any) error {
	e := json.NewEncoder(p.Out)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// table writes rows below their titles.
func (p *program) table(titles []string, rows [][]string) {
	w := tabwriter.NewWriter(p.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(titles, "\t"))
	for _, r := range rows {
		for i := range r {
			r[i] = clean(r[i])
		}
		fmt.Fprintln(w, strings.Join(r, "\t"))
	}
	_ = w.Flush() // what the terminal does not take cannot be told to it
}

// pairs writes names and values, leaving out empty ones.
func (p *program) pairs(rows ...[2]string) {
	w := tabwriter.NewWriter(p.Out, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		if r[1] != "" {
			fmt.Fprintf(w, "%s\t%s\n", r[0], clean(r[1]))
		}
	}
	_ = w.Flush() // as above
}

// clean keeps text that others wrote from steering the terminal.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t' || r == '\n':
			return ' '
		case unicode.IsControl(r):
			return '·'
		}
		return r
	}, s)
}

func (p *program) say(format string, args ...any) { fmt.Fprintf(p.Err, format+"\n", args...) }

// terminal reports whether w is one.
func terminal(w any) (int, bool) {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0, false
	}
	return int(f.Fd()), true
}

// ask asks a question on the terminal; without one it cannot.
func (p *program) ask(question string) (string, bool) {
	if _, ok := terminal(p.In); !ok {
		return "", false
	}
	fmt.Fprint(p.Err, question)
	text, err := readLine(p.In)
	return text, err == nil
}

// password reads one from the terminal without showing it, or with stdin as
// the first line of the standard input.
func (p *program) password(stdin bool, question string) (string, error) {
	if stdin {
		text, err := readLine(p.In)
		if err != nil || text == "" {
			return "", usagef("--password-stdin: the standard input holds no password")
		}
		return text, nil
	}
	fd, ok := terminal(p.In)
	if !ok {
		return "", usagef("no terminal to ask for the password: use --password-stdin")
	}
	fmt.Fprint(p.Err, question)
	text, err := term.ReadPassword(fd)
	fmt.Fprintln(p.Err)
	if err != nil {
		return "", err
	}
	return string(text), nil
}

func readLine(r io.Reader) (string, error) {
	text, err := bufio.NewReader(io.LimitReader(r, 64<<10)).ReadString('\n')
	if err != nil && (text == "" || !errors.Is(err, io.EOF)) {
		return "", err
	}
	return strings.TrimRight(text, "\r\n"), nil
}

func when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

func whenPtr(t *time.Time) string {
	if t == nil {
		return ""
	}
	return when(*t)
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return ""
}

// seconds writes how long something took.
func seconds(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}

// maxDays is a hundred years; some more than that no time.Duration can hold.
const maxDays = 36500

// parseAge reads durations that may be in days: 30d, 12h.
func parseAge(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		var n int
		if _, err := fmt.Sscanf(days, "%d", &n); err == nil && n > 0 && fmt.Sprint(n) == days {
			if n > maxDays {
				return 0, errs.Invalid("%q is too long a time span: at most %dd", s, maxDays)
			}
			return time.Duration(n) * 24 * time.Hour, nil
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return 0, errs.Invalid("%q is no time span such as 30d, 12h or 10m", s)
	}
	return d, nil
}
