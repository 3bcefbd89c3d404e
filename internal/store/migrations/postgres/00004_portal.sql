-- +goose Up
ALTER TABLE apps ADD COLUMN tags TEXT COLLATE "C" NOT NULL DEFAULT '[]';        -- JSON
ALTER TABLE apps ADD COLUMN rank BIGINT NOT NULL DEFAULT 0;        -- in the Portal; 0 = last
ALTER TABLE apps ADD COLUMN contact TEXT COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE apps ADD COLUMN thumbnail TEXT COLLATE "C" NOT NULL DEFAULT '';     -- version of its picture

CREATE TABLE pictures (
	owner   TEXT COLLATE "C" PRIMARY KEY,              -- an app's id, or logo
	type    TEXT COLLATE "C" NOT NULL,
	version TEXT COLLATE "C" NOT NULL,                 -- of the content
	data    BYTEA NOT NULL
);

CREATE TABLE favourites (
	person TEXT COLLATE "C" NOT NULL REFERENCES users(id) ON DELETE CASCADE,
	app    TEXT COLLATE "C" NOT NULL REFERENCES apps(id) ON DELETE CASCADE,
	PRIMARY KEY (person, app)
);
CREATE INDEX favourites_app ON favourites(app);

-- Who opened what, and when last.
CREATE TABLE opens (
	person TEXT COLLATE "C" NOT NULL REFERENCES users(id) ON DELETE CASCADE,
	app    TEXT COLLATE "C" NOT NULL REFERENCES apps(id) ON DELETE CASCADE,
	last   BIGINT NOT NULL,
	PRIMARY KEY (person, app)
);
CREATE INDEX opens_app ON opens(app);

CREATE TABLE app_opens (
	app   TEXT COLLATE "C" PRIMARY KEY REFERENCES apps(id) ON DELETE CASCADE,
	last  BIGINT NOT NULL,
	count BIGINT NOT NULL
);

-- Measurements by app (empty = all), length of the step in seconds, and begin of the step.
CREATE TABLE measurements (
	app  TEXT COLLATE "C" NOT NULL,
	step BIGINT NOT NULL,
	at   BIGINT NOT NULL,
	data TEXT COLLATE "C" NOT NULL,                    -- JSON
	PRIMARY KEY (app, step, at)
);
CREATE INDEX measurements_age ON measurements(step, at);

-- Who used an app (empty = any) within an hour.
CREATE TABLE viewers (
	app    TEXT COLLATE "C" NOT NULL,
	at     BIGINT NOT NULL,               -- begin of the hour
	person TEXT COLLATE "C" NOT NULL,
	PRIMARY KEY (app, at, person)
);
CREATE INDEX viewers_age ON viewers(at);

CREATE TABLE settings (
	name  TEXT COLLATE "C" PRIMARY KEY,
	value TEXT COLLATE "C" NOT NULL                    -- JSON
);

CREATE INDEX audit_at ON audit(at);

-- +goose Down
DROP INDEX audit_at;
DROP TABLE settings;
DROP TABLE viewers;
DROP TABLE measurements;
DROP TABLE app_opens;
DROP TABLE opens;
DROP TABLE favourites;
DROP TABLE pictures;
ALTER TABLE apps DROP COLUMN thumbnail;
ALTER TABLE apps DROP COLUMN contact;
ALTER TABLE apps DROP COLUMN rank;
ALTER TABLE apps DROP COLUMN tags;
