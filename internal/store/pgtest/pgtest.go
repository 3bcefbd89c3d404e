// Package pgtest runs a real PostgreSQL for tests: an instance of its own in a
// temporary folder, as an unprivileged user, from Debian's packages. It is
// fast and forgets everything.
package pgtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"slipway.dev/slipway/internal/base/loop"
)

// Options of Start. The zero value is a server that only this machine's Unix
// socket reaches, without a password.
type Options struct {
	// Listen is an IP address on which a free port is served too, such as for
	// pods. Then URL leads there.
	Listen string
	// Password of the user postgres. Empty = nobody is asked for one.
	Password string
}

// Server is a running PostgreSQL.
type Server struct {
	options Options
	dir     string // data and socket
	bin     string
	port    int
	as      *syscall.Credential
	cmd     *exec.Cmd
	out     bytes.Buffer
	made    atomic.Int64
}

// Start makes and starts a server that lives as long as the test.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	s, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// New makes and starts a server; Close ends and removes it.
func New(ctx context.Context, o Options) (*Server, error) {
	s := &Server{options: o, port: 5432}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if len(found) == 0 {
		return nil, errors.New("there is no PostgreSQL on this machine: tools/setup test installs it")
	}
	s.bin = filepath.Dir(found[len(found)-1])
	var err error
	if s.dir, err = os.MkdirTemp("", "pg-"); err != nil { // short: a socket's path has little room
		return nil, err
	}
	if os.Getuid() == 0 { // it refuses to run as root
		u, err := user.Lookup("postgres")
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		uid, _ := strconv.ParseUint(u.Uid, 10, 32)
		gid, _ := strconv.ParseUint(u.Gid, 10, 32)
		s.as = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(s.dir, int(uid), int(gid)); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	if o.Listen != "" {
		if s.port, err = freePort(ctx, o.Listen); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	if err := s.init(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if err := s.Start(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func freePort(ctx context.Context, addr string) (int, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(addr, "0"))
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func (s *Server) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, name), args...)
	cmd.Dir = s.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8", "TZ=UTC", "HOME=" + s.dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.as}
	return cmd
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) init(ctx context.Context) error {
	args := []string{"-D", s.data(), "-U", "postgres", "-E", "UTF8", "--no-sync", "--no-instructions", "-A", "trust"}
	if s.options.Password != "" {
		file := filepath.Join(s.dir, "password")
		if err := os.WriteFile(file, []byte(s.options.Password), 0o644); err != nil { // the folder is closed to others
			return err
		}
		args = append(args[:len(args)-1], "scram-sha-256", "--pwfile", file)
	}
	out, err := s.command(ctx, "initdb", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	if s.options.Listen == "" {
		return nil
	}
	hba, err := os.OpenFile(filepath.Join(s.data(), "pg_hba.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(hba, "host all all all %s\n", args[9])
	return errors.Join(err, hba.Close())
}

// Start starts the server after Stop, and waits until it answers.
func (s *Server) Start(ctx context.Context) error {
	s.out.Reset()
	s.cmd = s.command(context.WithoutCancel(ctx), "postgres", "-D", s.data(), "-k", s.dir, "-p", strconv.Itoa(s.port),
		"-c", "listen_addresses="+s.options.Listen, "-c", "fsync=off", "-c", "full_page_writes=off",
		"-c", "max_connections=200", "-c", "shared_buffers=32MB", "-c", "autovacuum=off")
	s.cmd.Stdout, s.cmd.Stderr = &s.out, &s.out
	s.cmd.SysProcAttr.Pdeathsig = syscall.SIGQUIT // with the test, whatever ends it
	if err := s.cmd.Start(); err != nil {
		s.cmd = nil
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	wait := loop.Backoff{Min: 10 * time.Millisecond, Max: 100 * time.Millisecond}
	for {
		conn, err := s.connect(ctx, "postgres")
		if err == nil {
			return conn.Close(ctx)
		}
		if wait.Wait(ctx) != nil {
			return fmt.Errorf("PostgreSQL does not start: %w", errors.Join(err, s.Stop(), errors.New(s.out.String())))
		}
	}
}

// Stop ends the server at once, as a machine's restart does: connections
// break. Start goes on with its data.
func (s *Server) Stop() error { return s.end(syscall.SIGINT) }

// Kill ends all of it without a farewell.
func (s *Server) Kill() error { return s.end(syscall.SIGQUIT) }

func (s *Server) end(sig os.Signal) error {
	if s.cmd == nil {
		return nil
	}
	_ = s.cmd.Process.Signal(sig)
	_ = s.cmd.Wait() // how it ends is of no concern
	s.cmd = nil
	return nil
}

// Close ends the server and removes its data.
func (s *Server) Close() error { return errors.Join(s.Stop(), os.RemoveAll(s.dir)) }

// URL leads to a database as the user postgres. The password is not in it.
func (s *Server) URL(database string) string {
	u := url.URL{Scheme: "postgres", User: url.User("postgres"), Path: "/" + database}
	if s.options.Listen != "" {
		u.Host = net.JoinHostPort(s.options.Listen, strconv.Itoa(s.port))
		u.RawQuery = "sslmode=disable"
	} else {
		u.RawQuery = url.Values{"host": {s.dir}}.Encode()
	}
	return u.String()
}

// Database makes a database and returns its URL: an empty one, or a copy of
// template, to which nobody may be connected. Its text sorts by the rules of a
// language, as an administrator may have it.
func (s *Server) Database(t testing.TB, template string) (name, address string) {
	t.Helper()
	name = "test" + strconv.FormatInt(s.made.Add(1), 10)
	query := `CREATE DATABASE ` + name + ` TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'`
	if template != "" {
		query = `CREATE DATABASE ` + name + ` TEMPLATE ` + template + ` STRATEGY file_copy`
	}
	s.Exec(t, "postgres", query)
	return name, s.URL(name)
}

func (s *Server) connect(ctx context.Context, database string) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig(s.URL(database))
	if err != nil {
		return nil, err
	}
	cfg.Password = s.options.Password
	return pgx.ConnectConfig(ctx, cfg)
}

// Exec runs a statement in a database.
func (s *Server) Exec(t testing.TB, database, query string) {
	t.Helper()
	conn, err := s.connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	if _, err := conn.Exec(t.Context(), query); err != nil {
		t.Fatal(err)
	}
}

// Query returns the texts that a query of one column finds.
func (s *Server) Query(t testing.TB, database, query string) []string {
	t.Helper()
	conn, err := s.connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	rows, err := conn.Query(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return out
}
