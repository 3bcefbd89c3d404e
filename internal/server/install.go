package server

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/secret"
	"slipway.dev/slipway/internal/image"
	"slipway.dev/slipway/internal/install"
	"slipway.dev/slipway/internal/platform"
)

// onCluster are the flags of every verb that works on a cluster.
type onCluster struct {
	target    install.Target
	timeout   time.Duration
	namespace string
}

func (o *onCluster) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.target.Kubeconfig, "kubeconfig", "", "how the cluster is reached (default $KUBECONFIG or ~/.kube/config)")
	f.StringVar(&o.target.Context, "context", "", "context of the kubeconfig (default its current one)")
	f.StringVar(&o.namespace, "namespace", "", "the platform's own namespace (default slipway)")
	f.DurationVar(&o.timeout, "timeout", 10*time.Minute, "how long to wait for each part")
}

func (o *onCluster) open(out io.Writer) (*install.Installer, error) {
	cfg, err := o.target.Config()
	if err != nil {
		return nil, err
	}
	return install.New(cfg, out, o.timeout)
}

func (o *onCluster) in() string {
	if o.namespace == "" {
		return "slipway"
	}
	return o.namespace
}

// installing is one run of `slipway install`.
type installing struct {
	onCluster
	file, engine, output string
	v                    install.Values
	dryRun, yes          bool
	admin, passwordFile  string
	annotations          map[string]string
	nodes                map[string]string
	tolerations          []string
}

func installCommand() *cobra.Command {
	var i installing
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Install the platform on a Kubernetes cluster, or bring it to new values",
		Long: `Install the platform on a Kubernetes cluster, or bring an installation to new
values. It shows what would change, asks, applies, and waits until everything is
ready. A run that was cut off at any point is finished by the next one. Run it
again once a year at least: it renews the certificates between the parts.`,
		Example: `  slipway install --engine k8s --base slipway.example.com --image registry.example.com/slipway:0.1.0
  slipway install --engine k8s --values install.yaml --dry-run -o yaml
  slipway install --engine k8s --values install.yaml --yes --admin-password-file password.txt`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return i.run(ctx, cmd)
		},
	}
	i.onCluster.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&i.engine, "engine", "", "where to install: k8s, a Kubernetes cluster that is there")
	f.StringVar(&i.file, "values", "", "file of values (install.yaml); a flag wins")
	f.StringVar(&i.v.Base, "base", "", "domain of the platform")
	f.StringVar(&i.v.Image, "image", "", "the platform's image, which the nodes can pull")
	f.StringVar(&i.v.BaseImage, "base-image", "", "image of which apps' images are made, a file or a name in a registry, given to the core (default: what it has)")
	f.StringVar(&i.v.PipConfigFile, "pip-config", "", "file that says from where builds get packages, as pip reads it (default: PyPI)")
	f.StringVar(&i.v.OutsideCAFile, "outside-ca-file", "", "file with all authorities that the core and builds trust outside (default: Debian's)")
	f.StringVar(&i.v.PullSecret, "pull-secret", "", "Secret with which nodes pull the platform's images")
	f.StringVar(&i.v.AppsNamespace, "apps-namespace", "", "namespace of apps (default slipway-apps)")
	f.StringVar(&i.v.TLSSecret, "tls-secret", "", "Secret with the certificate for browsers (default: a CA is made)")
	f.StringVar(&i.v.Storage.Class, "storage-class", "", "class of every claim (default the cluster's)")
	f.StringVar(&i.v.Storage.SharedClass, "shared-storage-class", "", "class of volumes that several nodes use at once (default none)")
	f.StringVar(&i.v.Service.Type, "service-type", "", "LoadBalancer (default), NodePort or ClusterIP")
	f.StringToStringVar(&i.annotations, "service-annotation", nil, "annotation for the load balancer, NAME=VALUE")
	f.StringVar(&i.v.Service.Traffic, "traffic-policy", "", "Local: only nodes with a gateway take connections, and viewers' addresses are seen; Cluster: all nodes do (default Local with a LoadBalancer)")
	f.StringSliceVar(&i.v.PodNetworks, "pod-network", nil, "network of pods, where nodes do not tell theirs (default: what nodes, Calico or Cilium say)")
	f.Int32Var(&i.v.Service.HTTPSPort, "https-port", 0, "port that browsers use (default 443)")
	f.Int32Var(&i.v.Service.HTTPSNode, "https-node-port", 0, "port on the nodes for https (default: Kubernetes chooses)")
	f.Int32Var(&i.v.Service.HTTPNode, "http-node-port", 0, "port on the nodes for http (default: Kubernetes chooses)")
	f.Int32Var(&i.v.Service.SSHPort, "ssh-port", 0, "port of git over SSH (default 22; -1: none)")
	f.Int32Var(&i.v.Service.SSHNode, "ssh-node-port", 0, "port on the nodes for SSH (default: Kubernetes chooses)")
	f.Int32Var(&i.v.Gateways, "gateways", 0, "number of gateways (default 2)")
	f.Int32Var(&i.v.PullPort, "pull-port", 0, "port of the pull proxy on each node's loopback (default 5005)")
	f.StringVar(&i.v.Database.URL, "database", "", "postgres://user@host:5432/slipway?sslmode=verify-full (default: one is installed)")
	f.StringVar(&i.v.Database.PasswordFile, "database-password-file", "", "file with the database's password")
	f.StringVar(&i.v.Database.Image, "database-image", "", "image of the installed database (default postgres:17)")
	f.StringVar(&i.v.S3.Bucket, "s3-bucket", "", "keep apps' images in this bucket (default: on the core's volume)")
	f.StringVar(&i.v.S3.Region, "s3-region", "", "region of the bucket")
	f.StringVar(&i.v.S3.Endpoint, "s3-endpoint", "", "URL of the S3 service (default: AWS)")
	f.StringVar(&i.v.S3.AccessKeyFile, "s3-access-key-file", "", "file with the access key")
	f.StringVar(&i.v.S3.SecretKeyFile, "s3-secret-key-file", "", "file with the secret key")
	f.StringToStringVar(&i.nodes, "node-selector", nil, "label of the nodes for the platform's own pods, NAME=VALUE")
	f.StringSliceVar(&i.tolerations, "toleration", nil, "taint that the platform's own pods tolerate, KEY=VALUE:EFFECT or KEY:EFFECT")
	f.BoolVar(&i.dryRun, "dry-run", false, "change nothing: show what would change, or with -o yaml the objects")
	f.StringVarP(&i.output, "output", "o", "", "yaml: print the objects (with --dry-run)")
	f.BoolVar(&i.yes, "yes", false, "do not ask")
	f.StringVar(&i.admin, "admin", "admin", "user name of the first administrator")
	f.StringVar(&i.passwordFile, "admin-password-file", "", "file with the first administrator's password (default: one is made and printed)")
	cmd.AddCommand(installStatusCommand())
	return cmd
}

