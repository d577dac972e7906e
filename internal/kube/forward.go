package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
)

// DialPod connects to a port of a pod through the API server, as `kubectl
// port-forward` does, so the user's machine needs no route to the pods. The
// connections to one pod share one upgraded request. Whether the pod's port
// accepts is known only at the first read: its error then carries what the
// API server said.
func (c *Client) DialPod(ctx context.Context, namespace, pod string, port int) (net.Conn, error) {
	// The upgrade has no bound of its own, and an API server that is cut off
	// does not even refuse.
	ctx, cancel := context.WithTimeout(ctx, forwardTimeout)
	defer cancel()
	conn, err := c.forwards.dial(ctx, podKey{namespace, pod}, port)
	if err != nil {
		return nil, c.wrap(err, "connect to port %d of pod %s/%s", port, namespace, pod)
	}
	conn.client = c
	return conn, nil
}

// forwardTimeout bounds one DialPod.
const forwardTimeout = 15 * time.Second

type podKey struct{ namespace, pod string }

// forwarder keeps one upgraded connection per pod.
type forwarder struct {
	client *Client

	mu     sync.Mutex
	links  map[podKey]*podLink
	closed bool
}

// podLink is one upgraded connection; ready is closed when conn or err is set.
type podLink struct {
	ready chan struct{}
	conn  httpstream.Connection
	err   error

	mu     sync.Mutex
	nextID int
}

func newForwarder(c *Client) *forwarder {
	return &forwarder{client: c, links: map[podKey]*podLink{}}
}

func (f *forwarder) dial(ctx context.Context, key podKey, port int) (*podConn, error) {
	conn, err := f.dialOnce(ctx, key, port)
	if err == nil || ctx.Err() != nil || IsAuth(err) || IsNotFound(err) {
		return conn, err
	}
	// The kept connection may have died unnoticed: once more on a new one.
	return f.dialOnce(ctx, key, port)
}

func (f *forwarder) dialOnce(ctx context.Context, key podKey, port int) (*podConn, error) {
	link, err := f.link(ctx, key)
	if err != nil {
		return nil, err
	}
	type opened struct {
		conn *podConn
		err  error
	}
	// Opening streams waits for the far side, which knows no context.
	result := make(chan opened, 1)
	go func() {
		conn, err := link.open(key, port, func() { f.drop(key, link) })
		result <- opened{conn, err}
	}()
	select {
	case r := <-result:
		if r.err != nil {
			f.drop(key, link)
		}
		return r.conn, r.err
	case <-ctx.Done():
		f.drop(key, link)
		go func() {
			if r := <-result; r.conn != nil {
				_ = r.conn.Close()
			}
		}()
		return nil, ctx.Err()
	}
}

// link returns the connection to the pod, made by the first that asks.
func (f *forwarder) link(ctx context.Context, key podKey) (*podLink, error) {
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return nil, errNoServer
	}
	link, ok := f.links[key]
	if !ok {
		link = &podLink{ready: make(chan struct{})}
		f.links[key] = link
		go f.upgrade(key, link)
	}
	f.mu.Unlock()
	select {
	case <-link.ready:
		return link, link.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// upgrade knows no context (the libraries have none); whoever waits for it
// gives up on its own.
func (f *forwarder) upgrade(key podKey, link *podLink) {
	link.conn, link.err = f.client.upgradePod(key)
	close(link.ready)
	if link.err != nil {
		f.drop(key, link)
		return
	}
	f.mu.Lock()
	closed := f.closed
	f.mu.Unlock()
	if closed {
		_ = link.conn.Close()
		return
	}
	go func() {
		<-link.conn.CloseChan()
		f.drop(key, link)
	}()
}

// drop makes the next dial upgrade anew. Connections in use live on.
func (f *forwarder) drop(key podKey, link *podLink) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.links[key] == link {
		delete(f.links, key)
	}
}

func (f *forwarder) close() {
	f.mu.Lock()
	links := f.links
	f.links, f.closed = map[podKey]*podLink{}, true
	f.mu.Unlock()
	for _, link := range links {
		select {
		case <-link.ready:
			if link.conn != nil {
				_ = link.conn.Close()
			}
		default: // upgrade closes it
		}
	}
}

func (c *Client) upgradePod(key podKey) (httpstream.Connection, error) {
	target := c.core.CoreV1().RESTClient().Post().
		Resource("pods").Namespace(key.namespace).Name(key.pod).SubResource("portforward").URL()
	transport, upgrader, err := spdy.RoundTripperFor(c.config)
	if err != nil {
		return nil, fmt.Errorf("prepare the SPDY upgrade: %w", err)
	}
	old := spdy.NewDialer(upgrader, &http.Client{Transport: transport, Timeout: requestTimeout}, http.MethodPost, target)
	current, err := portforward.NewSPDYOverWebsocketDialer(target, c.config)
	if err != nil {
		return nil, fmt.Errorf("prepare the WebSocket upgrade: %w", err)
	}
	conn, _, err := portforward.NewFallbackDialer(current, old, canFallBack).Dial(portforward.PortForwardProtocolV1Name)
	if err != nil {
		return nil, fmt.Errorf("port-forward: %w", err)
	}
	return conn, nil
}

