package conn

import (
	"fmt"
	"net"
	"os"
	"testing"
)

func TestBroken(t *testing.T) {
	_, refused := net.Dial("tcp", "127.0.0.1:1")
	_, noFile := os.Open("/no/such/file")
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	_, noRoom := full.WriteString("x")
	for err, want := range map[error]bool{refused: true, noFile: false, noRoom: false} {
		if err == nil || Broken(fmt.Errorf("while writing: %w", err)) != want {
			t.Errorf("%v: want %v", err, want)
		}
	}
	if Broken(nil) {
		t.Error("nothing is broken")
	}
}