// values merges the file and the flags.
func (i *installing) values(cmd *cobra.Command) (install.Values, error) {
	v, err := install.ReadValues(i.file)
	if err != nil {
		return v, err
	}
	i.v.Namespace = i.namespace
	for _, p := range []struct{ to, from *string }{
		{&v.Base, &i.v.Base},
		{&v.Image, &i.v.Image},
		{&v.BaseImage, &i.v.BaseImage},
		{&v.PullSecret, &i.v.PullSecret},
		{&v.PipConfigFile, &i.v.PipConfigFile},
		{&v.OutsideCAFile, &i.v.OutsideCAFile},
		{&v.Namespace, &i.v.Namespace},
		{&v.AppsNamespace, &i.v.AppsNamespace},
		{&v.TLSSecret, &i.v.TLSSecret},
		{&v.Storage.Class, &i.v.Storage.Class},
		{&v.Storage.SharedClass, &i.v.Storage.SharedClass},
		{&v.Service.Type, &i.v.Service.Type},
		{&v.Service.Traffic, &i.v.Service.Traffic},
		{&v.Database.URL, &i.v.Database.URL},
		{&v.Database.PasswordFile, &i.v.Database.PasswordFile},
		{&v.Database.Image, &i.v.Database.Image},
		{&v.S3.Bucket, &i.v.S3.Bucket},
		{&v.S3.Region, &i.v.S3.Region},
		{&v.S3.Endpoint, &i.v.S3.Endpoint},
		{&v.S3.AccessKeyFile, &i.v.S3.AccessKeyFile},
		{&v.S3.SecretKeyFile, &i.v.S3.SecretKeyFile},
	} {
		if *p.from != "" {
			*p.to = *p.from
		}
	}
	for _, p := range []struct{ to, from *int32 }{
		{&v.Gateways, &i.v.Gateways},
		{&v.PullPort, &i.v.PullPort},
		{&v.Service.HTTPSPort, &i.v.Service.HTTPSPort},
		{&v.Service.HTTPSNode, &i.v.Service.HTTPSNode},
		{&v.Service.HTTPNode, &i.v.Service.HTTPNode},
		{&v.Service.SSHPort, &i.v.Service.SSHPort},
		{&v.Service.SSHNode, &i.v.Service.SSHNode},
	} {
		if *p.from != 0 {
			*p.to = *p.from
		}
	}
	if len(i.annotations) > 0 {
		v.Service.Annotations = i.annotations
	}
	if len(i.v.PodNetworks) > 0 {
		v.PodNetworks = i.v.PodNetworks
	}
	if len(i.nodes) > 0 {
		v.NodeSelector = i.nodes
	}
	for _, t := range i.tolerations {
		parsed, err := install.ParseToleration(t)
		if err != nil {
			return v, err
		}
		v.Tolerations = append(v.Tolerations, parsed)
	}
	return v, v.Complete()
}

