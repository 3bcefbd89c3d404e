-- +goose Up
-- The git repositories that apps are fetched from.
CREATE TABLE upstreams (
	app    TEXT PRIMARY KEY REFERENCES apps(id) ON DELETE CASCADE,
	url    TEXT NOT NULL,
	ref    TEXT NOT NULL,                  -- branch, tag or commit; empty = the default branch
	person TEXT NOT NULL,                  -- user name there, not here
	sealed BLOB NOT NULL                   -- its token; empty = none
) STRICT, WITHOUT ROWID;

-- +goose Down
DROP TABLE upstreams;
