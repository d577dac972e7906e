package config

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestRedisShakeFile reads a RedisShake 3.1 file as it stands in the
// procedure that this tool replaces.
func TestRedisShakeFile(t *testing.T) {
	c, err := Load("testdata/redisshake.toml")
	if err != nil {
		t.Fatal(err)
	}
	if c.SyncFile.Source.Address != "10.233.109.145:6379" || c.SyncFile.Target.Type != "cluster" ||
		c.Advanced.Dir != "data" || c.Advanced.NCPU != 4 || c.Advanced.LogFile != "redis-shake.log" ||
		c.Advanced.RestoreBehavior != RestoreRewrite || c.Advanced.TargetMaxBulkLen != 512_000_000 || c.Advanced.TargetMaxQuerybufLen != 1024_000_000 {
		t.Errorf("read %+v", c.SyncFile)
	}
	if c.Source.Auths[0].Password != "3wPxzWffdn" || c.Target.Auths[0].Password != "Aa123456" {
		t.Error("the passwords are not those of the file")
	}
	if c.SyncFile.Target.StaleKeys != StaleKeep || c.Link != nil {
		t.Errorf("without [link] stale keys are kept; got %q", c.SyncFile.Target.StaleKeys)
	}
}

const good = `
type = "sync"
[link]
pair = "dr"
site = "redis-b"
shard = 1
epoch = 3
slots = "0-100,200"
[source]
address = "127.0.0.1:1"
[target]
address = "127.0.0.1:2"
[advanced]
`

func TestLink(t *testing.T) {
	c, err := Parse("sync.toml", good)
	if err != nil {
		t.Fatal(err)
	}
	if c.Slots.String() != "0-100,200" || c.SyncFile.Target.StaleKeys != StaleRefuse || c.MaxShare != 0.1 {
		t.Errorf("slots %s, stale keys %s, share %g", c.Slots, c.SyncFile.Target.StaleKeys, c.MaxShare)
	}
}

func TestBadFiles(t *testing.T) {
	for name, tc := range map[string]struct{ old, new, want string }{
		"misspelt":             {"[advanced]", "[advanced]\nmetrics_prot = 1", "advanced.metrics_prot: is not a key of sync.toml; did you mean advanced.metrics_port?"},
		"wrong table":          {"[advanced]", "[advanced]\nstale_keys = \"keep\"", "did you mean target.stale_keys?"},
		"unknown table":        {"[advanced]", "[sauce]\naddress = \"x\"", "did you mean source"},
		"type":                 {`type = "sync"`, `type = "scan"`, `type: is "scan"`},
		"behaviour":            {"[advanced]", "[advanced]\nrdb_restore_command_behavior = \"replace\"", "expected panic, rewrite or skip"},
		"log level":            {"[advanced]", "[advanced]\nlog_level = \"loud\"", "expected debug, info or warn"},
		"no address":           {`address = "127.0.0.1:1"`, ``, "source.address: is empty"},
		"bad address":          {`127.0.0.1:1`, `127.0.0.1`, `address "127.0.0.1" is not host:port`},
		"slots":                {"0-100,200", "0-16384", "link.slots:"},
		"no slots":             {"0-100,200", "", "link.slots: is empty"},
		"epoch":                {"epoch = 3", "epoch = 0", "link.epoch: is 0"},
		"pair":                 {`"dr"`, `"DR!"`, "link.pair:"},
		"share":                {"[advanced]", "stale_keys_max_share = 1.5\n[advanced]", "expected a number between 0 and 1"},
		"policy":               {"[advanced]", "stale_keys = \"drop\"\n[advanced]", "expected keep, prune or refuse"},
		"type of a value":      {"[advanced]", "[advanced]\nncpu = \"four\"", "ncpu"},
		"both passwords":       {"[advanced]", "password = \"secret1\"\npassword_file = \"p\"\n[advanced]", "both set"},
		"missing file":         {"[advanced]", "password_file = \"nowhere\"\n[advanced]", "target.password_file:"},
		"negative":             {"[advanced]", "[advanced]\nspool_disk_bytes = -1", "expected 0 or more"},
		"sentinel without set": {"[advanced]", "sentinels = [\"127.0.0.1:3\"]\n[advanced]", "target.master_name:"},
		"not toml":             {"[advanced]", "password = secret1\n[advanced]", "not valid TOML"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("sync.toml", strings.Replace(good, tc.old, tc.new, 1))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("got %v, want an error with %q", err, tc.want)
			}
			if strings.Contains(err.Error(), "secret1") {
				t.Errorf("the error shows a password: %v", err)
			}
		})
	}
}

func TestIgnoreMeansSkip(t *testing.T) {
	c, err := Parse("sync.toml", good+"rdb_restore_command_behavior = \"ignore\"\n")
	if err != nil || c.Advanced.RestoreBehavior != RestoreSkip {
		t.Fatalf("%v %v", c, err)
	}
}

func TestPasswordFiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "p"), []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Parse(filepath.Join(dir, "sync.toml"), strings.Replace(good, "[advanced]", "password_file = \"p\"\n[advanced]", 1))
	if err != nil {
		t.Fatal(err)
	}
	if a := c.Target.Auths; len(a) != 2 || a[0].Password != "secret" || a[1].Password != "secret\n" {
		t.Errorf("a trailing newline is tried second only; got %d credentials", len(a))
	}
}

var readsFiles = regexp.MustCompile(`(password|ca|cert|key)_file`)

func FuzzParse(f *testing.F) {
	seed, err := os.ReadFile("testdata/redisshake.toml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(seed))
	f.Add(good)
	f.Fuzz(func(t *testing.T, text string) {
		if readsFiles.MatchString(text) {
			t.Skip("would read files of this machine")
		}
		if c, err := Parse("sync.toml", text); err == nil && len(c.SourceAddrs) == 0 {
			t.Error("accepted a file without a source")
		}
	})
}
