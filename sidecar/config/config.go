// Package config reads sync.toml: the file of RedisShake 3.1 and our own keys
// (internal/wire.SyncFile), with defaults set and every value checked.
package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"

	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/conn"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/route"
)

// Restore behaviours of rdb_restore_command_behavior.
const (
	RestoreRewrite = "rewrite"
	RestorePanic   = "panic"
	RestoreSkip    = "skip"
)

// Policies of stale_keys.
const (
	StaleKeep   = "keep"
	StalePrune  = "prune"
	StaleRefuse = "refuse"
)

// Config is a checked sync.toml.
type Config struct {
	wire.SyncFile
	Slots route.SlotSet // of the link; nil without [link]

	Source conn.Options
	// Target holds the credentials to try, the dedicated one first.
	Target   conn.Options
	Sentinel conn.Options

	SourceAddrs []string // candidates, or the one address
	TargetAddrs []string
	Warnings    []string
	MaxShare    float64
}

// FileError names the key or line of sync.toml that is wrong.
type FileError struct {
	Path string
	Key  string
	Msg  string
}

func (e *FileError) Error() string {
	if e.Key == "" {
		return fmt.Sprintf("%s: %s", e.Path, e.Msg)
	}
	return fmt.Sprintf("%s: %s: %s", e.Path, e.Key, e.Msg)
}

// Load reads and checks a file.
func Load(path string) (*Config, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	return Parse(path, string(text))
}

func defaults() wire.SyncFile {
	f := wire.SyncFile{Type: "sync"}
	f.Target.Type = "standalone"
	f.Advanced = wire.SyncAdvanced{
		Dir: "data", NCPU: 0, LogLevel: "info", LogInterval: 5, RestoreBehavior: RestoreRewrite,
		PipelineCountLimit: 1024, TargetMaxQuerybufLen: 1024_000_000, TargetMaxBulkLen: 512_000_000,
		SpoolMemory: 16 << 20, SpoolDisk: 4 << 30, RebuildAbove: 16 << 20, DrainSeconds: 10,
	}
	return f
}

// Parse reads and checks the text of a file; path is for error texts and for
// relative file names.
func Parse(path, text string) (*Config, error) {
	c := &Config{SyncFile: defaults()}
	meta, err := toml.Decode(text, &c.SyncFile)
	if err != nil {
		var pe toml.ParseError
		if errors.As(err, &pe) {
			// The library's text can quote the offending line, password and all.
			return nil, &FileError{Path: path, Msg: fmt.Sprintf("line %d: not valid TOML near key %q: %s",
				pe.Position.Line, pe.LastKey, redactQuotes(pe.Message))}
		}
		key := ""
		if m := lastKey.FindStringSubmatch(err.Error()); m != nil {
			key = m[1]
		}
		return nil, &FileError{Path: path, Key: key, Msg: redactQuotes(lastKey.ReplaceAllString(err.Error(), ""))}
	}
	if un := meta.Undecoded(); len(un) > 0 {
		key := un[0].String()
		msg := "is not a key of sync.toml"
		if best := nearest(key, knownKeys()); best != "" {
			msg += fmt.Sprintf("; did you mean %s?", best)
		}
		return nil, &FileError{Path: path, Key: key, Msg: msg}
	}
	if !meta.IsDefined("source") || !meta.IsDefined("target") {
		return nil, &FileError{Path: path, Msg: "the tables [source] and [target] are both needed"}
	}
	if err := c.check(path); err != nil {
		return nil, err
	}
	return c, nil
}

// lastKey is how the TOML library names the key of a value of a wrong type.
var lastKey = regexp.MustCompile(` ?\(last key "([^"]*)"\)`)

var quoted = regexp.MustCompile(`"[^"]*"|'[^']*'`)

// redactQuotes removes what a parser quotes from the file.
func redactQuotes(msg string) string { return quoted.ReplaceAllString(msg, `"…"`) }

func (c *Config) check(path string) error {
	bad := func(key, format string, args ...any) error {
		return &FileError{Path: path, Key: key, Msg: fmt.Sprintf(format, args...)}
	}
	if c.Type != "sync" {
		return bad("type", "is %q; only \"sync\" is supported", c.Type)
	}
	for key, v := range map[string]any{"source.version": c.SyncFile.Source.Version, "target.version": c.SyncFile.Target.Version} {
		if err := checkVersion(v); err != nil {
			return bad(key, "%v", err)
		}
	}
	if c.SyncFile.Target.Type != "standalone" && c.SyncFile.Target.Type != "cluster" {
		return bad("target.type", "is %q; expected \"standalone\" or \"cluster\"", c.SyncFile.Target.Type)
	}
	if err := c.checkAddresses(bad); err != nil {
		return err
	}
	if err := c.checkAdvanced(bad); err != nil {
		return err
	}
	if err := c.checkLink(bad); err != nil {
		return err
	}
	return c.credentials(filepath.Dir(path), bad)
}

