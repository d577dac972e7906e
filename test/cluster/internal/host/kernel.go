package host

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// LoadModules loads the kernel modules of overlay file systems and of bridges
// whose traffic iptables sees, unless the kernel has them.
func LoadModules() error {
	for module, sign := range map[string]string{
		"br_netfilter": "/proc/sys/net/bridge/bridge-nf-call-iptables",
		"overlay":      "",
	} {
		if present, err := moduleWorks(module, sign); err != nil || present {
			if err != nil {
				return err
			}
			continue
		}
		if log, err := exec.Command("modprobe", module).CombinedOutput(); err != nil {
			return fmt.Errorf("the kernel lacks %s, and modprobe (package kmod): %w: %s", module, err, strings.TrimSpace(string(log)))
		}
	}
	return nil
}

func moduleWorks(module, sign string) (bool, error) {
	if sign != "" {
		_, err := os.Stat(sign)
		return err == nil, nil
	}
	data, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		return false, err
	}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) > 0 && f[len(f)-1] == module {
			return true, nil
		}
	}
	return false, nil
}

// kubeletTunables are the settings of the whole host that a kubelet changes
// when it starts.
var kubeletTunables = []string{
	"vm/overcommit_memory", "vm/panic_on_oom",
	"kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes",
}

// SaveTunables records the settings that a kubelet changes, unless they are
// recorded, so that RestoreTunables can put them back.
func SaveTunables(file string) error {
	if _, err := os.Stat(file); err == nil {
		return nil
	}
	values := map[string]string{}
	for _, name := range kubeletTunables {
		data, err := os.ReadFile(filepath.Join("/proc/sys", name))
		if err != nil {
			return fmt.Errorf("kernel setting: %w", err)
		}
		values[name] = strings.TrimSpace(string(data))
	}
	data, err := json.Marshal(values)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, data, 0o644)
}

// RestoreTunables puts the recorded settings back.
func RestoreTunables(file string) error {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	values := map[string]string{}
	if err := json.Unmarshal(data, &values); err != nil {
		return fmt.Errorf("recorded kernel settings %s: %w", file, err)
	}
	for name, value := range values {
		if err := os.WriteFile(filepath.Join("/proc/sys", name), []byte(value), 0o644); err != nil {
			return fmt.Errorf("kernel setting: %w", err)
		}
	}
	return nil
}
