package cli

import "golang.org/x/sys/unix"

// harden keeps the process's memory, where the keys are, out of core files and
// away from other processes of the same user. Where the kernel says no, what
// it protects against needs rights that read the keys anyway.
func harden() {
	_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
}
