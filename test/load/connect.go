package load

import (
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Connect opens an instance from inside its Kubernetes cluster. Mode is
// cluster (addresses are nodes), sentinel (addresses are sentinels) or
// standalone.
func Connect(mode, addresses, password string) (redis.UniversalClient, error) {
	list := strings.Split(addresses, ",")
	const wait = 5 * time.Second
	switch mode {
	case "cluster":
		return redis.NewClusterClient(&redis.ClusterOptions{
			Addrs: list, Password: password, Protocol: 2,
			DialTimeout: wait, ReadTimeout: wait, WriteTimeout: wait, MaxRedirects: 8, DisableIdentity: true,
		}), nil
	case "sentinel":
		return redis.NewFailoverClient(&redis.FailoverOptions{
			MasterName: "mymaster", SentinelAddrs: list, Password: password,
			Protocol: 2, DialTimeout: wait, ReadTimeout: wait, WriteTimeout: wait, DisableIdentity: true,
		}), nil
	case "standalone":
		return redis.NewClient(&redis.Options{
			Addr: list[0], Password: password, Protocol: 2,
			DialTimeout: wait, ReadTimeout: wait, WriteTimeout: wait, DisableIdentity: true,
		}), nil
	}
	return nil, fmt.Errorf("mode %q: cluster, sentinel or standalone", mode)
}
