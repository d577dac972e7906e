package conn

import (
	"errors"
	"io/fs"
	"net"
)

// Broken reports whether err is one of a connection, which may be made again. An
// error of a file, a full disk say, is none, although its syscall.Errno is a
// net.Error like that of a socket.
func Broken(err error) bool {
	var netErr net.Error
	return errors.As(err, &netErr) && !errors.As(err, new(*fs.PathError))
}
