package soak

import (
	"bytes"
	"slices"
)

// portRewriter replaces port numbers in replies of cluster nodes and
// Sentinels by those of the proxies in front of them, so that a client which
// is redirected, or asks for the topology, stays behind the proxies. All ports
// have five digits, hence no length changes.
type portRewriter struct {
	ports map[string]string // port of the server -> port of its proxy
	rest  []byte            // the beginning of what may be an address
}

const portDigits = 5

// portPrefixes are what comes before a port: in CLUSTER NODES, MOVED and ASK,
// and in the answer of a Sentinel. A reply ends with a line feed, and so never
// with the beginning of one of them followed by nothing.
var portPrefixes = [][]byte{[]byte("127.0.0.1:"), []byte("127.0.0.1\r\n$5\r\n")}

// rewrite returns what can be passed on; the rest waits for the next bytes.
func (r *portRewriter) rewrite(p []byte) []byte {
	buf := slices.Concat(r.rest, p)
	r.rest = nil
	for i := range buf {
		for _, prefix := range portPrefixes {
			tail := buf[i:]
			switch {
			case len(tail) >= len(prefix)+portDigits && bytes.HasPrefix(tail, prefix):
				port := tail[len(prefix) : len(prefix)+portDigits]
				if other, ok := r.ports[string(port)]; ok {
					copy(port, other)
				}
			case len(tail) < len(prefix)+portDigits && (bytes.HasPrefix(prefix, tail) || bytes.HasPrefix(tail, prefix)):
				if bytes.HasPrefix(tail, prefix) && !digits(tail[len(prefix):]) {
					continue
				}
				r.rest = append([]byte(nil), tail...)
				return buf[:i]
			}
		}
	}
	return buf
}

func digits(p []byte) bool {
	for _, c := range p {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}
