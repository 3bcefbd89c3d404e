package gateway

import (
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics are counted by app; what is no app of ours counts under "", so that
// strangers cannot make up series.
type metrics struct {
	requests *prometheus.CounterVec
	latency  prometheus.Histogram
	inFlight prometheus.Gauge
}

func newMetrics(reg *prometheus.Registry) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "slipway_gateway_requests_total", Help: "Requests by app and class of status.",
		}, []string{"app", "class"}),
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "slipway_gateway_request_seconds", Help: "Time from a request's head to the end of its answer.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "slipway_gateway_requests_in_flight", Help: "Requests under way, WebSockets among them.",
		}),
	}
	for _, c := range []prometheus.Collector{m.requests, m.latency, m.inFlight, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) done(app string, status int, took time.Duration) {
	m.requests.WithLabelValues(app, strconv.Itoa(status/100)+"xx").Inc()
	m.latency.Observe(took.Seconds())
}

// Admin serves health and measurements, on a listener of its own.
func (s *Server) Admin() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		why := ""
		switch {
		case s.leaving.Load():
			why = "it is about to stop"
		case s.Policy.Policy() == nil:
			why = "no policy from the core yet"
		}
		if why != "" {
			w.WriteHeader(http.StatusServiceUnavailable)
			io.WriteString(w, why+"\n")
			return
		}
		io.WriteString(w, "ok\n")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.Metrics, promhttp.HandlerOpts{}))
	return mux
}
