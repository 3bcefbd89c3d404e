-- +goose Up
-- Public keys with which people come to git over SSH.
CREATE TABLE ssh_keys (
	id          TEXT COLLATE "C" PRIMARY KEY,
	"user"      TEXT COLLATE "C" NOT NULL REFERENCES users(id) ON DELETE CASCADE,
	name        TEXT COLLATE "C" NOT NULL,
	type        TEXT COLLATE "C" NOT NULL,         -- ssh-ed25519 and so on
	key         TEXT COLLATE "C" NOT NULL,         -- as in authorized_keys, without the type
	fingerprint TEXT COLLATE "C" NOT NULL UNIQUE,  -- SHA256:…; a key is one person's
	created     BIGINT NOT NULL,
	used        BIGINT
);
CREATE INDEX ssh_keys_user ON ssh_keys("user");

-- +goose Down
DROP TABLE ssh_keys;
