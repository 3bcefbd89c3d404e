-- +goose Up
-- What has changed. Numbers are given before transactions end: only those of
-- transactions older than all that still run are in order.
CREATE TABLE outbox (
	seq   BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	xid   BIGINT NOT NULL DEFAULT pg_current_xact_id()::text::bigint,
	topic TEXT COLLATE "C" NOT NULL,
	key   TEXT COLLATE "C" NOT NULL,
	at    BIGINT NOT NULL
);
CREATE INDEX outbox_order ON outbox(xid, seq);

CREATE TABLE leases (
	name   TEXT COLLATE "C" PRIMARY KEY,
	holder TEXT COLLATE "C" NOT NULL,
	until  BIGINT NOT NULL,           -- by the database's clock
	fence  BIGINT NOT NULL,           -- grows with every holder
	UNIQUE (name, fence)              -- so that FOR KEY SHARE holds up a new holder, and no renewal
);

-- +goose Down
DROP TABLE leases;
DROP TABLE outbox;
