-- +goose Up
CREATE TABLE apps (
	id          TEXT PRIMARY KEY,
	name        TEXT NOT NULL UNIQUE,          -- lower case; taken until nothing of the app is left
	title       TEXT NOT NULL DEFAULT '',
	description TEXT NOT NULL DEFAULT '',
	owner       TEXT NOT NULL REFERENCES users(id),
	access      TEXT NOT NULL,
	isolated    INTEGER NOT NULL DEFAULT 0,
	in_portal   INTEGER NOT NULL DEFAULT 0,
	health_path TEXT NOT NULL DEFAULT '',
	paused      INTEGER NOT NULL DEFAULT 0,
	current     INTEGER NOT NULL DEFAULT 0,    -- release that serves; 0 = none
	sealed      BLOB NOT NULL,                 -- DASH_SECRET_KEY
	deleting    INTEGER NOT NULL DEFAULT 0,
	rev         INTEGER NOT NULL DEFAULT 1,
	created     INTEGER NOT NULL,
	updated     INTEGER NOT NULL
) STRICT;
CREATE INDEX apps_owner ON apps(owner);

CREATE TABLE grants (
	app  TEXT NOT NULL REFERENCES apps(id) ON DELETE CASCADE,
	user TEXT NOT NULL REFERENCES users(id) ON DELETE CASCADE,
	role TEXT NOT NULL,
	PRIMARY KEY (app, user)
) STRICT, WITHOUT ROWID;
CREATE INDEX grants_user ON grants(user);

CREATE TABLE env_vars (
	scope  TEXT NOT NULL,                      -- an app's id, or empty for every app
	key    TEXT NOT NULL,
	sealed BLOB NOT NULL,
	secret INTEGER NOT NULL,                   -- its value is never shown
	PRIMARY KEY (scope, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE processes (
	app      TEXT NOT NULL REFERENCES apps(id) ON DELETE CASCADE,
	name     TEXT NOT NULL,
	replicas INTEGER NOT NULL,
	PRIMARY KEY (app, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE deploys (
	id            TEXT PRIMARY KEY,
	app           TEXT NOT NULL REFERENCES apps(id) ON DELETE CASCADE,
	seq           INTEGER NOT NULL,
	cause         TEXT NOT NULL,
	commit_id     TEXT NOT NULL DEFAULT '',
	message       TEXT NOT NULL DEFAULT '',
	source        TEXT NOT NULL DEFAULT '',    -- layer with the app's files
	origin        INTEGER NOT NULL DEFAULT 0,  -- release whose artifacts are used again; 0 = they are built
	plan          TEXT NOT NULL DEFAULT '',    -- JSON: what detection found
	release       INTEGER NOT NULL DEFAULT 0,  -- that it made
	previous      INTEGER NOT NULL DEFAULT 0,  -- release that it took over from
	state         TEXT NOT NULL,
	reason        TEXT NOT NULL DEFAULT '',
	by            TEXT NOT NULL,
	canceling     INTEGER NOT NULL DEFAULT 0,
	superseded_by TEXT NOT NULL DEFAULT '',
	deadline      INTEGER NOT NULL DEFAULT 0,  -- of the state
	started       INTEGER NOT NULL,
	ended         INTEGER,
	UNIQUE (app, seq)
) STRICT;
CREATE INDEX deploys_open ON deploys(id) WHERE ended IS NULL;

CREATE TABLE deploy_steps (
	deploy  TEXT NOT NULL REFERENCES deploys(id) ON DELETE CASCADE,
	n       INTEGER NOT NULL,
	name    TEXT NOT NULL,
	detail  TEXT NOT NULL DEFAULT '',
	state   TEXT NOT NULL,
	started INTEGER NOT NULL,
	ended   INTEGER,
	PRIMARY KEY (deploy, name)
) STRICT, WITHOUT ROWID;

-- Never updated.
CREATE TABLE releases (
	app        TEXT NOT NULL REFERENCES apps(id) ON DELETE CASCADE,
	n          INTEGER NOT NULL,
	deploy     TEXT NOT NULL UNIQUE,           -- one deploy makes one release
	commit_id  TEXT NOT NULL DEFAULT '',
	message    TEXT NOT NULL DEFAULT '',
	source     TEXT NOT NULL,
	env        TEXT NOT NULL,
	plan       TEXT NOT NULL,                  -- JSON: what detection found
	sealed     BLOB NOT NULL,                  -- the environment of its processes, and their limits
	created    INTEGER NOT NULL,
	created_by TEXT NOT NULL,
	cause      TEXT NOT NULL,
	PRIMARY KEY (app, n)
) STRICT, WITHOUT ROWID;

-- +goose Down
DROP TABLE releases;
DROP TABLE deploy_steps;
DROP TABLE deploys;
DROP TABLE processes;
DROP TABLE env_vars;
DROP TABLE grants;
DROP TABLE apps;