func (i *installing) run(ctx context.Context, cmd *cobra.Command) error {
	if i.engine != "k8s" {
		return errs.Invalid("say where to install with --engine k8s; on one machine the platform needs no installation: run `slipway up`")
	}
	if i.output != "" && (i.output != "yaml" || !i.dryRun) {
		return errs.Invalid("-o yaml goes with --dry-run")
	}
	v, err := i.values(cmd)
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	in, err := i.open(out)
	if err != nil {
		return err
	}
	plan, err := in.Plan(ctx, v)
	if err != nil {
		return err
	}
	if i.output == "yaml" {
		return plan.Print(out)
	}
	showChanges(out, plan.Changes)
	if i.dryRun {
		return nil
	}
	if len(plan.Changes) > 0 && !i.yes {
		if err := askYes(cmd, "Apply this?"); err != nil {
			return err
		}
	}
	if err := in.Apply(ctx, plan); err != nil {
		return err
	}
	password, made, err := i.password()
	if err != nil {
		return err
	}
	first, err := in.Admin(ctx, plan, i.admin, password)
	if err != nil {
		return err
	}
	if err := giveBase(ctx, out, in, plan, v.BaseImage); err != nil {
		return err
	}
	address, err := in.Address(ctx, plan)
	if err != nil {
		return err
	}
	showInstalled(out, v, address)
	if ca := plan.WebCA(); ca != "" {
		fmt.Fprintf(out, "\nBrowsers and git must trust this CA (kubectl -n %s get secret slipway-web-ca -o 'jsonpath={.data.ca\\.crt}' | base64 -d):\n  SHA-256 %s\n", v.Namespace, ca)
	}
	if first {
		fmt.Fprintf(out, "\nThe first administrator is %s.\n", i.admin)
		if made {
			fmt.Fprintf(out, "Password (shown this once): %s\n", password.Reveal())
		}
	}
	return nil
}

// giveBase makes an image the base of apps' images, unless it is already.
// Layers that an earlier run has brought are not sent again.
func giveBase(ctx context.Context, out io.Writer, in *install.Installer, plan *install.Plan, from string) error {
	return in.ToRegistry(ctx, plan, func(addr string, config *tls.Config) error {
		return giveBaseTo(ctx, out, addr, config, from)
	})
}

// giveBaseTo is giveBase with the address that leads to the core's registry.
func giveBaseTo(ctx context.Context, out io.Writer, addr string, config *tls.Config, from string) error {
	began := time.Now()
	transport := toCore(func() *tls.Config { return config }, addr)
	defer transport.CloseIdleConnections()
	to := platform.NameCore + "/" + image.BaseRepo + ":" + image.BaseTag
	have, err := image.Digest(ctx, to, transport)
	if err != nil {
		return err
	}
	if from == "" {
		if have == "" {
			fmt.Fprintln(out, "! There is no base image for apps yet, and no app can be deployed without: make one with `slipway image base`, and run this again with --base-image base.tar")
		}
		return nil
	}
	img, err := image.Read(ctx, from)
	if err != nil {
		return err
	}
	if d, err := img.Digest(); err != nil || d.String() == have {
		return err
	}
	digest, err := image.Upload(ctx, img, to, transport)
	if err == nil {
		fmt.Fprintf(out, "✓ Base image of apps %s (%.1f s)\n", digest, time.Since(began).Seconds())
	}
	return err
}

func (i *installing) password() (password secret.String, made bool, err error) {
	if i.passwordFile == "" {
		return secret.Random(15), true, nil
	}
	data, err := os.ReadFile(i.passwordFile)
	if err != nil {
		return password, false, errs.Wrap(err, errs.KindInvalid, "cannot read the password: %v", err)
	}
	return secret.New(strings.TrimRight(string(data), "\r\n")), false, nil
}

func showChanges(out io.Writer, changes []install.Change) {
	if len(changes) == 0 {
		fmt.Fprintln(out, "Nothing changes.")
		return
	}
	mark := map[string]string{"make": "+", "change": "~", "delete": "-"}
	for _, c := range changes {
		fmt.Fprintf(out, "%s %s\n", mark[c.Do], c.Object)
		for _, f := range c.Fields {
			fmt.Fprintf(out, "    %s\n", f)
		}
	}
}

