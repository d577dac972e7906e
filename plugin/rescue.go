package plugin

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/rescue"
	"github.com/redis-sync/kubectl-redis-sync/internal/verify"
)

const rescueShowLong = `
Says what is in a rescue file that recover made: of which pair and when, how many
keys of which type, and their names, escaped. The whole file is read and its
checksum is compared. Values are not printed.

redis-server loads the file as it is: put it where dir and dbfilename of an
empty server point to, and start it. Keys whose deadline has passed it leaves
out.

EXIT STATUS
  0    the file is whole
  1    error, also a file that is damaged or cut off`

// rescueShowOptions are the flags of rescue show.
type rescueShowOptions struct {
	*Options
	limit  int
	output string
}

// NewRescueCommand makes the verb rescue.
func NewRescueCommand(o *Options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rescue",
		Short: "Read a rescue file",
		Long:  "Reads rescue files, which recover --rescue-file makes.",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	s := &rescueShowOptions{Options: o}
	show := &cobra.Command{
		Use:   "show FILE",
		Short: "Say what is in a rescue file, and check it",
		Long:  strings.TrimSpace(rescueShowLong),
		Example: `  kubectl redis-sync rescue show lost.rdb

  # The names of all keys, for a script
  kubectl redis-sync rescue show lost.rdb --limit 0 -o json`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return s.run(args[0]) },
	}
	show.Flags().IntVar(&s.limit, "limit", 20, "names of keys to print; 0 for all")
	show.Flags().StringVarP(&s.output, "output", "o", "", "output format: json")
	cmd.AddCommand(show)
	return cmd
}

// rescueContent is the output of rescue show in JSON.
type rescueContent struct {
	File string `json:"file"`
	rescue.Header
	RDBVersion int                         `json:"rdbVersion"`
	Bytes      int64                       `json:"bytes"` // of the file
	Keys       int64                       `json:"keys"`
	ByType     map[string]*rescueTypeCount `json:"byType"`
	Functions  int64                       `json:"functions"` // libraries
	Gone       int64                       `json:"gone"`      // keys that went away before they could be saved
	Expired    int64                       `json:"expired"`   // keys whose deadline has passed
	Names      []rescueKey                 `json:"names"`
}

type rescueTypeCount struct {
	Keys  int64 `json:"keys"`
	Bytes int64 `json:"bytes"` // of the values, as RDB encodes them
}

type rescueKey struct {
	DB       int        `json:"db"`
	Key      string     `json:"key"` // quoted, with escapes; a long one is cut
	Type     string     `json:"type"`
	Bytes    int64      `json:"bytes"`
	Deadline *time.Time `json:"deadline,omitempty"`
}

func (s *rescueShowOptions) run(path string) error {
	if err := checkOutput(s.output, "json"); err != nil {
		return err
	}
	if s.limit < 0 {
		return fmt.Errorf("--limit %d: expected 0 or more", s.limit)
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("the rescue file: %w", err)
	}
	defer f.Close()
	now := time.Now()
	c := rescueContent{File: path, ByType: map[string]*rescueTypeCount{}, Names: []rescueKey{}}
	summary, err := rescue.Check(f, func(k *rescue.Key, _ int64) error {
		name := rescue.TypeName(k.Type)
		if c.ByType[name] == nil {
			c.ByType[name] = &rescueTypeCount{}
		}
		c.ByType[name].Keys++
		c.ByType[name].Bytes += k.Bytes
		key := rescueKey{DB: k.DB, Key: verify.Escape(k.Name), Type: name, Bytes: k.Bytes}
		if k.DeadlineMS > 0 {
			at := time.UnixMilli(k.DeadlineMS).UTC()
			key.Deadline = &at
			if at.Before(now) {
				c.Expired++
			}
		}
		if s.limit == 0 || len(c.Names) < s.limit {
			c.Names = append(c.Names, key)
		}
		return nil
	})
	if err != nil {
		return rescueFileError(path, summary, err)
	}
	c.Header, c.RDBVersion, c.Keys, c.Bytes = summary.Header, summary.Version, summary.Keys, summary.Bytes
	c.Functions, c.Gone = summary.Functions, summary.Gone
	if s.output == "json" {
		return printJSON(s.Out, c)
	}
	return c.print(s.Out)
}

// rescueFileError says what is wrong with a file, and how much of it is not.
func rescueFileError(path string, s *rescue.Summary, err error) error {
	var format *rescue.FormatError
	switch {
	case !errors.As(err, &format):
		return fmt.Errorf("reading %s: %w", path, err)
	case s == nil:
		return fmt.Errorf("%s: %w", path, err)
	}
	return fault.Wrap(fault.CodeError, "take another copy of the file; redis-server does not load this one",
		fmt.Errorf("%s: %w; before that it holds %d keys of pair %s", path, err, s.Keys, s.Header.Pair))
}

func (c *rescueContent) print(out io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "pair %s, epoch %d, written %s by operation %s\n", c.Pair, c.Epoch, c.Time.Format(time.RFC3339), c.Operation)
	for _, side := range []struct {
		what string
		site rescue.Site
	}{{"from the old primary", c.From}, {"of which the new one had none or others", c.To}} {
		fmt.Fprintf(&b, "  %s: site %s, instance %s/%s, cluster %s\n", side.what, side.site.Name, side.site.Namespace, side.site.Instance, side.site.Cluster)
	}
	fmt.Fprintf(&b, "%d keys in %d bytes (RDB version %d), checksum right\n", c.Keys, c.Bytes, c.RDBVersion)
	for _, name := range slices.Sorted(maps.Keys(c.ByType)) {
		fmt.Fprintf(&b, "  %-8s %8d keys %12d bytes\n", name, c.ByType[name].Keys, c.ByType[name].Bytes)
	}
	if c.Functions > 0 {
		fmt.Fprintf(&b, "  %d function libraries\n", c.Functions)
	}
	if c.Expired > 0 {
		fmt.Fprintf(&b, "%d keys have expired by now: redis-server leaves them out\n", c.Expired)
	}
	if c.Gone > 0 {
		fmt.Fprintf(&b, "%d more keys went away before they could be saved\n", c.Gone)
	}
	for _, k := range c.Names {
		fmt.Fprintf(&b, "  db %d %s %s, %d bytes", k.DB, k.Type, k.Key, k.Bytes)
		if k.Deadline != nil {
			fmt.Fprintf(&b, ", until %s", k.Deadline.Format(time.RFC3339))
		}
		b.WriteByte('\n')
	}
	if more := c.Keys - int64(len(c.Names)); more > 0 {
		fmt.Fprintf(&b, "  and %d more (--limit 0 prints all)\n", more)
	}
	_, err := io.WriteString(out, escapeLines(b.String()))
	return err
}
