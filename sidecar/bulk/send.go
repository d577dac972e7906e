package bulk

import (
	"bytes"
	"errors"
	"io"
	"strconv"
)

// Send writes framed commands, with the arguments in the place of their
// tokens. A token of an argument that is not held any more is an error. Of a
// nil store it writes p.
func (s *Store) Send(w io.Writer, p []byte) error {
	for s != nil && s.used {
		i := bytes.Index(p, s.mark)
		if i < 0 {
			break
		}
		a, head, err := s.find(p, i)
		if err != nil {
			return err
		}
		if a.commands {
			if _, err := w.Write(p[:head]); err != nil {
				return err
			}
			if err := s.sendCommands(w, a); err != nil {
				return err
			}
			p = p[i+s.tokenLen()+len("\r\n"):]
			continue
		}
		out := append(strconv.AppendInt(append(p[:head:head], '$'), a.size, 10), "\r\n"...)
		if _, err := w.Write(out); err != nil {
			return err
		}
		if err := a.copyTo(w); err != nil {
			return err
		}
		p = p[i+s.tokenLen():]
	}
	_, err := w.Write(p)
	return err
}

// sendCommands writes what KeepCommands took, which is no larger than what was
// in memory then.
func (s *Store) sendCommands(w io.Writer, a *argument) error {
	p := make([]byte, a.size)
	if _, err := a.seg.f.ReadAt(p, a.at); err != nil {
		return &FileError{err}
	}
	return s.Send(w, p)
}

// Commands reads a buffer of commands with those that were kept; the tokens of
// arguments stay.
func (s *Store) Commands(p []byte) io.Reader {
	var all []io.Reader
	for at := 0; s != nil && s.used; {
		i := bytes.Index(p[at:], s.mark)
		if i < 0 {
			break
		}
		i += at
		a, head, err := s.find(p, i)
		if err != nil {
			return io.MultiReader(append(all, failed{err})...)
		}
		at = i + s.tokenLen()
		if a.commands {
			all = append(all, bytes.NewReader(p[:head]), io.NewSectionReader(a.seg.f, a.at, a.size))
			p, at = p[at+len("\r\n"):], 0
		}
	}
	return io.MultiReader(append(all, bytes.NewReader(p))...)
}

// failed is a reader that fails.
type failed struct{ err error }

func (f failed) Read([]byte) (int, error) { return 0, f.err }

// Size is the number of bytes of an argument, for which p may be the token.
func (s *Store) Size(p []byte) int64 {
	if s != nil && len(p) == s.tokenLen() && bytes.HasPrefix(p, s.mark) {
		if id, err := strconv.ParseUint(string(p[len(s.mark):]), 16, 64); err == nil && s.held[id] != nil {
			return s.held[id].size
		}
	}
	return int64(len(p))
}

// find looks up the token at p[i]; head is where its framing begins.
func (s *Store) find(p []byte, i int) (a *argument, head int, err error) {
	frame := "$" + strconv.Itoa(s.tokenLen()) + "\r\n"
	end := i + s.tokenLen()
	head = i - len(frame)
	if head < 0 || end > len(p) || string(p[head:i]) != frame {
		return nil, 0, &FileError{errors.New("its token is not an argument of its own")}
	}
	id, err := strconv.ParseUint(string(p[i+len(s.mark):end]), 16, 64)
	if err != nil || s.held[id] == nil {
		return nil, 0, &FileError{errors.New("it is not held any more")}
	}
	return s.held[id], head, nil
}

// copyTo writes the bytes in pieces: a connection renews its deadline per
// write.
func (a *argument) copyTo(w io.Writer) error {
	buf := make([]byte, min(a.size, copySize))
	for at := int64(0); at < a.size; {
		p := buf[:min(a.size-at, int64(len(buf)))]
		if _, err := a.seg.f.ReadAt(p, a.at+at); err != nil {
			return &FileError{err}
		}
		if _, err := w.Write(p); err != nil {
			return err
		}
		at += int64(len(p))
	}
	return nil
}
