package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Reference returns docs/cli.md: every client command with its flags.
func Reference() string {
	var b strings.Builder
	p := &program{}
	root := p.root(nil)
	b.WriteString("# Command line\n\n<!-- Made from the code by `go generate ./internal/cli`. Do not edit. -->\n\n```\n" + root.Long + "\n```\n\n")
	b.WriteString("Every command below also takes `--json`, `--host ADDRESS` and `--ca-file FILE`. Shell completion: `slipway completion --help`.\n")
	for _, c := range root.Commands() {
		if c.GroupID == "client" {
			reference(&b, c)
		}
	}
	return b.String()
}

func reference(b *strings.Builder, c *cobra.Command) {
	if !holdsOthers(c) {
		use := strings.TrimSuffix(c.UseLine(), " [flags]")
		fmt.Fprintf(b, "\n## %s\n\n%s.\n\n```\n%s\n```\n", c.CommandPath(), c.Short, use)
		if c.Long != "" {
			fmt.Fprintf(b, "\n%s\n", c.Long)
		}
		rows := ""
		c.NonInheritedFlags().VisitAll(func(f *pflag.Flag) {
			if f.Name == "json" || f.Name == "host" || f.Name == "ca-file" || f.Name == "help" {
				return
			}
			name := "--" + f.Name
			if f.Shorthand != "" {
				name = "-" + f.Shorthand + ", " + name
			}
			def := ""
			if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "[]" {
				def = " (default `" + strings.Trim(f.DefValue, "[]") + "`)"
			}
			rows += fmt.Sprintf("| `%s` | %s%s |\n", name, f.Usage, def)
		})
		if rows != "" {
			b.WriteString("\n| flag | |\n|---|---|\n" + rows)
		}
		if c.Example != "" {
			b.WriteString("\n```sh\n")
			for line := range strings.SplitSeq(c.Example, "\n") {
				b.WriteString(strings.TrimPrefix(line, "  ") + "\n")
			}
			b.WriteString("```\n")
		}
	}
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() && sub.Name() != "help" {
			reference(b, sub)
		}
	}
}

// holdsOthers tells a command that only groups others: it takes no argument.
func holdsOthers(c *cobra.Command) bool { return c.HasSubCommands() && !strings.Contains(c.Use, " ") }
