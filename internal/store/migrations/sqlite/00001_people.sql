-- +goose Up
CREATE TABLE users (
	id        TEXT PRIMARY KEY,
	name      TEXT NOT NULL UNIQUE,           -- lower case
	email     TEXT NOT NULL DEFAULT '',
	full_name TEXT NOT NULL DEFAULT '',
	password  TEXT NOT NULL DEFAULT '',       -- argon2id in PHC form; empty = cannot sign in by password
	disabled  INTEGER NOT NULL DEFAULT 0,
	epoch     INTEGER NOT NULL DEFAULT 1,     -- session tokens of an older epoch are void
	created   INTEGER NOT NULL
) STRICT;

CREATE TABLE roles (
	user   TEXT NOT NULL REFERENCES users(id) ON DELETE CASCADE,
	role   TEXT NOT NULL,
	source TEXT NOT NULL,                     -- local, or the provider that said so
	since  INTEGER NOT NULL,                  -- the earliest keep their seats
	PRIMARY KEY (user, role)
) STRICT, WITHOUT ROWID;

CREATE TABLE sessions (
	id      TEXT PRIMARY KEY,
	user    TEXT NOT NULL REFERENCES users(id) ON DELETE CASCADE,
	created INTEGER NOT NULL,
	seen    INTEGER NOT NULL,
	expires INTEGER NOT NULL,
	ended   INTEGER,                          -- kept until it would have expired: gateways must know
	agent   TEXT NOT NULL DEFAULT '',
	addr    TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX sessions_user ON sessions(user);
CREATE INDEX sessions_expires ON sessions(expires);

-- What a browser holds for a session: one secret a host, kept as its SHA-256.
CREATE TABLE session_cookies (
	hash    TEXT PRIMARY KEY,
	session TEXT NOT NULL REFERENCES sessions(id) ON DELETE CASCADE,
	host    TEXT NOT NULL                     -- auth or api
) STRICT, WITHOUT ROWID;
CREATE INDEX session_cookies_session ON session_cookies(session);

-- One-time codes that hand a session to another host.
CREATE TABLE handoffs (
	hash    TEXT PRIMARY KEY,
	session TEXT NOT NULL REFERENCES sessions(id) ON DELETE CASCADE,
	host    TEXT NOT NULL,
	expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE tokens (
	id      TEXT PRIMARY KEY,
	user    TEXT NOT NULL REFERENCES users(id) ON DELETE CASCADE,
	name    TEXT NOT NULL,
	hash    TEXT NOT NULL UNIQUE,             -- SHA-256 of the secret
	scopes  TEXT NOT NULL,                    -- JSON
	created INTEGER NOT NULL,
	expires INTEGER,
	used    INTEGER
) STRICT;
CREATE INDEX tokens_user ON tokens(user);

-- Failed sign-ins, by person and address, and by address.
CREATE TABLE login_failures (
	key   TEXT PRIMARY KEY,
	count INTEGER NOT NULL,
	last  INTEGER NOT NULL,
	until INTEGER NOT NULL                    -- nobody with this key may try before
) STRICT, WITHOUT ROWID;

CREATE TABLE signing_keys (
	id         TEXT PRIMARY KEY,
	use        TEXT NOT NULL,                 -- session, oidc
	sealed     BLOB NOT NULL,                 -- PKCS #8
	created    INTEGER NOT NULL,
	not_before INTEGER NOT NULL,              -- signs from then on; published before
	retire_at  INTEGER                        -- is published until then
) STRICT;

CREATE TABLE audit (
	seq    INTEGER PRIMARY KEY AUTOINCREMENT,
	at     INTEGER NOT NULL,
	actor  TEXT NOT NULL,
	addr   TEXT NOT NULL DEFAULT '',
	verb   TEXT NOT NULL,
	object TEXT NOT NULL DEFAULT '',
	result TEXT NOT NULL,                     -- ok, or the kind of the error
	detail TEXT NOT NULL DEFAULT ''
) STRICT;

-- +goose Down
DROP TABLE audit;
DROP TABLE signing_keys;
DROP TABLE login_failures;
DROP TABLE tokens;
DROP TABLE handoffs;
DROP TABLE session_cookies;
DROP TABLE sessions;
DROP TABLE roles;
DROP TABLE users;
