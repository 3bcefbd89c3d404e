package gitd

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"slipway.dev/slipway/internal/base/errs"
)

// Commit is a commit of a repository.
type Commit struct {
	ID      string
	Author  string
	At      time.Time
	Subject string
}

// maxHistory is how many bytes of a history are read.
const maxHistory = 1 << 20

var commitID = regexp.MustCompile(`^[0-9a-f]{7,64}$`)

// History lists the commits that lead to one and not to another, newest first;
// from may be empty. It asks for no right. What the repository does not have
// leads to none.
func (s *Server) History(ctx context.Context, repo, from, to string, limit int) ([]Commit, error) {
	if !repoName.MatchString(repo) || strings.Contains(repo, "..") {
		return nil, errs.Invalid("%q is no name of a repository", repo)
	}
	dir := filepath.Join(s.Root, repo+".git")
	if _, err := os.Stat(filepath.Join(dir, "HEAD")); err != nil || !commitID.MatchString(to) {
		return []Commit{}, nil
	}
	args := []string{"log", "-z", "-n", strconv.Itoa(limit), "--format=%H%x1f%an%x1f%ct%x1f%s", to}
	if commitID.MatchString(from) {
		args = append(args, "^"+from)
	}
	text, err := beginning(s.git(ctx, dir, append(args, "--")...), maxHistory)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	out := []Commit{}
	if err != nil {
		return out, nil // such as for files that were uploaded
	}
	for line := range strings.SplitSeq(strings.TrimRight(string(text), "\x00"), "\x00") {
		f := strings.SplitN(line, "\x1f", 4)
		if len(f) != 4 {
			continue
		}
		seconds, err := strconv.ParseInt(f[2], 10, 64)
		if err != nil {
			continue
		}
		out = append(out, Commit{f[0], strings.ToValidUTF8(f[1], "�"), time.Unix(seconds, 0).UTC(), strings.ToValidUTF8(f[3][:min(len(f[3]), maxSubject)], "�")})
	}
	return out, nil
}
