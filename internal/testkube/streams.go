package testkube

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/apimachinery/pkg/util/httpstream/spdy"
	"k8s.io/apimachinery/pkg/util/remotecommand"
	"k8s.io/client-go/tools/portforward"
)

// upgrade accepts SPDY. A WebSocket upgrade is refused as an old API server
// does, so that the client falls back.
func upgrade(w http.ResponseWriter, r *http.Request, protocols ...string) (<-chan httpstream.Stream, httpstream.Connection) {
	if r.Method == http.MethodGet {
		http.Error(w, "no WebSockets here", http.StatusBadRequest)
		return nil, nil
	}
	if _, err := httpstream.Handshake(r, w, protocols); err != nil {
		http.Error(w, err.Error(), http.StatusForbidden)
		return nil, nil
	}
	streams := make(chan httpstream.Stream, 64)
	conn := spdy.NewResponseUpgrader().UpgradeResponse(w, r, func(stream httpstream.Stream, _ <-chan struct{}) error {
		streams <- stream
		return nil
	})
	return streams, conn
}

// forward connects the streams of each request id to the address that Forward
// names, and writes the reason into the error stream when there is none.
func (s *Server) forward(w http.ResponseWriter, r *http.Request, t target) {
	if s.Object(strings.TrimSuffix(t.path(), "/portforward")) == nil {
		notFound(w, t)
		return
	}
	streams, conn := upgrade(w, r, portforward.PortForwardProtocolV1Name)
	if conn == nil {
		return
	}
	defer func() { _ = conn.Close() }()
	failures := map[string]httpstream.Stream{}
	for {
		select {
		case <-conn.CloseChan():
			return
		case stream := <-streams:
			id := stream.Headers().Get(corev1.PortForwardRequestIDHeader)
			if stream.Headers().Get(corev1.StreamType) == corev1.StreamTypeError {
				failures[id] = stream
				continue
			}
			s.mu.Lock()
			address := s.Forward[fmt.Sprintf("%s/%s:%s", t.namespace, t.name, stream.Headers().Get(corev1.PortHeader))]
			s.mu.Unlock()
			go join(stream, failures[id], address)
			delete(failures, id)
		}
	}
}

func join(data, failure httpstream.Stream, address string) {
	defer func() { _ = failure.Close() }()
	defer func() { _ = data.Close() }()
	if address == "" {
		_, _ = io.WriteString(failure, "failed to connect to localhost inside namespace: connect: connection refused")
		return
	}
	server, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		_, _ = io.WriteString(failure, err.Error())
		return
	}
	var once sync.Once
	hangUp := func() { once.Do(func() { _ = server.Close() }) }
	go func() {
		_, _ = io.Copy(server, data)
		hangUp()
	}()
	_, _ = io.Copy(data, server)
	hangUp()
}

// exec answers through the streams of the v4 protocol.
func (s *Server) exec(w http.ResponseWriter, r *http.Request, t target) {
	streams, conn := upgrade(w, r, remotecommand.StreamProtocolV4Name)
	if conn == nil {
		return
	}
	defer func() { _ = conn.Close() }()
	byType := map[string]httpstream.Stream{}
	for len(byType) < 3 {
		select {
		case stream := <-streams:
			byType[stream.Headers().Get(corev1.StreamType)] = stream
		case <-conn.CloseChan():
			return
		}
	}
	stdout, stderr, code := "", "exec is not set up", 126
	if s.Exec != nil {
		stdout, stderr, code = s.Exec(t.namespace, t.name, r.URL.Query()["command"])
	}
	_, _ = io.WriteString(byType[corev1.StreamTypeStdout], stdout)
	_, _ = io.WriteString(byType[corev1.StreamTypeStderr], stderr)
	status := metav1.Status{Status: metav1.StatusSuccess}
	if code != 0 {
		status = metav1.Status{
			Status: metav1.StatusFailure, Reason: remotecommand.NonZeroExitCodeReason,
			Message: fmt.Sprintf("command terminated with non-zero exit code: exit code %d", code),
			Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: remotecommand.ExitCodeCauseType, Message: strconv.Itoa(code)}}},
		}
	}
	raw, err := json.Marshal(status)
	if err != nil {
		return
	}
	_, _ = byType[corev1.StreamTypeError].Write(raw)
	for _, stream := range byType {
		_ = stream.Close()
	}
	<-conn.CloseChan() // the client hangs up when it has read everything
}

func (s *Server) proxy(w http.ResponseWriter, t target) {
	pod := strings.TrimPrefix(t.name, "http:")
	s.mu.Lock()
	body, ok := s.Proxy[t.namespace+"/"+strings.TrimSuffix(pod, ":")+"/"+t.subPath]
	s.mu.Unlock()
	if !ok {
		refuse(w, http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable, "error trying to reach service: connect: connection refused")
		return
	}
	_, _ = io.WriteString(w, body)
}

func (s *Server) log(w http.ResponseWriter, t target) {
	s.mu.Lock()
	text, ok := s.logs[t.namespace+"/"+t.name]
	s.mu.Unlock()
	if !ok {
		refuse(w, http.StatusBadRequest, metav1.StatusReasonBadRequest, "container is waiting to start: ContainerCreating")
		return
	}
	_, _ = io.WriteString(w, text)
}

// Answer sets what Proxy answers, also while requests come in.
func (s *Server) Answer(path, body string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Proxy[path] = body
}
