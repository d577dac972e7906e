package sidecar

import "github.com/redis-sync/kubectl-redis-sync/internal/wire"

// reason is why the next copy is a full one: in words, and as a class.
type reason struct {
	cause wire.FullSyncCause
	text  string
}

// begun counts a full copy in the status.
func (why reason) begun(s *wire.FullSyncStatus) {
	s.Count++
	s.Reason = why.text
	if s.Causes == nil {
		s.Causes = map[wire.FullSyncCause]int64{}
	}
	s.Causes[why.cause]++
}