type badFunc func(key, format string, args ...any) error

func checkVersion(v any) error {
	var n float64
	switch v := v.(type) {
	case nil:
		return nil
	case float64:
		n = v
	case int64:
		n = float64(v)
	default:
		return fmt.Errorf("is not a number")
	}
	if n < 2.8 {
		return fmt.Errorf("is %v; servers before 2.8 are not supported", v)
	}
	return nil
}

func (c *Config) checkAddresses(bad badFunc) error {
	c.SourceAddrs, c.TargetAddrs = c.SyncFile.Source.Candidates, c.SyncFile.Target.Candidates
	if a := c.SyncFile.Source.Address; len(c.SourceAddrs) == 0 && a != "" {
		c.SourceAddrs = []string{a}
	}
	if a := c.SyncFile.Target.Address; len(c.TargetAddrs) == 0 && a != "" {
		c.TargetAddrs = []string{a}
	}
	if len(c.SourceAddrs) == 0 {
		return bad("source.address", "is empty; expected host:port")
	}
	if len(c.TargetAddrs) == 0 && len(c.SyncFile.Target.Sentinels) == 0 {
		return bad("target.address", "is empty; expected host:port")
	}
	for key, addrs := range map[string][]string{"source": c.SourceAddrs, "target": c.TargetAddrs, "target.sentinels": c.SyncFile.Target.Sentinels} {
		for _, a := range addrs {
			host, port, err := net.SplitHostPort(a)
			n, convErr := strconv.Atoi(port)
			if err != nil || host == "" || convErr != nil || n < 1 || n > 65535 {
				return bad(key, "address %q is not host:port", a)
			}
		}
	}
	if len(c.SyncFile.Target.Sentinels) > 0 && c.SyncFile.Target.MasterName == "" {
		return bad("target.master_name", "is empty; Sentinels need the name of the master set")
	}
	return nil
}

func (c *Config) checkAdvanced(bad badFunc) error {
	a := &c.Advanced
	switch a.RestoreBehavior {
	case RestoreRewrite, RestorePanic, RestoreSkip:
	case "ignore": // the word of the file's own comment
		a.RestoreBehavior = RestoreSkip
	default:
		return bad("advanced.rdb_restore_command_behavior", "is %q; expected panic, rewrite or skip", a.RestoreBehavior)
	}
	switch a.LogLevel {
	case "debug", "info", "warn":
	default:
		return bad("advanced.log_level", "is %q; expected debug, info or warn", a.LogLevel)
	}
	for key, port := range map[string]int{"advanced.metrics_port": a.MetricsPort, "advanced.pprof_port": a.PprofPort} {
		if port < 0 || port > 65535 {
			return bad(key, "is %d; expected a port, or 0 for none", port)
		}
	}
	for key, n := range map[string]int64{
		"advanced.ncpu": int64(a.NCPU), "advanced.pipeline_count_limit": int64(a.PipelineCountLimit),
		"advanced.target_redis_client_max_querybuf_len": a.TargetMaxQuerybufLen,
		"advanced.target_redis_proto_max_bulk_len":      a.TargetMaxBulkLen,
		"advanced.spool_memory_bytes":                   a.SpoolMemory, "advanced.spool_disk_bytes": a.SpoolDisk,
		"advanced.max_bytes_per_second": a.MaxBytesPerSec, "advanced.max_commands_per_second": a.MaxCommandsPerS,
		"advanced.rebuild_above_bytes": a.RebuildAbove, "advanced.drain_seconds": int64(a.DrainSeconds),
	} {
		if n < 0 {
			return bad(key, "is %d; expected 0 or more", n)
		}
	}
	if a.RebuildAbove == 0 {
		a.RebuildAbove = defaults().Advanced.RebuildAbove
	}
	if a.Dir == "" {
		return bad("advanced.dir", "is empty; expected a folder that can be written to")
	}
	return nil
}

var pairName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)

func (c *Config) checkLink(bad badFunc) error {
	t := &c.SyncFile.Target
	c.MaxShare = 0.1
	if t.StaleKeysMaxShare != nil {
		if c.MaxShare = *t.StaleKeysMaxShare; !(c.MaxShare >= 0 && c.MaxShare <= 1) {
			return bad("target.stale_keys_max_share", "is %v; expected a number between 0 and 1", c.MaxShare)
		}
	}
	if c.Link == nil {
		if t.StaleKeys == "" {
			t.StaleKeys = StaleKeep
		}
		c.Warnings = append(c.Warnings, "without [link] there is no epoch fence: an old copy of this replicator is not kept from writing after a switch of direction")
	} else {
		if t.StaleKeys == "" {
			t.StaleKeys = StaleRefuse
		}
		l := c.Link
		if !pairName.MatchString(l.Pair) {
			return bad("link.pair", "is %q; expected lower-case letters, digits and hyphens", l.Pair)
		}
		if l.Site == "" {
			return bad("link.site", "is empty; expected the name of the site that is written to")
		}
		if l.Epoch < 1 {
			return bad("link.epoch", "is %d; expected 1 or more", l.Epoch)
		}
		if l.Shard < 0 {
			return bad("link.shard", "is %d; expected 0 or more", l.Shard)
		}
		slots, err := route.ParseSlots(l.Slots)
		if err != nil {
			return bad("link.slots", "%v", err)
		}
		if slots.Count() == 0 {
			return bad("link.slots", "is empty; expected for example \"0-5460\", or \"0-16383\" for a source that is no cluster")
		}
		c.Slots = slots
	}
	switch t.StaleKeys {
	case StaleKeep, StalePrune, StaleRefuse:
		return nil
	}
	return bad("target.stale_keys", "is %q; expected keep, prune or refuse", t.StaleKeys)
}

