package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/loop"
)

// maxEvent is the longest event that is read.
const maxEvent = 1 << 20

// event is one server-sent event.
type event struct {
	id, name string
	data     []byte
}

// readEvents calls fn for each event of a stream until it ends, and returns
// io.EOF then. Comments, which keep the connection open, are dropped.
func readEvents(r io.Reader, fn func(event) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 64<<10), maxEvent)
	var e event
	for lines.Scan() {
		line := lines.Text()
		if line == "" {
			if e.name != "" || len(e.data) > 0 {
				if err := fn(e); err != nil {
					return err
				}
			}
			e = event{}
			continue
		}
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "id":
			e.id = value
		case "event":
			e.name = value
		case "data":
			if len(e.data) > 0 {
				e.data = append(e.data, '\n')
			}
			e.data = append(e.data, value...)
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return io.EOF
}

// errDone is returned by a consumer that has seen the end of what it follows.
var errDone = errors.New("done")

// follow reads a stream and, when the connection breaks, goes on from the
// event that came last. It ends with fn's error, a final answer of the
// platform, or ctx.
func (c *Client) follow(ctx context.Context, path string, query url.Values, fn func(event) error) error {
	wait := loop.Backoff{Min: 200 * time.Millisecond, Max: 5 * time.Second}
	last, broken := "", time.Time{}
	for {
		var own error // what fn said: it ends everything
		err := c.stream(ctx, path, query, last, func(e event) error {
			broken = time.Time{}
			wait.Reset()
			switch e.name {
			case "error":
				var p Problem
				if own = json.Unmarshal(e.data, &p); own == nil {
					own = p.Err()
				}
			case "end":
				own = errDone
			default:
				own = fn(e)
			}
			if e.id != "" {
				last = e.id
			}
			return own
		})
		switch {
		case errors.Is(own, errDone):
			return nil
		case own != nil && !errs.Is(own, errs.KindUnavailable):
			return own
		case ctx.Err() != nil:
			return ctx.Err()
		case !errors.Is(err, io.EOF) && errs.KindOf(err) != errs.KindUnavailable && errs.KindOf(err) != errs.KindInternal:
			return err
		}
		if broken.IsZero() {
			broken = time.Now()
		} else if time.Since(broken) > 2*time.Minute {
			return errs.Wrap(err, errs.KindUnavailable, "the connection to %s broke and did not come back", c.host)
		}
		if err := wait.Wait(ctx); err != nil {
			return err
		}
	}
}

func (c *Client) stream(ctx context.Context, path string, query url.Values, last string, fn func(event) error) error {
	res, err := c.send(ctx, call{method: http.MethodGet, path: path, query: query, accept: "text/event-stream", lastEvent: last})
	if err != nil {
		return err
	}
	defer res.Body.Close()
	return readEvents(res.Body, fn)
}
