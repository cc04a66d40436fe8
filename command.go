package kiboauth

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "kibo-auth",
		Usage: "<command>",
		Short: "Makes keys for kibo_auth, and shows and ends sessions of customers",
		CobraFunc: func(cmd *cobra.Command) {
			cmd.RunE = needsCommand
			cmd.AddCommand(keygenCommand(), sessionsCommand())
		},
	})
}

// needsCommand is what a command does that only has commands of its own.
// Cobra alone would take a misspelt one for a call for help, and succeed.
func needsCommand(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%s has no command %q; see %s --help", cmd.CommandPath(), args[0], cmd.CommandPath())
	}
	return cmd.Help()
}

func keygenCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "keygen",
		Short: "Prints a fresh key for the secret line",
		Long: `
Prints 32 random bytes in base64url, and nothing else: a key for the "secret"
line of kibo_auth. To replace one, put the new key first and keep the old one
behind it for a while, on every gateway:

	secret {file./etc/caddy/kibo-new} {file./etc/caddy/kibo-old}
`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var key [32]byte
			rand.Read(key[:]) // never fails: crypto/rand ends the process instead
			_, err := fmt.Fprintln(cmd.OutOrStdout(), base64.RawURLEncoding.EncodeToString(key[:]))
			return err
		},
	}
}

func sessionsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sessions <command>",
		Short: "Shows and ends sessions of customers, at a Caddy that is running",
		RunE:  needsCommand,
	}
	flags := cmd.PersistentFlags()
	flags.String("address", "", "Address of Caddy's admin endpoint, if not the default one; unix//path for a socket")
	flags.StringP("config", "c", "", "Configuration file to take that address from")
	flags.StringP("adapter", "a", "", "Name of the adapter for that file")
	cmd.AddCommand(listCommand(), endCommand())
	return cmd
}

func listCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list [--account <id>] [--site <api host>] [--limit <n>] [--json]",
		Short: "Shows sessions, newest first, in local time",
		Args:  cobra.NoArgs,
		RunE:  runList,
	}
	cmd.Flags().String("account", "", "Only those of this account")
	cmd.Flags().String("site", "", "Only those of the site with this API host")
	cmd.Flags().Int("limit", defaultListed, fmt.Sprintf("The most to show, up to %d", maxListed))
	cmd.Flags().Bool("json", false, "As the admin API gives them")
	return cmd
}

func runList(cmd *cobra.Command, _ []string) error {
	text, err := askCaddy(cmd, http.MethodGet, "account", "site", "limit")
	if err != nil {
		return err
	}
	if asJSON, _ := cmd.Flags().GetBool("json"); asJSON {
		_, err = cmd.OutOrStdout().Write(text)
		return err
	}
	var found shownSessions
	if err := json.Unmarshal(text, &found); err != nil {
		return fmt.Errorf("reading Caddy's answer: %w", err)
	}
	if found.Truncated {
		cmd.PrintErrf("These are %d of more; see others with --limit, --account or --site.\n", len(found.Sessions))
	}
	return table(cmd.OutOrStdout(), found.Sessions)
}

func table(w io.Writer, sessions []shownSession) error {
	const layout = "2006-01-02 15:04:05 MST"
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "REF\tACCOUNT\tSIGNED IN\tLAST SEEN\tEXPIRES\tSITE")
	for _, s := range sessions {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", s.Ref, s.AccountID,
			s.Created.Local().Format(layout), s.Seen.Local().Format(layout), s.Expires.Local().Format(layout), s.Site)
	}
	return t.Flush()
}

func endCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "end (--account <id> | --ref <ref> | --older-than <duration> | --all --yes) [--site <api host>]",
		Short: "Ends sessions: these customers are signed out",
		Args:  cobra.NoArgs,
		RunE:  runEnd,
	}
	cmd.Flags().String("account", "", "Those of this account")
	cmd.Flags().String("ref", "", "The one with this ref in the list")
	cmd.Flags().String("older-than", "", "Those signed in longer ago, such as 24h or 7d")
	cmd.Flags().Bool("all", false, "Every one")
	cmd.Flags().String("site", "", "Only those of the site with this API host")
	cmd.Flags().Bool("yes", false, "Said together with --all, which signs every customer out")
	which := []string{"account", "ref", "older-than", "all"}
	cmd.MarkFlagsMutuallyExclusive(which...)
	cmd.MarkFlagsOneRequired(which...)
	return cmd
}

func runEnd(cmd *cobra.Command, _ []string) error {
	all, _ := cmd.Flags().GetBool("all")
	if yes, _ := cmd.Flags().GetBool("yes"); all && !yes {
		return errors.New("--all signs every customer out; add --yes if that is meant")
	}
	text, err := askCaddy(cmd, http.MethodDelete, "account", "ref", "older-than", "all", "site")
	if err != nil {
		return err
	}
	var ended endedSessions
	if err := json.Unmarshal(text, &ended); err != nil {
		return fmt.Errorf("reading Caddy's answer: %w", err)
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), plural(ended.Ended, "session")+" ended")
	return err
}

// askCaddy sends those flags that were given to the admin API. An empty one
// goes along and is refused there: of an unset variable nothing is concluded.
func askCaddy(cmd *cobra.Command, method string, flags ...string) ([]byte, error) {
	address, err := adminAddress(cmd)
	if err != nil {
		return nil, err
	}
	q := url.Values{}
	for _, name := range flags {
		if f := cmd.Flag(name); f.Changed {
			q.Set(strings.ReplaceAll(name, "-", "_"), f.Value.String())
		}
	}
	resp, err := caddycmd.AdminAPIRequest(address, method, sessionsPath+"?"+q.Encode(), nil, nil)
	if err != nil {
		return nil, explainAdmin(address, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("reading Caddy's answer: %w", err)
	}
	return text, nil
}

// adminAddress is determined as `caddy reload` and `caddy stop` do it.
func adminAddress(cmd *cobra.Command) (string, error) {
	address, err := caddycmd.DetermineAdminAPIAddress(
		cmd.Flag("address").Value.String(), nil, cmd.Flag("config").Value.String(), cmd.Flag("adapter").Value.String())
	if err != nil {
		return "", fmt.Errorf("finding the address of Caddy's admin endpoint: %w", err)
	}
	return address, nil
}

// explainAdmin says how to mend a request to Caddy that came to nothing. Caddy
// hands its answer on as text only, the status and the API's JSON at the end.
func explainAdmin(address string, err error) error {
	_, answer, answered := strings.Cut(err.Error(), "caddy responded with error: HTTP ")
	if !answered {
		return fmt.Errorf("asking Caddy at %s: %w; is it running, with its admin endpoint there? Else give --address or --config", address, err)
	}
	_, text, _ := strings.Cut(answer, ": ")
	var said caddy.APIError
	if json.Unmarshal([]byte(text), &said) != nil || said.Message == "" {
		return fmt.Errorf("asking Caddy at %s: %w; was it built with kibo_auth?", address, err)
	}
	return errors.New(said.Message)
}
