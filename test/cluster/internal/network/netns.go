package network

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// enter moves the calling thread into a network namespace. The caller must have
// locked its goroutine to the thread and must never unlock it: the runtime then
// ends the thread together with the goroutine, and no other code inherits it.
func enter(netns string) error {
	f, err := os.Open(Path(netns))
	if err != nil {
		return fmt.Errorf("network namespace %s: %w", netns, err)
	}
	defer f.Close()
	if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter network namespace %s: %w", netns, err)
	}
	return nil
}

// Do runs do in a network namespace, on a thread of its own. Processes that do
// starts live there.
func Do(netns string, do func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := enter(netns); err != nil {
			done <- err
			return
		}
		done <- do()
	}()
	return <-done
}

// ID identifies a network namespace among the processes of the host; ok is
// false if there is none of that name.
func ID(netns string) (id uint64, ok bool) {
	var st unix.Stat_t
	if err := unix.Stat(Path(netns), &st); err != nil {
		return 0, false
	}
	return st.Ino, true
}

// IDOf returns the network namespace of a process.
func IDOf(pid int) (id uint64, ok bool) {
	var st unix.Stat_t
	if err := unix.Stat(fmt.Sprintf("/proc/%d/ns/net", pid), &st); err != nil {
		return 0, false
	}
	return st.Ino, true
}
