-- +goose Up
ALTER TABLE apps ADD COLUMN tags TEXT NOT NULL DEFAULT '[]';        -- JSON
ALTER TABLE apps ADD COLUMN rank INTEGER NOT NULL DEFAULT 0;        -- in the Portal; 0 = last
ALTER TABLE apps ADD COLUMN contact TEXT NOT NULL DEFAULT '';
ALTER TABLE apps ADD COLUMN thumbnail TEXT NOT NULL DEFAULT '';     -- version of its picture

CREATE TABLE pictures (
	owner   TEXT PRIMARY KEY,              -- an app's id, or logo
	type    TEXT NOT NULL,
	version TEXT NOT NULL,                 -- of the content
	data    BLOB NOT NULL
) STRICT;

CREATE TABLE favourites (
	person TEXT NOT NULL REFERENCES users(id) ON DELETE CASCADE,
	app    TEXT NOT NULL REFERENCES apps(id) ON DELETE CASCADE,
	PRIMARY KEY (person, app)
) STRICT, WITHOUT ROWID;
CREATE INDEX favourites_app ON favourites(app);

-- Who opened what, and when last.
CREATE TABLE opens (
	person TEXT NOT NULL REFERENCES users(id) ON DELETE CASCADE,
	app    TEXT NOT NULL REFERENCES apps(id) ON DELETE CASCADE,
	last   INTEGER NOT NULL,
	PRIMARY KEY (person, app)
) STRICT, WITHOUT ROWID;
CREATE INDEX opens_app ON opens(app);

CREATE TABLE app_opens (
	app   TEXT PRIMARY KEY REFERENCES apps(id) ON DELETE CASCADE,
	last  INTEGER NOT NULL,
	count INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Measurements by app (empty = all), length of the step in seconds, and begin of the step.
CREATE TABLE measurements (
	app  TEXT NOT NULL,
	step INTEGER NOT NULL,
	at   INTEGER NOT NULL,
	data TEXT NOT NULL,                    -- JSON
	PRIMARY KEY (app, step, at)
) STRICT, WITHOUT ROWID;
CREATE INDEX measurements_age ON measurements(step, at);

-- Who used an app (empty = any) within an hour.
CREATE TABLE viewers (
	app    TEXT NOT NULL,
	at     INTEGER NOT NULL,               -- begin of the hour
	person TEXT NOT NULL,
	PRIMARY KEY (app, at, person)
) STRICT, WITHOUT ROWID;
CREATE INDEX viewers_age ON viewers(at);

CREATE TABLE settings (
	name  TEXT PRIMARY KEY,
	value TEXT NOT NULL                    -- JSON
) STRICT, WITHOUT ROWID;

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
