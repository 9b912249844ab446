package builder

import (
	"regexp"
	"slices"
	"strings"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/network"
)

// What a machine has for itself, or a person left there at work: paths from the root. A directory that ends in a slash stays,
// without the files below it.
var left = regexp.MustCompile(`(?s)^(?:` + strings.Join([]string{
	// What mke2fs makes, and fsck needs.
	`lost\+found`,
	// The project is the workspace's, not the environment's.
	`workspace/.*`,
	// Drawn anew where they are missing (sshd's: `ssh-keygen -A`).
	`etc/ssh/ssh_host_.*`, `var/lib/dbus/machine-id`, `var/lib/systemd/(?:random-seed|credential\.secret)`,
	// What was typed.
	`(?:root|home/[^/]+)/\.(?:bash|ash|sh|zsh|python|node_repl|psql|mysql|sqlite|lua)_history`,
	// What installing leaves behind; lists of packages carry the names of the host's mirrors.
	`var/log/apt/.*`, `var/log/(?:dpkg|alternatives)\.log`,
}, `|`) + `)$`)

// Files below these go, directories stay: apt wants them as they were.
var emptied = []string{"var/lib/apt/lists/", "var/cache/apt/"}

// kept is what of a disk is copied, and how.
type kept struct {
	rewrites map[string]func(old []byte) []byte
}

func newKept(provided []*guestv1.ProvidedFile) kept {
	k := kept{rewrites: map[string]func([]byte) []byte{
		// Empty means "to be set at the first start" (machine-id(5)).
		"etc/machine-id":  func([]byte) []byte { return []byte{} },
		"etc/hostname":    func([]byte) []byte { return []byte("pyro\n") },
		"etc/hosts":       hostsWithoutName,
		"etc/resolv.conf": network.WithoutResolver,
	}}
	for _, each := range provided {
		k.rewrites[strings.TrimPrefix(each.Path, "/")] = func(old []byte) []byte {
			return network.WithoutHost(old, each.Path, each.Appended)
		}
	}
	return k
}

func (k kept) skip(path string, isDirectory bool) bool {
	if left.MatchString(path) {
		return true
	}
	return !isDirectory && slices.ContainsFunc(emptied, func(above string) bool { return strings.HasPrefix(path, above) })
}

func (k kept) rewrite(path string) func(old []byte) []byte { return k.rewrites[path] }

// hostsWithoutName drops the line of the machine's own name, which each start writes.
func hostsWithoutName(old []byte) []byte {
	content := []byte{}
	for line := range strings.Lines(string(old)) {
		if fields := strings.Fields(line); len(fields) > 0 && fields[0] == "127.0.1.1" {
			continue
		}
		content = append(content, line...)
	}
	return content
}
