// Package scratch makes files for what is too large to be held in memory.
package scratch

import "os"

// File makes a file in dir that has no name any more: nothing is left of it when
// the process ends, however it ends. The pattern is as for os.CreateTemp.
func File(dir, pattern string) (*os.File, error) {
	f, err := os.CreateTemp(dir, pattern)
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}