// open makes the two streams of one forwarded connection. onError is called
// when the far side reported an error.
func (l *podLink) open(key podKey, port int, onError func()) (*podConn, error) {
	l.mu.Lock()
	defer l.mu.Unlock() // a pair of streams must not interleave with another's
	headers := http.Header{}
	headers.Set(corev1.PortHeader, strconv.Itoa(port))
	headers.Set(corev1.PortForwardRequestIDHeader, strconv.Itoa(l.nextID))
	l.nextID++
	headers.Set(corev1.StreamType, corev1.StreamTypeError)
	errorStream, err := l.conn.CreateStream(headers)
	if err != nil {
		return nil, fmt.Errorf("open the error stream: %w", err)
	}
	_ = errorStream.Close() // nothing is written to it; reading goes on
	headers.Set(corev1.StreamType, corev1.StreamTypeData)
	dataStream, err := l.conn.CreateStream(headers)
	if err != nil {
		l.conn.RemoveStreams(errorStream)
		return nil, fmt.Errorf("open the data stream: %w", err)
	}
	near, far := net.Pipe() // gives deadlines, which streams do not have
	conn := &podConn{
		Conn: near, addr: podAddr(fmt.Sprintf("%s/%s:%d", key.namespace, key.pod, port)),
		refused: make(chan struct{}),
	}
	go conn.watchErrors(errorStream, onError)
	go func() {
		_, _ = io.Copy(far, dataStream)
		_ = far.Close()
	}()
	go func() {
		_, _ = io.Copy(dataStream, far)
		_ = dataStream.Reset()
		_ = far.Close()
		l.conn.RemoveStreams(errorStream, dataStream)
	}()
	return conn, nil
}

// podConn is one forwarded connection.
type podConn struct {
	net.Conn
	client  *Client
	addr    podAddr
	refused chan struct{} // closed when the error stream has ended
	reason  string        // what it said; read after refused is closed
}

func (p *podConn) watchErrors(stream httpstream.Stream, onError func()) {
	message, err := io.ReadAll(stream)
	if err == nil && len(message) > 0 {
		p.reason = strings.TrimSpace(string(message))
		onError()
	}
	close(p.refused)
	if p.reason != "" {
		_ = p.Conn.Close() // wakes a reader that would wait for ever
	}
}

// Read reports the API server's reason when the far side refused.
func (p *podConn) Read(b []byte) (int, error) {
	n, err := p.Conn.Read(b)
	return n, p.explain(err)
}

// Write reports the API server's reason when the far side refused.
func (p *podConn) Write(b []byte) (int, error) {
	n, err := p.Conn.Write(b)
	return n, p.explain(err)
}

// SetDeadline reports it too: it is what clients of Redis do first.
func (p *podConn) SetDeadline(t time.Time) error { return p.explain(p.Conn.SetDeadline(t)) }

// SetReadDeadline is the same for reading.
func (p *podConn) SetReadDeadline(t time.Time) error { return p.explain(p.Conn.SetReadDeadline(t)) }

// SetWriteDeadline is the same for writing.
func (p *podConn) SetWriteDeadline(t time.Time) error { return p.explain(p.Conn.SetWriteDeadline(t)) }

// explain replaces the end of the connection by its reason, which may come
// just after it.
func (p *podConn) explain(err error) error {
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	wait := time.NewTimer(200 * time.Millisecond)
	defer wait.Stop()
	select {
	case <-p.refused:
		if p.reason != "" {
			return p.client.wrap(&ForwardError{Address: string(p.addr), Reason: p.reason}, "port-forward")
		}
	case <-wait.C:
	}
	return err
}

func (p *podConn) LocalAddr() net.Addr  { return podAddr("port-forward") }
func (p *podConn) RemoteAddr() net.Addr { return p.addr }

type podAddr string

func (podAddr) Network() string  { return "pod" }
func (a podAddr) String() string { return string(a) }

// ForwardError is what the API server or the kubelet said when it could not
// connect to the port of a pod.
type ForwardError struct {
	Address string // namespace/pod:port
	Reason  string
}

func (e *ForwardError) Error() string { return e.Address + ": " + e.Reason }

// Refused reports whether nothing listens on the port.
func (e *ForwardError) Refused() bool { return strings.Contains(e.Reason, "connection refused") }
