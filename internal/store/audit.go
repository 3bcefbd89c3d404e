package store

import (
	"database/sql"
	"time"

	"slipway.dev/slipway"
)

// AuditFilter selects lines of the audit trail; zero fields select all.
type AuditFilter struct {
	Actor  string
	Verb   string // or its beginning up to a dot
	Object string
	Query  string // part of any field
	Since  time.Time
	Until  time.Time
}

// AuditLines lists lines older than the given one, unless that is 0, newest first.
func (tx *Tx) AuditLines(f AuditFilter, before int64, limit int) ([]slipway.AuditEntry, error) {
	return tx.auditLines(f, `(? = 0 OR seq < ?) ORDER BY seq DESC LIMIT ?`, before, before, limit)
}

// AuditLinesAfter lists lines newer than the given one, oldest first.
func (tx *Tx) AuditLinesAfter(f AuditFilter, after int64, limit int) ([]slipway.AuditEntry, error) {
	return tx.auditLines(f, `seq > ? ORDER BY seq LIMIT ?`, after, limit)
}

func (tx *Tx) auditLines(f AuditFilter, rest string, args ...any) ([]slipway.AuditEntry, error) {
	where := ""
	var all []any
	add := func(cond string, args ...any) {
		where += cond + " AND "
		all = append(all, args...)
	}
	if f.Actor != "" {
		add(`actor = ?`, f.Actor)
	}
	if f.Verb != "" {
		add(`(verb = ? OR substr(verb, 1, ?) = ?)`, f.Verb, len(f.Verb)+1, f.Verb+".")
	}
	if f.Object != "" {
		add(`object = ?`, f.Object)
	}
	if f.Query != "" {
		q := like(f.Query)
		add(`(actor LIKE ? ESCAPE '\' OR verb LIKE ? ESCAPE '\' OR object LIKE ? ESCAPE '\' OR lower(detail) LIKE ? ESCAPE '\')`, q, q, q, q)
	}
	if !f.Since.IsZero() {
		add(`at >= ?`, micros(f.Since))
	}
	if !f.Until.IsZero() {
		add(`at < ?`, micros(f.Until))
	}
	out := []slipway.AuditEntry{}
	err := tx.rows(func(r *sql.Rows) error {
		var a slipway.AuditEntry
		var at int64
		err := r.Scan(&a.Seq, &at, &a.Actor, &a.Addr, &a.Verb, &a.Object, &a.Result, &a.Detail)
		a.At = timeOf(at)
		out = append(out, a)
		return err
	}, `SELECT seq, at, actor, addr, verb, object, result, detail FROM audit WHERE `+where+rest, append(all, args...)...)
	return out, err
}
