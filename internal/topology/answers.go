package topology

// Answers are what the pods of an instance said, by pod name.
type Answers struct {
	Pods      map[string]PodAnswer
	Sentinels map[string]SentinelAnswer
}

// PodAnswer is what one data pod said about itself and its neighbours.
type PodAnswer struct {
	Err error // no answer, for this reason; the rest is empty

	RedisMode string // redis_mode of INFO: standalone, cluster or sentinel
	Version   string
	RunID     string

	Replication Replication

	ClusterState string // cluster_state of CLUSTER INFO: ok or fail
	ClusterNodes string // CLUSTER NODES, as it came
}

// Replication is the answer to ROLE.
type Replication struct {
	Role       Role
	Offset     int64
	MasterHost string // of a replica
	MasterPort int
	Connected  bool            // a replica whose link to its master is up
	Replicas   []ReplicaOfRole // of a master
}

// ReplicaOfRole is a replica as its master lists it.
type ReplicaOfRole struct {
	Host   string
	Port   int
	Offset int64
}

// SentinelAnswer is what one Sentinel said about the instance's master.
type SentinelAnswer struct {
	Err    error
	Host   string
	Port   int
	Quorum string // answer to SENTINEL CKQUORUM; "" when not asked
	NoGood bool   // that answer was an error: no failover would be possible
}
