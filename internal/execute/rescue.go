package execute

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/rescue"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
	"github.com/redis-sync/kubectl-redis-sync/manifests"
)

// RescueResult says what a rescue file holds.
type RescueResult struct {
	File      string `json:"file"`
	Keys      int64  `json:"keys"`
	Bytes     int64  `json:"bytes"`     // of the file
	Functions int64  `json:"functions"` // libraries
	// Gone keys were found and had expired, or were deleted, before they were
	// read.
	Gone int64 `json:"gone"`
}

// rescuedBefore reads the rescue file that exists, if any, and gives the
// operation that wrote it. A file that is not a whole one of this pair is left
// alone: the error says so.
func rescuedBefore(path string, r *pair.Record) (operation string, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		// The folder has to be there, before anything is done.
		if _, err := os.Stat(filepath.Dir(path)); err != nil {
			return "", fmt.Errorf("the rescue file: %w", err)
		}
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("the rescue file: %w", err)
	}
	defer f.Close()
	refused := func(why error) error {
		return fault.Wrap(fault.CodeRefused, "give another name: an existing file is not replaced", fmt.Errorf("the rescue file %s exists: %w", path, why))
	}
	summary, err := rescue.Check(f, nil)
	if err != nil {
		return "", refused(err)
	}
	h := summary.Header
	if s := r.Body.Switch; h.Pair != r.Pair || h.Epoch != r.Epoch || h.From.Name != r.Standby() || s == nil || h.Operation != s.Rescued {
		return "", refused(fmt.Errorf("it is of pair %s at epoch %d, written at %s by another operation", h.Pair, h.Epoch, h.Time.Format(time.RFC3339)))
	}
	return h.Operation, nil
}

// rescue saves what only the old primary has, or has otherwise. Afterwards it
// is in a file on this machine's disk.
func (h *switchHands) rescue(ctx context.Context, r *pair.Record) error {
	if _, err := os.Lstat(h.opts.RescueFile); err == nil {
		return fault.New(fault.CodePartial, "give another name and run it again", "the rescue file %s exists and is not replaced", h.opts.RescueFile)
	}
	o := h.apart()
	// Another Job than the one that counted.
	o.Run += "r"
	o.Mode, o.Timeout = wire.VerifyFull, h.compareTimeout(true)
	o.Rescue = &rescue.Header{
		Pair: r.Pair, Epoch: r.Epoch, Operation: h.opts.Operation.ID, Time: time.Now().UTC().Truncate(time.Second),
		From: rescueSite(r, r.Standby()), To: rescueSite(r, r.Primary),
	}
	var saved *RescueResult
	result, err := verifyAnd(ctx, h.session, o, func(ctx context.Context, party *Party, pod string) error {
		var err error
		saved, err = h.fetch(ctx, party, pod)
		return err
	})
	if saved == nil {
		if err == nil {
			err = errors.New("the rescue file was not fetched")
		}
		return err
	}
	if err != nil { // what is left behind goes away by itself
		h.notes = append(h.notes, err.Error())
	}
	h.found(result)
	h.rescued = saved
	return nil
}

func rescueSite(r *pair.Record, name string) rescue.Site {
	state := r.Body.Sites[name]
	cluster := state.Cluster.UID
	if cluster == "" {
		cluster = state.Cluster.CAHash
	}
	return rescue.Site{Name: name, Namespace: state.Namespace, Instance: state.Instance, Cluster: cluster}
}

// fetchTries is how often the file is fetched: a port-forward breaks easily.
const fetchTries = 3

// fetch brings the file here, through a port-forward to the pod that made it.
func (h *switchHands) fetch(ctx context.Context, party *Party, pod string) (*RescueResult, error) {
	var errs []error
	for try := 1; ; try++ {
		summary, err := h.fetchOnce(ctx, party, pod)
		if err == nil {
			return &RescueResult{
				File: h.opts.RescueFile, Keys: summary.Keys, Bytes: summary.Bytes, Functions: summary.Functions, Gone: summary.Gone,
			}, nil
		}
		errs = append(errs, err)
		var local *rescue.WriteError
		if errors.As(err, &local) || errors.Is(err, fs.ErrExist) || ctx.Err() != nil || try == fetchTries {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
	err := errs[len(errs)-1]
	// The pod knows better than a connection that broke.
	if text, logErr := party.Cluster.PodLog(ctx, party.Site.Namespace, pod, manifests.JobContainer, logLines, false); logErr == nil {
		if said := lastLine(text).Error; said != "" {
			err = fmt.Errorf("%w: %s", err, said)
		}
	}
	return nil, fmt.Errorf("%w; the old primary is as it was", err)
}

func (h *switchHands) fetchOnce(ctx context.Context, party *Party, pod string) (*rescue.Summary, error) {
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return party.Kube.DialPod(ctx, party.Site.Namespace, pod, wire.RescuePort)
		},
		DisableCompression: true,
	}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+pod+wire.RescuePath, nil)
	if err != nil {
		return nil, fmt.Errorf("fetching the rescue file: %w", err)
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return nil, fmt.Errorf("fetching the rescue file from pod %s: %w", pod, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetching the rescue file: pod %s says %s", pod, response.Status)
	}
	f, err := rescue.Create(h.opts.RescueFile)
	if err != nil {
		return nil, err
	}
	defer f.Discard()
	summary, err := rescue.Receive(f, response.Body, h.rescueProgress())
	if err != nil {
		return nil, receiveError(pod, err)
	}
	return summary, f.Commit()
}

// receiveError tells a disk that is full from a stream that broke.
func receiveError(pod string, err error) error {
	var local *rescue.WriteError
	if errors.As(err, &local) {
		return err
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("the connection broke: %w", err)
	}
	return fmt.Errorf("the rescue file from pod %s is not whole: %w", pod, err)
}

// rescueProgress tells now and then how far the file is.
func (h *switchHands) rescueProgress() func(*rescue.Key, int64) error {
	if h.opts.Verify.Waiting == nil {
		return nil
	}
	keys := int64(0)
	return func(_ *rescue.Key, offset int64) error {
		if keys++; keys%1000 == 0 {
			h.opts.Verify.Waiting(fmt.Sprintf("%d keys are saved, %d bytes", keys, offset))
		}
		return nil
	}
}
