package store

import (
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"slipway.dev/slipway"
)

// Measurement is what happened to an app within a step of time.
type Measurement struct {
	Requests int64   `json:"n,omitempty"`
	Errors   int64   `json:"e,omitempty"` // status 500 and above
	Refused  int64   `json:"r,omitempty"` // status 400 to 499
	Latency  []int64 `json:"l,omitempty"` // by slipway.LatencyBuckets
	Viewers  int     `json:"v,omitempty"` // the most that one gateway saw

	CPU      int64 `json:"c,omitempty"` // microseconds of processor time
	Memory   int64 `json:"m,omitempty"` // bytes of all replicas, the most
	Replica  int64 `json:"x,omitempty"` // bytes of one replica, the most
	Replicas int   `json:"p,omitempty"` // the most
}

// Merge adds what was measured elsewhere, or earlier, within the step.
func (m *Measurement) Merge(o Measurement) {
	m.Requests += o.Requests
	m.Errors += o.Errors
	m.Refused += o.Refused
	if len(m.Latency) < len(o.Latency) {
		m.Latency = append(m.Latency, make([]int64, len(o.Latency)-len(m.Latency))...)
	}
	for i, n := range o.Latency {
		m.Latency[i] += n
	}
	m.Viewers = max(m.Viewers, o.Viewers)
	m.CPU += o.CPU
	m.Memory = max(m.Memory, o.Memory)
	m.Replica = max(m.Replica, o.Replica)
	m.Replicas = max(m.Replicas, o.Replicas)
}

// The steps that are kept.
const (
	Minute = time.Minute
	Hour   = time.Hour
)

// AddMeasurement adds to what is known of an app in the minute and the hour of
// at. The empty app is the whole platform.
func (tx *Tx) AddMeasurement(app slipway.AppID, at time.Time, m Measurement) error {
	for _, step := range []time.Duration{Minute, Hour} {
		begin := at.Truncate(step).Unix()
		sum := Measurement{}
		var text string
		err := tx.row(`SELECT data FROM measurements WHERE app = ? AND step = ? AND at = ?`, app, int64(step.Seconds()), begin).Scan(&text)
		if err == nil {
			err = json.Unmarshal([]byte(text), &sum)
		}
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		sum.Merge(m)
		data, err := json.Marshal(sum)
		if err != nil {
			return err
		}
		if _, err := tx.exec(`INSERT INTO measurements(app, step, at, data) VALUES (?,?,?,?)
			ON CONFLICT (app, step, at) DO UPDATE SET data = excluded.data`, app, int64(step.Seconds()), begin, string(data)); err != nil {
			return err
		}
	}
	return nil
}

// Measurements calls fn with what was measured of an app from one time until
// before another, in steps of a minute or an hour, oldest first.
func (tx *Tx) Measurements(app slipway.AppID, step time.Duration, from, to time.Time, fn func(at time.Time, m Measurement)) error {
	return tx.rows(func(r *sql.Rows) error {
		var at int64
		var text string
		if err := r.Scan(&at, &text); err != nil {
			return err
		}
		var m Measurement
		if err := json.Unmarshal([]byte(text), &m); err != nil {
			return err
		}
		fn(time.Unix(at, 0).UTC(), m)
		return nil
	}, `SELECT at, data FROM measurements WHERE app = ? AND step = ? AND at >= ? AND at < ? ORDER BY at`,
		app, int64(step.Seconds()), from.Unix(), to.Unix())
}

// MeasurementsByApp sums up what was measured of each app.
func (tx *Tx) MeasurementsByApp(step time.Duration, from, to time.Time) (map[slipway.AppID]Measurement, error) {
	out := map[slipway.AppID]Measurement{}
	err := tx.rows(func(r *sql.Rows) error {
		var app slipway.AppID
		var text string
		if err := r.Scan(&app, &text); err != nil {
			return err
		}
		var m Measurement
		if err := json.Unmarshal([]byte(text), &m); err != nil {
			return err
		}
		sum := out[app]
		sum.Merge(m)
		out[app] = sum
		return nil
	}, `SELECT app, data FROM measurements WHERE step = ? AND at >= ? AND at < ? AND app <> ''`, int64(step.Seconds()), from.Unix(), to.Unix())
	return out, err
}

// AddViewer notes that a person used an app, and the platform, in the hour of at.
func (tx *Tx) AddViewer(app slipway.AppID, at time.Time, person slipway.UserID) error {
	hour := at.Truncate(Hour).Unix()
	for _, a := range []slipway.AppID{app, ""} {
		if _, err := tx.exec(`INSERT INTO viewers(app, at, person) VALUES (?,?,?) ON CONFLICT DO NOTHING`, a, hour, person); err != nil {
			return err
		}
	}
	return nil
}

// Viewers counts the different people who used an app, in all and by hour.
func (tx *Tx) Viewers(app slipway.AppID, from, to time.Time) (all int, byHour map[time.Time]int, err error) {
	a, b := from.Truncate(Hour).Unix(), to.Unix()
	byHour = map[time.Time]int{}
	err = tx.row(`SELECT count(DISTINCT person) FROM viewers WHERE app = ? AND at >= ? AND at < ?`, app, a, b).Scan(&all)
	if err != nil {
		return 0, nil, err
	}
	err = tx.rows(func(r *sql.Rows) error {
		var at int64
		var n int
		err := r.Scan(&at, &n)
		byHour[time.Unix(at, 0).UTC()] = n
		return err
	}, `SELECT at, count(*) FROM viewers WHERE app = ? AND at >= ? AND at < ? GROUP BY at`, app, a, b)
	return all, byHour, err
}

// ViewersByApp counts the different people who used each app.
func (tx *Tx) ViewersByApp(from, to time.Time) (map[slipway.AppID]int, error) {
	out := map[slipway.AppID]int{}
	err := tx.rows(func(r *sql.Rows) error {
		var app slipway.AppID
		var n int
		err := r.Scan(&app, &n)
		out[app] = n
		return err
	}, `SELECT app, count(DISTINCT person) FROM viewers WHERE at >= ? AND at < ? AND app <> '' GROUP BY app`, from.Truncate(Hour).Unix(), to.Unix())
	return out, err
}

// ForgetMeasurements removes minutes and hours that are older.
func (tx *Tx) ForgetMeasurements(minutes, hours, viewers time.Time) error {
	for _, q := range []struct {
		sql  string
		args []any
	}{
		{`DELETE FROM measurements WHERE step = ? AND at < ?`, []any{int64(Minute.Seconds()), minutes.Unix()}},
		{`DELETE FROM measurements WHERE step = ? AND at < ?`, []any{int64(Hour.Seconds()), hours.Unix()}},
		{`DELETE FROM viewers WHERE at < ?`, []any{viewers.Unix()}},
	} {
		if _, err := tx.exec(q.sql, q.args...); err != nil {
			return err
		}
	}
	return nil
}
