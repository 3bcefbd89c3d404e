package cli

import (
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/base/errs"
)

func (p *program) keysCommand() *cobra.Command {
	return group("keys", "Add and remove your SSH keys, for git over SSH", p.keysList(), p.keysAdd(), p.keysRemove())
}

func (p *program) keysList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List your SSH keys", Args: noArgs,
		RunE: p.with(func(c *cobra.Command, api *client.Client, _ []string) error {
			list, err := api.SSHKeys(c.Context())
			if err != nil {
				return err
			}
			return p.print(list, func() {
				rows := [][]string{}
				for _, k := range list {
					rows = append(rows, []string{string(k.ID), k.Name, k.Type, k.Fingerprint, when(k.Created), whenPtr(k.Used)})
				}
				p.table([]string{"ID", "NAME", "TYPE", "FINGERPRINT", "ADDED", "LAST USED"}, rows)
			})
		}),
	}
}

func (p *program) keysAdd() *cobra.Command {
	var name string
	c := &cobra.Command{
		Use: "add FILE", Short: "Add a public SSH key", Args: wants(1, 1),
		Long: `Add a public SSH key, which is in a file that ends in .pub; - reads the standard
input. With it git clones and pushes over SSH: slipway apps info NAME shows the
address, slipway status how to know the server by its key. Taken are ed25519,
ECDSA, their forms on a security key, and RSA of at least 2048 bits.`,
		Example: examples("ssh-keygen -t ed25519", "slipway keys add ~/.ssh/id_ed25519.pub"),
		RunE: p.with(func(c *cobra.Command, api *client.Client, args []string) error {
			text, err := p.publicKey(args[0])
			if err != nil {
				return err
			}
			k, err := api.AddSSHKey(c.Context(), client.AddSSHKey{Name: name, Key: text}, newKey())
			if err != nil {
				return err
			}
			return p.print(k, func() { p.say("Added %s, %s.", clean(k.Name), k.Fingerprint) })
		}),
	}
	c.Flags().StringVar(&name, "name", "", "what the key is called (default: its comment)")
	return c
}

// publicKey reads a key to send. A private one is not sent.
func (p *program) publicKey(file string) (string, error) {
	var data []byte
	var err error
	if file == "-" {
		data, err = io.ReadAll(io.LimitReader(p.In, 64<<10))
	} else {
		data, err = os.ReadFile(file)
	}
	if err != nil {
		return "", errs.Wrap(err, errs.KindInvalid, "cannot read %s: %v", file, err)
	}
	text := strings.TrimSpace(string(data))
	if strings.Contains(text, "PRIVATE KEY") || strings.HasPrefix(text, "PuTTY-User-Key-File") {
		return "", errs.Invalid("%s is a private key, which stays on this computer: give the public one, %s.pub", file, strings.TrimSuffix(file, ".pub"))
	}
	return text, nil
}

func (p *program) keysRemove() *cobra.Command {
	return &cobra.Command{
		Use: "remove ID|NAME|FINGERPRINT", Aliases: []string{"rm"}, Short: "Take one of your SSH keys away at once", Args: wants(1, 1),
		RunE: p.with(func(c *cobra.Command, api *client.Client, args []string) error {
			list, err := api.SSHKeys(c.Context())
			if err != nil {
				return err
			}
			var found []client.SSHKey
			for _, k := range list {
				if string(k.ID) == args[0] || k.Name == args[0] || k.Fingerprint == args[0] {
					found = append(found, k)
				}
			}
			switch len(found) {
			case 0:
				return errs.NotFound("you have no SSH key named %q: see slipway keys list", args[0])
			case 1:
			default:
				return errs.Conflict("%d of your SSH keys are named %q: give the ID", len(found), args[0])
			}
			if err := api.RemoveSSHKey(c.Context(), found[0].ID); err != nil {
				return err
			}
			return p.print(found[0], func() { p.say("Removed %s.", clean(found[0].Name)) })
		}),
	}
}
