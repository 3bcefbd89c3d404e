package gateway_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// BenchmarkSignedIn is one small request of a signed-in viewer, all through.
func BenchmarkSignedIn(b *testing.B) {
	r := start(b)
	body := []byte(strings.Repeat("x", 1024))
	r.app("iris", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) })
	r.restrict("iris")
	tr := r.transport()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			req, _ := http.NewRequest("GET", origin+"/iris/", nil)
			req.Header.Set("Cookie", "slipway-session="+token("ses_alice", "user_alice", 1, base))
			res, err := tr.RoundTrip(req)
			if err != nil {
				b.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, res.Body)
			res.Body.Close()
		}
	})
}