func (c *Config) credentials(base string, bad badFunc) error {
	s, t := &c.SyncFile.Source, &c.SyncFile.Target
	file := func(key, name string) (string, error) {
		if name == "" {
			return "", nil
		}
		if !filepath.IsAbs(name) {
			name = filepath.Join(base, name)
		}
		p, err := os.ReadFile(name)
		if err != nil {
			return "", bad(key, "%v", err)
		}
		return string(p), nil
	}
	auths := func(key, user, inline, name string) ([]conn.Auth, error) {
		if inline != "" && name != "" {
			return nil, bad(key, "and its _file twin are both set; keep one")
		}
		raw, err := file(key+"_file", name)
		if err != nil {
			return nil, err
		}
		if raw == "" {
			raw = inline
		}
		// Operators trim what `kubectl create secret` users leave at the end;
		// a password that really ends in a newline is tried second.
		list := []conn.Auth{{Username: user, Password: strings.TrimRight(raw, "\r\n")}}
		if list[0].Password != raw {
			list = append(list, conn.Auth{Username: user, Password: raw})
		}
		return list, nil
	}
	var err error
	if c.Source.Auths, err = auths("source.password", s.Username, s.Password, s.PasswordFile); err != nil {
		return err
	}
	if t.SyncUsername != "" {
		if c.Target.Auths, err = auths("target.sync_password", t.SyncUsername, "", t.SyncPasswordFile); err != nil {
			return err
		}
	}
	normal, err := auths("target.password", t.Username, t.Password, t.PasswordFile)
	if err != nil {
		return err
	}
	c.Target.Auths = append(c.Target.Auths, normal...)
	if c.Sentinel.Auths, err = auths("target.sentinel_password", t.SentinelUsername, "", t.SentinelPassFile); err != nil {
		return err
	}
	tlsOf := func(key string, on bool, ca, cert, keyFile, name string) (*tls.Config, error) {
		if !on {
			return nil, nil
		}
		cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: name}
		pem, err := file(key+".ca_file", ca)
		if err != nil {
			return nil, err
		}
		if pem == "" {
			c.Warnings = append(c.Warnings, key+".tls without ca_file: the server's certificate is not verified")
			cfg.InsecureSkipVerify = true
		} else {
			pool := x509.NewCertPool()
			if !pool.AppendCertsFromPEM([]byte(pem)) {
				return nil, bad(key+".ca_file", "holds no PEM certificate")
			}
			cfg.RootCAs = pool
			if name == "" { // pods are reached by address: check the chain alone
				cfg.InsecureSkipVerify = true
				cfg.VerifyConnection = chainOnly(pool)
			}
		}
		if cert != "" || keyFile != "" {
			certPEM, err := file(key+".cert_file", cert)
			if err != nil {
				return nil, err
			}
			keyPEM, err := file(key+".key_file", keyFile)
			if err != nil {
				return nil, err
			}
			pair, err := tls.X509KeyPair([]byte(certPEM), []byte(keyPEM))
			if err != nil {
				return nil, bad(key+".cert_file", "%v", err)
			}
			cfg.Certificates = []tls.Certificate{pair}
		}
		return cfg, nil
	}
	if c.Source.TLS, err = tlsOf("source", s.TLS, s.CAFile, s.CertFile, s.KeyFile, s.ServerName); err != nil {
		return err
	}
	if c.Target.TLS, err = tlsOf("target", t.TLS, t.CAFile, t.CertFile, t.KeyFile, t.ServerName); err != nil {
		return err
	}
	c.Sentinel.TLS = c.Target.TLS
	return nil
}

func chainOnly(pool *x509.CertPool) func(tls.ConnectionState) error {
	return func(s tls.ConnectionState) error {
		opts := x509.VerifyOptions{Roots: pool, Intermediates: x509.NewCertPool()}
		for _, c := range s.PeerCertificates[1:] {
			opts.Intermediates.AddCert(c)
		}
		_, err := s.PeerCertificates[0].Verify(opts)
		return err
	}
}
