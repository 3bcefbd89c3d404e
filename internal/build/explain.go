package build

import (
	"fmt"
	"regexp"
	"strings"

	"slipway.dev/slipway/internal/engine"
)

var (
	boxes      = regexp.MustCompile(`[│╰├─▶╭×|]+`)
	spaces     = regexp.MustCompile(`\s+`)
	credential = regexp.MustCompile(`://[^/\s@]+@`)
)

// causes are what uv says, and what we say to it. The text is on one line.
var causes = []struct {
	find *regexp.Regexp
	say  string
}{
	{
		regexp.MustCompile(`[Bb]ecause (\S+) was not found in the (?:package registry|provided package locations)`),
		"there is no package named $1: look at its name in the requirements",
	},
	{
		regexp.MustCompile(`[Bb]ecause there (?:is no version of|are no versions of) (\S+?)(?:\[[^\]]*\])?==(\S+)`),
		"no version $2 of $1 exists: choose another in the requirements",
	},
	{
		regexp.MustCompile(`[Bb]ecause (only the following versions of .{1,300}?),? and (?:because )?you require (\S+)`),
		"no version satisfies $2: $1",
	},
	{
		regexp.MustCompile(`the current Python version \(([\d.]+)\) does not satisfy Python(\S+?),? and (\S+?)(?:==(\S+))? depends on`),
		"$3 $4 needs Python $2, and the app runs on $1: choose another version of $3, or another Python",
	},
	{
		regexp.MustCompile(`[Bb]ecause (.{1,400}?),? we can conclude that your requirements are unsatisfiable`),
		"the requirements contradict each other: $1",
	},
	{
		regexp.MustCompile(`[Nn]o interpreter found for (Python \S+)`),
		"$1 is not installed here: name another Python in runtime.txt",
	},
	{
		regexp.MustCompile("Failed to (?:build|download and build) `([^`]+)`"),
		"$1 has no ready-made wheel for this Python and cannot be compiled here: choose a version that has a wheel, or another Python",
	},
	{regexp.MustCompile(`No space left on device`), "the disk is full: the administrator must make room"},
	{
		regexp.MustCompile(`[Tt]he lockfile.{1,80}(?:needs to be updated|is missing|is outdated)|[Ff]ailed to parse.{0,40}uv\.lock`),
		"uv.lock does not belong to pyproject.toml: run uv lock and commit it",
	},
	{regexp.MustCompile(`[Hh]ash mismatch for .?([^\s.]+)`), "the download of $1 is not what the requirements say: its hash differs"},
	{
		regexp.MustCompile(`Couldn't parse requirement in .{0,60}? at position \d+ (.{1,120})|(?:error: )(Expected .{1,120}|Unexpected .{1,120})`),
		"the requirements cannot be read: $1$2",
	},
	{
		regexp.MustCompile(`(?i)HTTP status client error \((40[13])|status code:? (40[13])`),
		"the package index refused us ($1$2): look at its address and password",
	},
	{
		regexp.MustCompile(`(?i)dns error|failed to lookup address|error sending request|connection (?:refused|reset|closed)|operation timed out|network is unreachable|certificate|Failed to fetch`),
		"the package index cannot be reached from builds: look at the network, then push again",
	},
}

// Explain tells in plain words why a build failed. tail are the last lines of its log.
func (b *Builder) Explain(exit engine.Exit, tail []string) string {
	switch {
	case exit.OOM:
		return fmt.Sprintf("the build was killed: out of memory, with %d MB allowed", b.Memory>>20)
	case strings.Contains(exit.Message, "longer than"):
		return fmt.Sprintf("the build took longer than %s and was stopped", buildDeadline)
	case exit.Message != "":
		return "the build could not run: " + exit.Message
	}
	text := boxes.ReplaceAllString(strings.Join(tail, " "), " ")
	text = credential.ReplaceAllString(spaces.ReplaceAllString(text, " "), "://…@")
	for _, c := range causes {
		if m := c.find.FindStringSubmatchIndex(text); m != nil {
			return spaces.ReplaceAllString(strings.TrimRight(string(c.find.ExpandString(nil, c.say, text, m)), "., "), " ")
		}
	}
	if exit.Signal != 0 {
		return fmt.Sprintf("the build was killed by signal %d", exit.Signal)
	}
	for i := len(tail) - 1; i >= 0; i-- {
		if line := strings.TrimSpace(tail[i]); line != "" {
			return fmt.Sprintf("the build ended with status %d: %s", exit.Code, credential.ReplaceAllString(cut(line, 300), "://…@"))
		}
	}
	return fmt.Sprintf("the build ended with status %d and said nothing", exit.Code)
}
