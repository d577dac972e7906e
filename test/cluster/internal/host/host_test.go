package host

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestHasCapability(t *testing.T) {
	const without = "Name:\tx\nCapPrm:\tffffffffffffffff\nCapEff:\t000001fffeffffff\n"
	for status, want := range map[string]bool{without: false, "CapEff:\t000001ffffffffff\n": true} {
		if got, err := hasCapability(status, unix.CAP_SYS_RESOURCE); err != nil || got != want {
			t.Errorf("hasCapability(%q) = %v, %v, want %v", status, got, err, want)
		}
	}
	if _, err := hasCapability("Name:\tx\n", unix.CAP_SYS_RESOURCE); err == nil {
		t.Error("a status without CapEff is no error")
	}
}

func TestSaveTunablesKeepsTheFirst(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state", "settings.json")
	if err := SaveTunables(file); err != nil {
		t.Skipf("not readable here: %v", err)
	}
	const earlier = `{}`
	if err := os.WriteFile(file, []byte(earlier), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := SaveTunables(file); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != earlier {
		t.Errorf("the record of the first start is now %s, %v", got, err)
	}
}

func TestRestoreTunables(t *testing.T) {
	file := filepath.Join(t.TempDir(), "settings.json")
	if err := RestoreTunables(file); err != nil {
		t.Errorf("without a record: %v", err)
	}
	if err := os.WriteFile(file, []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := RestoreTunables(file); err == nil {
		t.Error("a broken record is no error")
	}
}
