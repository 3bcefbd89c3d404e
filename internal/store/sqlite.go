package store

import (
	"context"
	"database/sql"
	"errors"
	"net/url"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
)

// openSQLite has one connection that writes and others that read beside it.
func openSQLite(path string, _ options) (*DB, error) {
	write, err := openFile(path, "immediate", 1)
	if err != nil {
		return nil, err
	}
	read, err := openFile(path, "deferred", 8)
	if err != nil {
		return nil, errors.Join(err, write.Close())
	}
	return &DB{read: read, write: write, bell: newBell(), dialect: dialect{
		goose: goose.DialectSQLite3, dir: "sqlite",
		query: func(q string) string { return q },
		again: busy, unique: sqliteUnique,
		away:    func(error) bool { return false },
		refused: func(error) error { return nil },
		// The bell is all: nobody else has the file open.
		wake:   func(*Tx) error { return nil },
		listen: func(context.Context) error { return nil },
		now:    `CAST(unixepoch('subsec') * 1000000 AS INTEGER)`,
		// One writes at a time, so that numbers are in the order of commits.
		settled: `true`,
		newest:  `SELECT 0, coalesce(max(seq), 0) FROM outbox`,
	}}, nil
}

func openFile(path, lock string, conns int) (*sql.DB, error) {
	q := url.Values{"_txlock": {lock}, "_pragma": {
		"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)", "trusted_schema(0)",
	}}
	db, err := sql.Open("sqlite", "file:"+path+"?"+q.Encode())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(conns)
	return db, nil
}

// SQLite's result codes that concern us (sqlite.org/rescode.html).
const (
	codeBusy       = 5
	codeLocked     = 6
	codeUnique     = 2067
	codePrimaryKey = 1555
)

func code(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code()
	}
	return 0
}

func busy(err error) bool {
	c := code(err) & 0xff
	return c == codeBusy || c == codeLocked
}

func sqliteUnique(err error) bool {
	c := code(err)
	return c == codeUnique || c == codePrimaryKey
}
