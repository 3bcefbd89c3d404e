-- +goose Up
-- What has changed, in the order of the transactions.
CREATE TABLE outbox (
	seq   INTEGER PRIMARY KEY AUTOINCREMENT,
	xid   INTEGER NOT NULL DEFAULT 0,  -- transaction; here all are alone
	topic TEXT NOT NULL,
	key   TEXT NOT NULL,
	at    INTEGER NOT NULL
) STRICT;

CREATE TABLE leases (
	name   TEXT PRIMARY KEY,
	holder TEXT NOT NULL,
	until  INTEGER NOT NULL,           -- by the database's clock
	fence  INTEGER NOT NULL            -- grows with every holder
) STRICT, WITHOUT ROWID;

-- +goose Down
DROP TABLE leases;
DROP TABLE outbox;
