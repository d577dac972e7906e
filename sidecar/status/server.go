package status

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// Serve answers on all interfaces until the context ends. It returns the
// address once it listens.
func (t *Tracker) Serve(ctx context.Context, port int) (net.Addr, error) {
	l, err := net.Listen("tcp", net.JoinHostPort("", strconv.Itoa(port)))
	if err != nil {
		return nil, fmt.Errorf("listening for /status: %w", err)
	}
	srv := &http.Server{Handler: t.Handler(), ReadHeaderTimeout: 5 * time.Second}
	go func() {
		<-ctx.Done()
		_ = srv.Close()
	}()
	go func() {
		if err := srv.Serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) {
			t.Update(func(s *wire.Status) { s.Findings = append(s.Findings, "the status server ended: "+err.Error()) })
		}
	}()
	return l.Addr(), nil
}

// Handler serves the four paths.
func (t *Tracker) Handler() http.Handler {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collector{t}, collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		if err := enc.Encode(t.Get()); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		s := t.Get()
		if s.Phase == wire.PhaseFailed {
			http.Error(w, "failed: "+s.Error, http.StatusServiceUnavailable)
			return
		}
		_, _ = fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		s := t.Get()
		if !s.InSync {
			http.Error(w, fmt.Sprintf("not in sync: %s, %d bytes and %.1f s behind", s.Phase, s.LagBytes, s.LagSeconds), http.StatusServiceUnavailable)
			return
		}
		_, _ = fmt.Fprintln(w, "in sync")
	})
	return mux
}

// collector turns the status into metrics at each scrape, so that both can
// never disagree.
type collector struct{ t *Tracker }

type metric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	get  func(s *wire.Status) float64
}

func gauge(name, help string, get func(s *wire.Status) float64) metric {
	return metric{prometheus.NewDesc("redis_sync_"+name, help, []string{"pair", "site", "shard"}, nil), prometheus.GaugeValue, get}
}

func counter(name, help string, get func(s *wire.Status) float64) metric {
	return metric{prometheus.NewDesc("redis_sync_"+name, help, []string{"pair", "site", "shard"}, nil), prometheus.CounterValue, get}
}

func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

var metrics = []metric{
	gauge("in_sync", "1 when the full copy is done and the lag has been under 1 s for 2 s", func(s *wire.Status) float64 { return flag(s.InSync) }),
	gauge("complete", "1 when the target holds a complete copy", func(s *wire.Status) float64 { return flag(s.Complete) }),
	gauge("epoch", "epoch of the pair that this replicator writes under", func(s *wire.Status) float64 { return float64(s.Epoch) }),
	gauge("lag_bytes", "offset of the shard's master less the applied offset", func(s *wire.Status) float64 { return float64(s.LagBytes) }),
	gauge("lag_seconds", "age of the oldest byte that is not applied", func(s *wire.Status) float64 { return s.LagSeconds }),
	gauge("source_offset_bytes", "replication offset received from the source", func(s *wire.Status) float64 { return float64(s.Source.Offset) }),
	gauge("source_master_offset_bytes", "replication offset of the shard's master, last seen", func(s *wire.Status) float64 { return float64(s.Source.MasterOffset) }),
	gauge("applied_offset_bytes", "replication offset applied to the target", func(s *wire.Status) float64 { return float64(s.AppliedOffset) }),
	gauge("full_sync_running", "1 while a snapshot is being written", func(s *wire.Status) float64 { return flag(s.FullSync.Running) }),
	gauge("full_sync_keys", "keys written by the running or last full copy", func(s *wire.Status) float64 { return float64(s.FullSync.Keys) }),
	gauge("full_sync_bytes", "snapshot bytes consumed by the running or last full copy", func(s *wire.Status) float64 { return float64(s.FullSync.Bytes) }),
	gauge("full_sync_total_bytes", "size of the snapshot, 0 while unknown", func(s *wire.Status) float64 { return float64(s.FullSync.TotalBytes) }),
	gauge("full_sync_stale_keys", "keys removed by the sweep of the last full copy", func(s *wire.Status) float64 { return float64(s.FullSync.StaleKeys) }),
	counter("full_syncs_total", "full copies since the process started", func(s *wire.Status) float64 { return float64(s.FullSync.Count) }),
	counter("partial_syncs_total", "partial resyncs since the process started", func(s *wire.Status) float64 { return float64(s.FullSync.Partial) }),
	counter("stream_commands_total", "commands applied from the stream", func(s *wire.Status) float64 { return float64(s.Stream.Commands) }),
	counter("stream_bytes_total", "bytes of the stream applied", func(s *wire.Status) float64 { return float64(s.Stream.Bytes) }),
	counter("reconnects_total", "times the source connection was made again", func(s *wire.Status) float64 { return float64(s.Stream.Reconnects) }),
	gauge("spool_bytes", "bytes received and not taken by the applier", func(s *wire.Status) float64 { return float64(s.Stream.SpoolBytes) }),
	gauge("spool_disk_bytes", "the part of the spool that is on disk", func(s *wire.Status) float64 { return float64(s.Stream.SpoolDiskBytes) }),
	gauge("pending_keys", "keys whose values are being fetched from the source", func(s *wire.Status) float64 { return float64(s.Stream.PendingKeys) }),
	counter("target_evicted_keys_total", "keys that the target dropped for want of memory since this replicator first connected to it", func(s *wire.Status) float64 { return float64(s.TargetKeys.Evicted) }),
	counter("target_expired_keys_total", "keys that the target let expire since this replicator first connected to it", func(s *wire.Status) float64 { return float64(s.TargetKeys.Expired) }),
	gauge("error", "1 while something keeps the replicator from writing", func(s *wire.Status) float64 { return flag(s.Error != "") }),
}

var phaseDesc = prometheus.NewDesc("redis_sync_phase", "1 for the phase that the replicator is in", []string{"pair", "site", "shard", "phase"}, nil)

var causeDesc = prometheus.NewDesc("redis_sync_full_sync_causes_total", "full copies since the process started, by cause", []string{"pair", "site", "shard", "cause"}, nil)

func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range metrics {
		ch <- m.desc
	}
	ch <- phaseDesc
	ch <- causeDesc
}

func (c collector) Collect(ch chan<- prometheus.Metric) {
	s := c.t.Get()
	shard := strconv.Itoa(s.Shard)
	for _, m := range metrics {
		ch <- prometheus.MustNewConstMetric(m.desc, m.kind, m.get(&s), s.Pair, s.Site, shard)
	}
	ch <- prometheus.MustNewConstMetric(phaseDesc, prometheus.GaugeValue, 1, s.Pair, s.Site, shard, string(s.Phase))
	for _, cause := range wire.FullSyncCauses() {
		ch <- prometheus.MustNewConstMetric(causeDesc, prometheus.CounterValue, float64(s.FullSync.Causes[cause]), s.Pair, s.Site, shard, string(cause))
	}
}
