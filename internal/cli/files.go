package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/base/errs"
)

func (p *program) filesCommand() *cobra.Command {
	return group("files", "See and change the files in an app's ~/mount",
		p.filesList(), p.filesGet(), p.filesPut(), p.filesMkdir(), p.filesDelete())
}

// inMount makes a path below ~/mount of what a person types.
func inMount(s string) string {
	s = strings.TrimPrefix(strings.TrimPrefix(s, "~/mount"), "./")
	return strings.Trim(s, "/")
}

func (p *program) filesList() *cobra.Command {
	return &cobra.Command{
		Use: "list APP [FOLDER]", Aliases: []string{"ls"}, Short: "List a folder of an app's ~/mount", Args: wants(1, 2),
		Long:    "List a folder of an app's ~/mount. Files are reached through a replica of the app: one must run.",
		Example: examples("slipway files list iris", "slipway files list iris data/2024 --json"),
		RunE: p.with(func(c *cobra.Command, api *client.Client, args []string) error {
			list, err := api.Files(c.Context(), args[0], inMount(strings.Join(args[1:], "")))
			if err != nil {
				return err
			}
			return p.print(list, func() {
				rows := [][]string{}
				for _, f := range list {
					name, size := f.Name, ""
					switch f.Kind {
					case "folder":
						name += "/"
					case "file":
						size = byteSize(f.Size)
					}
					rows = append(rows, []string{name, size, when(f.Modified)})
				}
				p.table([]string{"NAME", "SIZE", "CHANGED"}, rows)
			})
		}),
	}
}

func byteSize(n int64) string {
	v, unit := float64(n), "B"
	for _, next := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if v < 1024 {
			break
		}
		v, unit = v/1024, next
	}
	if unit == "B" {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", v, unit)
}

func (p *program) filesGet() *cobra.Command {
	return &cobra.Command{
		Use: "get APP PATH [FILE]", Short: "Download a file of an app's ~/mount", Args: wants(2, 3),
		Long:    "Download a file of an app's ~/mount, by default to its name in this folder; - is the standard output.",
		Example: examples("slipway files get iris data/today.csv", "slipway files get iris data/today.csv - | head"),
		RunE: p.with(func(c *cobra.Command, api *client.Client, args []string) error {
			from := inMount(args[1])
			to := path.Base(from)
			if len(args) == 3 {
				to = args[2]
			}
			if to == "-" {
				_, err := api.GetFile(c.Context(), args[0], from, p.Out)
				return err
			}
			if i, err := os.Stat(to); err == nil && i.IsDir() {
				to = filepath.Join(to, path.Base(from))
			}
			n, err := save(to, func(w io.Writer) (int64, error) { return api.GetFile(c.Context(), args[0], from, w) })
			if err != nil {
				return err
			}
			return p.print(map[string]any{"app": args[0], "path": from, "file": to, "size": n}, func() { p.say("%s: %s", to, byteSize(n)) })
		}),
	}
}

// save makes a file whole or not at all.
func save(name string, fill func(io.Writer) (int64, error)) (n int64, err error) {
	f, err := os.CreateTemp(filepath.Dir(name), ".slipway-")
	if err != nil {
		return 0, errs.Wrap(err, errs.KindInvalid, "cannot write to the folder of %s", name)
	}
	n, err = fill(f)
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(f.Name()))
	}
	return n, err
}

func (p *program) filesPut() *cobra.Command {
	return &cobra.Command{
		Use: "put APP FILE [PATH]", Short: "Upload a file into an app's ~/mount", Args: wants(2, 3),
		Long: `Upload a file into an app's ~/mount, by default under its own name; a PATH that
ends with / is a folder, and the FILE - is the standard input. A file of that
name is replaced at once, when all has come. At most 4 GiB.`,
		Example: examples("slipway files put iris today.csv data/", "pg_dump sales | slipway files put iris - sales.sql"),
		RunE: p.with(func(c *cobra.Command, api *client.Client, args []string) error {
			to := path.Base(filepath.ToSlash(args[1]))
			switch {
			case len(args) == 3 && (strings.HasSuffix(args[2], "/") || inMount(args[2]) == ""):
				to = path.Join(inMount(args[2]), to)
			case len(args) == 3:
				to = inMount(args[2])
			case args[1] == "-":
				return usagef("name the file that the standard input becomes: slipway files put %s - PATH", args[0])
			}
			if err := putFile(c.Context(), api, p.In, args[0], args[1], to); err != nil {
				return err
			}
			return p.print(map[string]string{"app": args[0], "path": to}, func() { p.say("~/mount/%s is there.", to) })
		}),
	}
}

func putFile(ctx context.Context, api *client.Client, in io.Reader, app, from, to string) error {
	if from == "-" {
		return api.PutFile(ctx, app, to, in, -1)
	}
	f, err := os.Open(from)
	if err != nil {
		return errs.Wrap(err, errs.KindInvalid, "cannot read %s", from)
	}
	defer f.Close()
	i, err := f.Stat()
	if err != nil || i.IsDir() {
		return errs.Wrap(err, errs.KindInvalid, "%s is no file: folders go one file at a time", from)
	}
	return api.PutFile(ctx, app, to, f, i.Size())
}

func (p *program) filesMkdir() *cobra.Command {
	return &cobra.Command{
		Use: "mkdir APP FOLDER", Short: "Make a folder in an app's ~/mount", Args: wants(2, 2),
		RunE: p.with(func(c *cobra.Command, api *client.Client, args []string) error {
			folder := inMount(args[1])
			if err := api.MakeFolder(c.Context(), args[0], folder); err != nil {
				return err
			}
			return p.print(map[string]string{"app": args[0], "path": folder}, func() { p.say("~/mount/%s is there.", folder) })
		}),
	}
}

func (p *program) filesDelete() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use: "delete APP PATH", Aliases: []string{"rm"}, Short: "Delete a file of an app's ~/mount, or a folder with all that is in it", Args: wants(2, 2),
		Example: examples("slipway files delete iris data/old.csv", "slipway files delete iris data --yes"),
		RunE: p.with(func(c *cobra.Command, api *client.Client, args []string) error {
			what := inMount(args[1])
			if !yes {
				answer, asked := p.ask(fmt.Sprintf("~/mount/%s of %s, with all that is in it, cannot be brought back. Delete it? [y/N] ", clean(what), args[0]))
				if !asked || !strings.HasPrefix(strings.ToLower(answer), "y") {
					return usagef("not deleted: give --yes to delete ~/mount/%s of %s", what, args[0])
				}
			}
			if err := api.DeleteFile(c.Context(), args[0], what); err != nil {
				return err
			}
			return p.print(map[string]string{"app": args[0], "deleted": what}, func() { p.say("Deleted ~/mount/%s.", what) })
		}),
	}
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return c
}
