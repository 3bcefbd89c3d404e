-- +goose Up
-- The git repositories that apps are fetched from.
CREATE TABLE upstreams (
	app    TEXT COLLATE "C" PRIMARY KEY REFERENCES apps(id) ON DELETE CASCADE,
	url    TEXT COLLATE "C" NOT NULL,
	ref    TEXT COLLATE "C" NOT NULL,                  -- branch, tag or commit; empty = the default branch
	person TEXT COLLATE "C" NOT NULL,                  -- user name there, not here
	sealed BYTEA NOT NULL                              -- its token; empty = none
);

-- +goose Down
DROP TABLE upstreams;
