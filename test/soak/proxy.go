package soak

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"time"
)

// direction of bytes through a proxy.
type direction int

const (
	toServer direction = iota
	toClient
)

func (d direction) String() string { return [...]string{"to the server", "to the client"}[d] }

// proxy is a TCP address in front of a server that can cut connections at any
// byte, refuse new ones, and keep back bytes.
type proxy struct {
	addr, server string
	ports        map[string]string // for portRewriter; nil: bytes pass as they are

	ln      net.Listener
	mu      sync.Mutex
	links   map[*proxyLink]bool
	refused time.Time // connections are refused until then
}

// newProxy listens on a port with five digits, so that the rewriter can put
// it in the place of the server's.
func newProxy(server string, ports map[string]string) (*proxy, error) {
	var last error
	for range 200 {
		// Below the ports that the kernel gives to outgoing connections.
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(22001+rand.IntN(9990)))
		ln, err := net.Listen("tcp", addr)
		if err != nil {
			last = err
			continue
		}
		p := &proxy{addr: addr, server: server, ports: ports, ln: ln, links: map[*proxyLink]bool{}}
		go p.serve()
		return p, nil
	}
	return nil, fmt.Errorf("no free port for a proxy in front of %s: %w", server, last)
}

func (p *proxy) serve() {
	for {
		c, err := p.ln.Accept()
		if err != nil {
			return // closed
		}
		go p.accept(c)
	}
}

func (p *proxy) accept(c net.Conn) {
	p.mu.Lock()
	refuse := time.Now().Before(p.refused)
	p.mu.Unlock()
	if refuse {
		reset(c)
		return
	}
	s, err := net.DialTimeout("tcp", p.server, 3*time.Second)
	if err != nil {
		reset(c)
		return
	}
	l := &proxyLink{p: p, client: c, server: s}
	l.cond = sync.NewCond(&l.mu)
	l.left = [2]int64{-1, -1}
	p.mu.Lock()
	p.links[l] = true
	p.mu.Unlock()
	var rewriter *portRewriter
	if p.ports != nil {
		rewriter = &portRewriter{ports: p.ports}
	}
	go l.pump(toServer, c, s, nil)
	go l.pump(toClient, s, c, rewriter)
}

// cutAfter ends every open connection after n more bytes in direction d.
func (p *proxy) cutAfter(d direction, n int64) int {
	return p.each(func(l *proxyLink) { l.setLeft(d, n) })
}

// drop ends every open connection at once.
func (p *proxy) drop() int { return p.each((*proxyLink).end) }

// refuse ends every open connection, and each new one for a while.
func (p *proxy) refuse(d time.Duration) int {
	p.mu.Lock()
	p.refused = time.Now().Add(d)
	p.mu.Unlock()
	return p.drop()
}

// hold keeps back the bytes of every open connection in direction d until
// release is called. When the receiver of the other direction goes away
// meanwhile, the bytes stay.
func (p *proxy) hold(d direction) (release func() int) {
	var held []*proxyLink
	p.each(func(l *proxyLink) {
		l.setHeld(d, true)
		held = append(held, l)
	})
	return func() int {
		total := 0
		for _, l := range held {
			total += l.setHeld(d, false)
		}
		return total
	}
}

func (p *proxy) each(f func(*proxyLink)) int {
	p.mu.Lock()
	links := make([]*proxyLink, 0, len(p.links))
	for l := range p.links {
		links = append(links, l)
	}
	p.mu.Unlock()
	for _, l := range links {
		f(l)
	}
	return len(links)
}

func (p *proxy) close() {
	_ = p.ln.Close()
	p.drop()
}

// reset closes a connection as a broken network does, without a FIN.
func reset(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0) // fails only on a closed connection
	}
	_ = c.Close()
}

// proxyLink is one connection through a proxy.
type proxyLink struct {
	p              *proxy
	client, server net.Conn

	mu     sync.Mutex
	cond   *sync.Cond
	left   [2]int64 // bytes until the cut, per direction; -1: no cut
	held   [2]bool
	queued [2]int // bytes that wait while held
	ended  bool
}

func (l *proxyLink) setLeft(d direction, n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.left[d] = n
}

func (l *proxyLink) setHeld(d direction, on bool) (queued int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held[d] = on
	l.cond.Broadcast()
	return l.queued[d]
}

// end breaks both connections.
func (l *proxyLink) end() { l.endWith(reset) }

func (l *proxyLink) endWith(closeConn func(net.Conn)) {
	l.mu.Lock()
	already := l.ended
	l.ended = true
	l.cond.Broadcast()
	l.mu.Unlock()
	if already {
		return
	}
	closeConn(l.client)
	closeConn(l.server)
	l.p.mu.Lock()
	delete(l.p.links, l)
	l.p.mu.Unlock()
}

// finished is called when one direction is over. Bytes that are held in the
// other one keep the link.
func (l *proxyLink) finished(d direction) {
	other := 1 - d
	l.mu.Lock()
	wait := l.held[other]
	l.mu.Unlock()
	if !wait {
		l.endWith(func(c net.Conn) { _ = c.Close() })
	}
}

// heldBytes is how much a held direction keeps before it stops reading.
const heldBytes = 16 << 20

// pump moves the bytes of one direction. Reading and writing are apart, so
// that what a sender wrote before it died is kept.
func (l *proxyLink) pump(d direction, from, to net.Conn, rewriter *portRewriter) {
	defer l.finished(d)
	chunks := make(chan []byte, heldBytes/(32<<10))
	go func() {
		defer close(chunks)
		buf := make([]byte, 32<<10)
		for {
			n, err := from.Read(buf)
			if n > 0 {
				p := append([]byte(nil), buf[:n]...)
				if rewriter != nil {
					p = rewriter.rewrite(p)
				}
				l.mu.Lock()
				l.queued[d] += len(p)
				l.mu.Unlock()
				chunks <- p
			}
			if err != nil {
				return
			}
		}
	}()
	defer func() { // let the reader end
		_ = from.SetReadDeadline(time.Now())
		for range chunks {
		}
	}()
	for p := range chunks {
		if !l.write(d, to, p) {
			return
		}
	}
	if rewriter != nil && len(rewriter.rest) > 0 {
		l.write(d, to, rewriter.rest)
	}
	// What was read is written; nothing is lost at a graceful end.
	if t, ok := to.(*net.TCPConn); ok {
		_ = t.CloseWrite()
	}
}

// write waits while the direction is held, and obeys a cut. It returns false
// when the link is over.
func (l *proxyLink) write(d direction, to net.Conn, p []byte) bool {
	l.mu.Lock()
	for l.held[d] && !l.ended {
		l.cond.Wait()
	}
	l.queued[d] -= len(p)
	if l.ended {
		l.mu.Unlock()
		return false
	}
	cut := false
	if left := l.left[d]; left >= 0 {
		if int64(len(p)) >= left {
			p, cut = p[:left], true
		} else {
			l.left[d] -= int64(len(p))
		}
	}
	l.mu.Unlock()
	_, err := to.Write(p)
	if cut {
		// The bytes before the cut shall arrive: a reset would overtake them.
		if t, ok := to.(*net.TCPConn); ok && err == nil {
			_ = t.CloseWrite()
			time.Sleep(5 * time.Millisecond)
		}
		l.end()
		return false
	}
	return err == nil
}
