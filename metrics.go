package slipway

// LatencyBuckets bound the times of answers that are told apart, in
// milliseconds; what took longer than the last is counted behind it.
var LatencyBuckets = [...]float64{1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000}
