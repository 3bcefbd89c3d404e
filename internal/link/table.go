package link

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"time"
)

// defaultBeat is how often the hub says that it lives; a peer that is silent
// for patience beats is taken for dead.
const (
	defaultBeat = 2 * time.Second
	patience    = 3
)

// frame is one line of the stream. One without any part is a heartbeat.
type frame struct {
	Policy *Policy `json:"policy,omitempty"`
	Delta  *Delta  `json:"delta,omitempty"`
	Tokens *handed `json:"tokens,omitempty"`
}

// errGap says that a delta does not follow the table.
var errGap = errors.New("a version is missing between the table and the change")

// clone copies the table so far that entries may be set and deleted.
func (p *Policy) clone() *Policy {
	c := *p
	c.Routes = maps.Clone(p.Routes)
	c.People = maps.Clone(p.People)
	c.Revoked = maps.Clone(p.Revoked)
	c.Platform = maps.Clone(p.Platform)
	return &c
}

// with returns the table after d. The receiver stays as it is, for others
// decide by it at this moment; maps that d does not touch are shared.
func (p *Policy) with(d *Delta) (*Policy, error) {
	if d.Version != p.Version+1 {
		return nil, fmt.Errorf("%w: %d after %d", errGap, d.Version, p.Version)
	}
	c := *p
	c.Version = d.Version
	if d.Keys != nil {
		c.Keys = d.Keys
	}
	if d.JWKS != nil {
		c.JWKS = d.JWKS
	}
	if len(d.Routes) > 0 {
		c.Routes = maps.Clone(p.Routes)
		apply(&c.Routes, d.Routes)
	}
	if len(d.People) > 0 {
		c.People = maps.Clone(p.People)
		apply(&c.People, d.People)
	}
	if len(d.Revoked) > 0 {
		c.Revoked = maps.Clone(p.Revoked)
		if c.Revoked == nil {
			c.Revoked = d.Revoked
		}
		forgetExpired(c.Revoked)
		maps.Copy(c.Revoked, d.Revoked)
	}
	return &c, nil
}

func apply[K comparable, V any](m *map[K]V, changes map[K]*V) {
	if *m == nil {
		*m = map[K]V{}
	}
	for k, v := range changes {
		if v == nil {
			delete(*m, k)
		} else {
			(*m)[k] = *v
		}
	}
}

// readTable reads the last table and when the core was last heard.
func readTable(file string) (*Policy, time.Time, error) {
	data, err := os.ReadFile(filepath.Clean(file))
	if err != nil {
		return nil, time.Time{}, err
	}
	info, err := os.Stat(file)
	if err != nil {
		return nil, time.Time{}, err
	}
	var p Policy
	if err := json.Unmarshal(data, &p); err != nil {
		return nil, time.Time{}, fmt.Errorf("%s: %w", file, err)
	}
	if p.JWKS == nil {
		p.Epoch = "" // an older gateway left the keys out: a delta would not bring them
	}
	return &p, info.ModTime(), nil
}

// writeTable replaces the file whole. It does not wait for the disk: the
// table must outlive this process, not the machine, whose start makes a new one.
func writeTable(file string, p *Policy) error {
	data, err := json.Marshal(p)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(file), ".policy-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		os.Remove(f.Name()) // the first error is the one to tell
	}
	return err
}
