package apps

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/control/access"
	"slipway.dev/slipway/internal/store"
)

const (
	maxVars  = 500
	maxValue = 64 << 10
)

var (
	envKey = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)

	// reservedKeys are the platform's: an app that could set them could break
	// its own sign-in, or be reached where nobody looks.
	reservedKeys = []string{
		"PORT", "HOST", "DASH_APP_NAME", "DASH_DOMAIN_BASE", "DASH_ENTERPRISE_ENV", "DASH_JWKS_URL", "DASH_USER_INFO_URL", "DASH_AUD",
		"DASH_LOGOUT_URL", "DASH_SECRET_KEY", "HOME", "USER", "LOGNAME", "PATH", "TMPDIR",
	}
)

// envScope finds out whose variables are meant: an app's, or with an empty
// name those of all apps.
func (s *Service) envScope(tx *store.Tx, a slipway.Actor, write bool, name string) (string, error) {
	verb, global := access.ReadApp, access.ReadGlobal
	if write {
		verb, global = access.ManageApp, access.WriteGlobal
	}
	if name == "" {
		return "", access.Check(a, global, access.Platform())
	}
	app, err := s.find(tx, a, verb, name)
	return string(app.ID), err
}

func envPurpose(scope, key string) string { return "env:" + scope + ":" + key }

// Env lists an app's variables, or with an empty name those of every app.
// Secret ones have no value here.
func (s *Service) Env(ctx context.Context, name string) ([]slipway.EnvVar, error) {
	var out []slipway.EnvVar
	err := s.DB.View(ctx, func(tx *store.Tx) error {
		out = []slipway.EnvVar{}
		scope, err := s.envScope(tx, slipway.ActorFrom(ctx), false, name)
		if err != nil {
			return err
		}
		vars, err := s.openVars(tx, scope)
		for _, v := range vars {
			if v.Secret {
				v.Value = ""
			}
			out = append(out, v)
		}
		return err
	})
	return out, err
}

func (s *Service) openVars(tx *store.Tx, scope string) ([]slipway.EnvVar, error) {
	rows, err := tx.EnvVars(scope)
	if err != nil {
		return nil, err
	}
	out := make([]slipway.EnvVar, len(rows))
	for i, v := range rows {
		text, err := s.Box.Open(v.Sealed, envPurpose(scope, v.Key))
		if err != nil {
			return nil, fmt.Errorf("variable %s: %w", v.Key, err)
		}
		out[i] = slipway.EnvVar{Key: v.Key, Value: string(text), Secret: v.Secret}
	}
	return out, nil
}

// appVars are today's variables of an app: those of every app, and its own.
func (s *Service) appVars(tx *store.Tx, app slipway.AppID) (map[string]string, error) {
	out := map[string]string{}
	for _, scope := range []string{"", string(app)} {
		vars, err := s.openVars(tx, scope)
		if err != nil {
			return nil, err
		}
		for _, v := range vars {
			out[v.Key] = v.Value
		}
	}
	return out, nil
}

// SetEnv sets variables. They reach an app with its next release.
func (s *Service) SetEnv(ctx context.Context, name string, vars []slipway.EnvVar) error {
	var fields []errs.Field
	keys := make([]string, len(vars))
	for i, v := range vars {
		keys[i] = v.Key
		if why := wrongVar(v); why != "" {
			fields = append(fields, errs.Field{Name: v.Key, Message: why})
		}
	}
	return s.changeEnv(ctx, name, "env.set", keys, func(tx *store.Tx, scope string) error {
		if err := errs.Fields("these variables cannot be set", fields...); err != nil {
			return err
		}
		for _, v := range vars {
			row := store.EnvVar{Key: v.Key, Sealed: s.Box.Seal([]byte(v.Value), envPurpose(scope, v.Key)), Secret: v.Secret}
			if err := tx.SetEnvVar(scope, row); err != nil {
				return err
			}
		}
		all, err := tx.EnvVars(scope)
		if err == nil && len(all) > maxVars {
			return errs.Exhausted("there would be %d variables: at most %d", len(all), maxVars)
		}
		return err
	})
}

func wrongVar(v slipway.EnvVar) string {
	switch {
	case !envKey.MatchString(v.Key):
		return "a key holds letters, digits and _, and does not start with a digit"
	case slices.Contains(reservedKeys, v.Key):
		return "is the platform's own"
	case len(v.Value) > maxValue:
		return fmt.Sprintf("its value is longer than %d bytes", maxValue)
	case strings.ContainsRune(v.Value, 0):
		return "its value has a NUL byte"
	}
	return ""
}

// UnsetEnv takes variables away; NotFound when one is not set.
func (s *Service) UnsetEnv(ctx context.Context, name string, keys []string) error {
	return s.changeEnv(ctx, name, "env.unset", keys, func(tx *store.Tx, scope string) error {
		for _, k := range keys {
			had, err := tx.DeleteEnvVar(scope, k)
			if err != nil {
				return err
			}
			if !had {
				return errs.NotFound("there is no variable %q", k)
			}
		}
		return nil
	})
}

func (s *Service) changeEnv(ctx context.Context, name, what string, keys []string, fn func(tx *store.Tx, scope string) error) error {
	actor := slipway.ActorFrom(ctx)
	return s.DB.Update(ctx, func(tx *store.Tx) error {
		scope, err := s.envScope(tx, actor, true, name)
		if err != nil {
			return err
		}
		if err := fn(tx, scope); err != nil {
			return err
		}
		return s.audit(tx, actor, what, name, strings.Join(keys, " "))
	})
}
