-- +goose Up
-- Public keys with which people come to git over SSH.
CREATE TABLE ssh_keys (
	id          TEXT PRIMARY KEY,
	user        TEXT NOT NULL REFERENCES users(id) ON DELETE CASCADE,
	name        TEXT NOT NULL,
	type        TEXT NOT NULL,                -- ssh-ed25519 and so on
	key         TEXT NOT NULL,                -- as in authorized_keys, without the type
	fingerprint TEXT NOT NULL UNIQUE,         -- SHA256:…; a key is one person's
	created     INTEGER NOT NULL,
	used        INTEGER
) STRICT;
CREATE INDEX ssh_keys_user ON ssh_keys(user);

-- +goose Down
DROP TABLE ssh_keys;
