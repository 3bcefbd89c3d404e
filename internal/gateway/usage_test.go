package gateway_test

import (
	"context"
	"net/http"
	"sync"
	"testing"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/gateway"
	"slipway.dev/slipway/internal/link"
)

// What happened to apps is told by app and minute, the last of it when the
// gateway stops; what asks for no app, or is let into none, is not counted.
func TestUsageIsReported(t *testing.T) {
	var mu sync.Mutex
	var sum link.Used
	people, opens := map[slipway.UserID]bool{}, map[slipway.UserID]int64{}
	r := start(t, func(o *gateway.Options) {
		o.Report = func(_ context.Context, list []link.Used) error {
			mu.Lock()
			defer mu.Unlock()
			for _, u := range list {
				sum.App = u.App
				sum.Requests, sum.Errors, sum.Refused = sum.Requests+u.Requests, sum.Errors+u.Errors, sum.Refused+u.Refused
				sum.Latency = append(sum.Latency, u.Latency...)
				for _, id := range u.Viewers {
					people[id] = true
				}
				for id, n := range u.Opens {
					opens[id] += n
				}
			}
			return nil
		}
	})
	r.app("iris", http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		switch q.URL.Path {
		case "/broken":
			w.WriteHeader(http.StatusInternalServerError)
		case "/none":
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	r.restrict("iris")
	for _, q := range []struct{ path, who, mode string }{
		{"/iris/", "alice", "navigate"},
		{"/iris/data", "alice", "cors"},
		{"/iris/broken", "alice", "navigate"},
		{"/iris/none", "admin", "cors"},
		{"/iris/", "bob", "navigate"},
		{"/iris/", "", "navigate"},
		{"/other/", "alice", "navigate"},
	} {
		headers := []string{page, "Sec-Fetch-Mode: " + q.mode}
		if q.who != "" {
			headers = append(headers, as(q.who, base))
		}
		r.ask("GET", origin+q.path, headers...)
	}
	r.stop()
	var timed int64
	for _, n := range sum.Latency {
		timed += n
	}
	if sum.App == "" || sum.Requests != 4 || sum.Errors != 1 || sum.Refused != 1 || timed != 4 {
		t.Errorf("%+v", sum)
	}
	if len(people) != 2 || !people["user_alice"] || !people["user_admin"] || len(opens) != 1 || opens["user_alice"] != 1 {
		t.Errorf("viewers %v, opens %v", people, opens)
	}
}
