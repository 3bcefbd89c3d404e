-- +goose Up
CREATE TABLE apps (
	id          TEXT COLLATE "C" PRIMARY KEY,
	name        TEXT COLLATE "C" NOT NULL UNIQUE,  -- lower case; taken until nothing of the app is left
	title       TEXT COLLATE "C" NOT NULL DEFAULT '',
	description TEXT COLLATE "C" NOT NULL DEFAULT '',
	owner       TEXT COLLATE "C" NOT NULL REFERENCES users(id),
	access      TEXT COLLATE "C" NOT NULL,
	isolated    BOOLEAN NOT NULL DEFAULT false,
	in_portal   BOOLEAN NOT NULL DEFAULT false,
	health_path TEXT COLLATE "C" NOT NULL DEFAULT '',
	paused      BOOLEAN NOT NULL DEFAULT false,
	current     BIGINT NOT NULL DEFAULT 0,         -- release that serves; 0 = none
	sealed      BYTEA NOT NULL,                    -- DASH_SECRET_KEY
	deleting    BOOLEAN NOT NULL DEFAULT false,
	rev         BIGINT NOT NULL DEFAULT 1,
	created     BIGINT NOT NULL,
	updated     BIGINT NOT NULL
);
CREATE INDEX apps_owner ON apps(owner);

CREATE TABLE grants (
	app    TEXT COLLATE "C" NOT NULL REFERENCES apps(id) ON DELETE CASCADE,
	"user" TEXT COLLATE "C" NOT NULL REFERENCES users(id) ON DELETE CASCADE,
	role   TEXT COLLATE "C" NOT NULL,
	PRIMARY KEY (app, "user")
);
CREATE INDEX grants_user ON grants("user");

CREATE TABLE env_vars (
	scope  TEXT COLLATE "C" NOT NULL,  -- an app's id, or empty for every app
	key    TEXT COLLATE "C" NOT NULL,
	sealed BYTEA NOT NULL,
	secret BOOLEAN NOT NULL,           -- its value is never shown
	PRIMARY KEY (scope, key)
);

CREATE TABLE processes (
	app      TEXT COLLATE "C" NOT NULL REFERENCES apps(id) ON DELETE CASCADE,
	name     TEXT COLLATE "C" NOT NULL,
	replicas BIGINT NOT NULL,
	PRIMARY KEY (app, name)
);

CREATE TABLE deploys (
	id            TEXT COLLATE "C" PRIMARY KEY,
	app           TEXT COLLATE "C" NOT NULL REFERENCES apps(id) ON DELETE CASCADE,
	seq           BIGINT NOT NULL,
	cause         TEXT COLLATE "C" NOT NULL,
	commit_id     TEXT COLLATE "C" NOT NULL DEFAULT '',
	message       TEXT COLLATE "C" NOT NULL DEFAULT '',
	source        TEXT COLLATE "C" NOT NULL DEFAULT '',  -- layer with the app's files
	origin        BIGINT NOT NULL DEFAULT 0,             -- release whose artifacts are used again; 0 = they are built
	plan          TEXT COLLATE "C" NOT NULL DEFAULT '',  -- JSON: what detection found
	release       BIGINT NOT NULL DEFAULT 0,             -- that it made
	previous      BIGINT NOT NULL DEFAULT 0,             -- release that it took over from
	state         TEXT COLLATE "C" NOT NULL,
	reason        TEXT COLLATE "C" NOT NULL DEFAULT '',
	by            TEXT COLLATE "C" NOT NULL,
	canceling     BOOLEAN NOT NULL DEFAULT false,
	superseded_by TEXT COLLATE "C" NOT NULL DEFAULT '',
	deadline      BIGINT NOT NULL DEFAULT 0,             -- of the state
	started       BIGINT NOT NULL,
	ended         BIGINT,
	UNIQUE (app, seq)
);
CREATE INDEX deploys_open ON deploys(id) WHERE ended IS NULL;

CREATE TABLE deploy_steps (
	deploy  TEXT COLLATE "C" NOT NULL REFERENCES deploys(id) ON DELETE CASCADE,
	n       BIGINT NOT NULL,
	name    TEXT COLLATE "C" NOT NULL,
	detail  TEXT COLLATE "C" NOT NULL DEFAULT '',
	state   TEXT COLLATE "C" NOT NULL,
	started BIGINT NOT NULL,
	ended   BIGINT,
	PRIMARY KEY (deploy, name)
);

-- Never updated.
CREATE TABLE releases (
	app        TEXT COLLATE "C" NOT NULL REFERENCES apps(id) ON DELETE CASCADE,
	n          BIGINT NOT NULL,
	deploy     TEXT COLLATE "C" NOT NULL UNIQUE,  -- one deploy makes one release
	commit_id  TEXT COLLATE "C" NOT NULL DEFAULT '',
	message    TEXT COLLATE "C" NOT NULL DEFAULT '',
	source     TEXT COLLATE "C" NOT NULL,
	env        TEXT COLLATE "C" NOT NULL,
	plan       TEXT COLLATE "C" NOT NULL,         -- JSON: what detection found
	sealed     BYTEA NOT NULL,                    -- the environment of its processes, and their limits
	created    BIGINT NOT NULL,
	created_by TEXT COLLATE "C" NOT NULL,
	cause      TEXT COLLATE "C" NOT NULL,
	PRIMARY KEY (app, n)
);

-- +goose Down
DROP TABLE releases;
DROP TABLE deploy_steps;
DROP TABLE deploys;
DROP TABLE processes;
DROP TABLE env_vars;
DROP TABLE grants;
DROP TABLE apps;