// askYes wants a yes on the terminal.
func askYes(cmd *cobra.Command, question string) error {
	fmt.Fprintf(cmd.OutOrStdout(), "%s [y/N] ", question)
	line, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
	if answer := strings.ToLower(strings.TrimSpace(line)); answer == "y" || answer == "yes" {
		return nil
	}
	if err != nil && err != io.EOF {
		return err
	}
	return errs.Invalid("nothing was changed; without a terminal, use --yes")
}

func showInstalled(out io.Writer, v install.Values, address string) {
	hosts := slipway.Hosts{Scheme: "https", Base: v.Base}
	if v.Service.HTTPSPort != 443 {
		hosts.Port = fmt.Sprint(v.Service.HTTPSPort)
	}
	fmt.Fprintf(out, "\nSlipway on %s\n  Portal   %s/portal\n  API      %s\n  Git      %s\n", hosts.Apps(), hosts.API(), hosts.API(), hosts.Git())
	if v.Service.SSHPort > 0 {
		hosts.SSHPort = fmt.Sprint(v.Service.SSHPort)
		fmt.Fprintf(out, "           %s\n", hosts.SSH())
	}
	if address == "" {
		address = "<address of the service " + v.Namespace + "/slipway, once it has one>"
	}
	kind := "A    "
	if strings.Trim(address, "0123456789.") != "" {
		kind = "CNAME"
	}
	fmt.Fprintf(out, "\nDNS records (an apex domain needs ALIAS or A):\n")
	for _, name := range hosts.All() {
		fmt.Fprintf(out, "  %-40s %s %s\n", name, kind, address)
	}
}

func installStatusCommand() *cobra.Command {
	var o onCluster
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how each part of the platform on a cluster is",
		Long: `Show how each part of the platform on a cluster is: ready, updating, degraded,
unavailable or missing. It asks Kubernetes alone, so it works while the platform
does not. It ends with 0 when every part is ready.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			in, err := o.open(cmd.OutOrStdout())
			if err != nil {
				return err
			}
			parts, err := in.Status(cmd.Context(), o.in())
			if err != nil {
				return err
			}
			if asJSON {
				err = json.NewEncoder(cmd.OutOrStdout()).Encode(parts)
			} else {
				err = showStatus(cmd.OutOrStdout(), parts)
			}
			if err != nil {
				return err
			}
			for _, p := range parts {
				if p.State != install.Ready {
					return errs.Unavailable("the part %s is %s", p.Part, p.State)
				}
			}
			return nil
		},
	}
	o.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func showStatus(out io.Writer, parts []install.PartStatus) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "PART\tSTATE\tREADY\tIMAGE\tWHY")
	for _, p := range parts {
		fmt.Fprintf(w, "%s\t%s\t%d/%d\t%s\t%s\n", p.Part, p.State, p.Ready, p.Wanted, p.Image, p.Why)
	}
	return w.Flush()
}

func uninstallCommand() *cobra.Command {
	var o onCluster
	var level, confirm string
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "uninstall",
		Short: "Take the platform off a Kubernetes cluster",
		Long: `Take the platform off a Kubernetes cluster. --level says how much:
  platform    what runs of the platform; its data stays, and apps go on running
  data        also apps, their files, the database and the certificates
  namespaces  also the namespaces, with everything that is in them
It lists what is deleted and exactly what stays, and asks for the namespace's name.`,
		Example: "  slipway uninstall --level platform --dry-run\n  slipway uninstall --level namespaces --confirm slipway",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			l, err := install.ParseLevel(level)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			in, err := o.open(out)
			if err != nil {
				return err
			}
			r, err := in.Removal(ctx, o.in(), l)
			if err != nil {
				return err
			}
			showRemoval(out, r)
			if dryRun {
				return nil
			}
			if confirm == "" {
				fmt.Fprintf(out, "\nType the name of the namespace (%s) to delete this: ", o.in())
				line, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
				if err != nil && err != io.EOF {
					return err
				}
				confirm = strings.TrimSpace(line)
			}
			if confirm != o.in() {
				return errs.Invalid("%q is not %s: nothing was deleted", confirm, o.in())
			}
			return in.Remove(ctx, r)
		},
	}
	o.flags(cmd)
	cmd.Flags().StringVar(&level, "level", "platform", "platform, data or namespaces")
	cmd.Flags().StringVar(&confirm, "confirm", "", "the namespace's name, instead of asking")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only show what would be deleted and what stays")
	return cmd
}

func showRemoval(out io.Writer, r *install.Removal) {
	for _, s := range r.Delete {
		fmt.Fprintf(out, "- %s\n", s)
	}
	if len(r.Keep) == 0 {
		fmt.Fprintln(out, "Nothing stays.")
		return
	}
	fmt.Fprintln(out, "Stays:")
	for _, s := range r.Keep {
		fmt.Fprintf(out, "  %s\n", s)
	}
}
