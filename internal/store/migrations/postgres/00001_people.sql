-- +goose Up
CREATE TABLE users (
	id        TEXT COLLATE "C" PRIMARY KEY,
	name      TEXT COLLATE "C" NOT NULL UNIQUE,      -- lower case
	email     TEXT COLLATE "C" NOT NULL DEFAULT '',
	full_name TEXT COLLATE "C" NOT NULL DEFAULT '',
	password  TEXT COLLATE "C" NOT NULL DEFAULT '',  -- argon2id in PHC form; empty = cannot sign in by password
	disabled  BOOLEAN NOT NULL DEFAULT false,
	epoch     BIGINT NOT NULL DEFAULT 1,             -- session tokens of an older epoch are void
	created   BIGINT NOT NULL
);

CREATE TABLE roles (
	"user" TEXT COLLATE "C" NOT NULL REFERENCES users(id) ON DELETE CASCADE,
	role   TEXT COLLATE "C" NOT NULL,
	source TEXT COLLATE "C" NOT NULL,  -- local, or the provider that said so
	since  BIGINT NOT NULL,            -- the earliest keep their seats
	PRIMARY KEY ("user", role)
);

CREATE TABLE sessions (
	id      TEXT COLLATE "C" PRIMARY KEY,
	"user"  TEXT COLLATE "C" NOT NULL REFERENCES users(id) ON DELETE CASCADE,
	created BIGINT NOT NULL,
	seen    BIGINT NOT NULL,
	expires BIGINT NOT NULL,
	ended   BIGINT,  -- kept until it would have expired: gateways must know
	agent   TEXT COLLATE "C" NOT NULL DEFAULT '',
	addr    TEXT COLLATE "C" NOT NULL DEFAULT ''
);
CREATE INDEX sessions_user ON sessions("user");
CREATE INDEX sessions_expires ON sessions(expires);

-- What a browser holds for a session: one secret a host, kept as its SHA-256.
CREATE TABLE session_cookies (
	hash    TEXT COLLATE "C" PRIMARY KEY,
	session TEXT COLLATE "C" NOT NULL REFERENCES sessions(id) ON DELETE CASCADE,
	host    TEXT COLLATE "C" NOT NULL  -- auth or api
);
CREATE INDEX session_cookies_session ON session_cookies(session);

-- One-time codes that hand a session to another host.
CREATE TABLE handoffs (
	hash    TEXT COLLATE "C" PRIMARY KEY,
	session TEXT COLLATE "C" NOT NULL REFERENCES sessions(id) ON DELETE CASCADE,
	host    TEXT COLLATE "C" NOT NULL,
	expires BIGINT NOT NULL
);

CREATE TABLE tokens (
	id      TEXT COLLATE "C" PRIMARY KEY,
	"user"  TEXT COLLATE "C" NOT NULL REFERENCES users(id) ON DELETE CASCADE,
	name    TEXT COLLATE "C" NOT NULL,
	hash    TEXT COLLATE "C" NOT NULL UNIQUE,  -- SHA-256 of the secret
	scopes  TEXT COLLATE "C" NOT NULL,         -- JSON
	created BIGINT NOT NULL,
	expires BIGINT,
	used    BIGINT
);
CREATE INDEX tokens_user ON tokens("user");

-- Failed sign-ins, by person and address, and by address.
CREATE TABLE login_failures (
	key   TEXT COLLATE "C" PRIMARY KEY,
	count BIGINT NOT NULL,
	last  BIGINT NOT NULL,
	until BIGINT NOT NULL  -- nobody with this key may try before
);

CREATE TABLE signing_keys (
	id         TEXT COLLATE "C" PRIMARY KEY,
	use        TEXT COLLATE "C" NOT NULL,  -- session, oidc
	sealed     BYTEA NOT NULL,             -- PKCS #8
	created    BIGINT NOT NULL,
	not_before BIGINT NOT NULL,            -- signs from then on; published before
	retire_at  BIGINT                      -- is published until then
);

CREATE TABLE audit (
	seq    BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	at     BIGINT NOT NULL,
	actor  TEXT COLLATE "C" NOT NULL,
	addr   TEXT COLLATE "C" NOT NULL DEFAULT '',
	verb   TEXT COLLATE "C" NOT NULL,
	object TEXT COLLATE "C" NOT NULL DEFAULT '',
	result TEXT COLLATE "C" NOT NULL,  -- ok, or the kind of the error
	detail TEXT COLLATE "C" NOT NULL DEFAULT ''
);

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
