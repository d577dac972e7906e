package rescue

import "os"

// Over makes a File of one that is open.
func Over(f *os.File) *File { return &File{path: f.Name(), tmp: f} }
