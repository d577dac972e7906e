package wire

// SyncFile is sync.toml: the file of RedisShake 3.1 (types, names and meaning
// of its keys) plus our own keys, marked "own". The plugin writes it, the
// replicator reads it (sidecar/config sets defaults and checks it).
// A key that is not here is an error.
type SyncFile struct {
	Type     string       `toml:"type"` // "sync"; "restore" and "scan" are refused
	Link     *SyncLink    `toml:"link,omitempty"`
	Source   SyncSource   `toml:"source"`
	Target   SyncTarget   `toml:"target"`
	Advanced SyncAdvanced `toml:"advanced"`
}

// SyncLink (own) says which shard of which pair this is. Without it the
// identity is a hash of the source, and there is no epoch fence.
type SyncLink struct {
	Pair  string `toml:"pair"`
	Site  string `toml:"site"`  // the target's site name
	Shard int    `toml:"shard"` // ordinal in the record
	Epoch int64  `toml:"epoch"` // > 0
	Slots string `toml:"slots"` // "0-5460,6000"; "0-16383" for a source that is no cluster
}

// SyncSource is where the data comes from.
type SyncSource struct {
	Version          any    `toml:"version,omitempty"` // accepted and not used: the server says it
	Address          string `toml:"address"`
	Username         string `toml:"username"`
	Password         string `toml:"password"`
	TLS              bool   `toml:"tls"`
	ElastiCachePsync string `toml:"elasticache_psync"` // the verb to send instead of PSYNC

	// Own keys. Candidates are the addresses of all data pods of the source;
	// the replicator asks each one which slots it serves and in which role.
	Candidates   []string `toml:"candidates,omitempty"`
	PasswordFile string   `toml:"password_file,omitempty"`
	CAFile       string   `toml:"ca_file,omitempty"`
	CertFile     string   `toml:"cert_file,omitempty"`
	KeyFile      string   `toml:"key_file,omitempty"`
	ServerName   string   `toml:"server_name,omitempty"` // for the certificate; "" checks the chain only
}

// SyncTarget is where the data goes.
type SyncTarget struct {
	Type     string `toml:"type"`              // "standalone" (also what Sentinel manages) or "cluster"
	Version  any    `toml:"version,omitempty"` // accepted and not used
	Address  string `toml:"address"`
	Username string `toml:"username"`
	Password string `toml:"password"`
	TLS      bool   `toml:"tls"`

	// Own keys. With Sentinels the master is asked for there; else the
	// candidate (or the address) that says ROLE master is taken.
	Candidates        []string `toml:"candidates,omitempty"`
	Sentinels         []string `toml:"sentinels,omitempty"`
	MasterName        string   `toml:"master_name,omitempty"`
	SentinelUsername  string   `toml:"sentinel_username,omitempty"`
	SentinelPassFile  string   `toml:"sentinel_password_file,omitempty"`
	PasswordFile      string   `toml:"password_file,omitempty"`
	SyncUsername      string   `toml:"sync_username,omitempty"`      // tried first, where set: the user that may
	SyncPasswordFile  string   `toml:"sync_password_file,omitempty"` // write to a protected standby
	CAFile            string   `toml:"ca_file,omitempty"`
	CertFile          string   `toml:"cert_file,omitempty"`
	KeyFile           string   `toml:"key_file,omitempty"`
	ServerName        string   `toml:"server_name,omitempty"`
	StaleKeys         string   `toml:"stale_keys,omitempty"`           // keep (default without [link]), prune, refuse (default with [link])
	StaleKeysMaxShare *float64 `toml:"stale_keys_max_share,omitempty"` // 0..1, default 0.1; 1.0 acknowledges any share
}

// SyncAdvanced holds sizes, ports and logging.
type SyncAdvanced struct {
	Dir                  string `toml:"dir"` // default "data"
	NCPU                 int    `toml:"ncpu"`
	PprofPort            int    `toml:"pprof_port"`                   // localhost only; 0 = off
	MetricsPort          int    `toml:"metrics_port"`                 // all interfaces; 0 = off
	LogFile              string `toml:"log_file"`                     // "" = standard output only
	LogLevel             string `toml:"log_level"`                    // debug, info or warn
	LogInterval          int    `toml:"log_interval"`                 // seconds between progress lines; <= 0 = none
	RestoreBehavior      string `toml:"rdb_restore_command_behavior"` // panic, rewrite or skip (ignore means skip)
	PipelineCountLimit   int    `toml:"pipeline_count_limit"`
	TargetMaxQuerybufLen int64  `toml:"target_redis_client_max_querybuf_len"`
	TargetMaxBulkLen     int64  `toml:"target_redis_proto_max_bulk_len"`

	// Own keys; 0 means the default.
	SpoolMemory     int64 `toml:"spool_memory_bytes,omitempty"`
	SpoolDisk       int64 `toml:"spool_disk_bytes,omitempty"`
	MaxBytesPerSec  int64 `toml:"max_bytes_per_second,omitempty"`
	MaxCommandsPerS int64 `toml:"max_commands_per_second,omitempty"`
	RebuildAbove    int64 `toml:"rebuild_above_bytes,omitempty"` // larger values are written as commands
	DrainSeconds    int   `toml:"drain_seconds,omitempty"`       // bound of the drain after SIGTERM, default 10
}

// DefaultMetricsPort is the port of /status, /metrics, /healthz and /readyz
// that the plugin gives to replicators.
const DefaultMetricsPort = 9310
