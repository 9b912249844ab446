package system_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/system"
)

func TestAnIdentityThatWasRehearsedIsStoredWhereTheOneBeforeWas(t *testing.T) {
	const bootIDFile = "proc/sys/kernel/random/boot_id"
	for _, c := range []struct {
		name, hostname string
		unprepared     string
		cut            string
		done           string
	}{
		{"in place", "machine2", "", "", ""},
		{"a name of another length", "box-2", "", "", ", boot id"},
		{"a file that is gone", "machine2", "etc/machine-id", "", ", boot id"},
		{"a file that was cut since", "machine2", "", "etc/machine-id", ", boot id"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, m, root := newSystem(t)
			m.bootIDFile = filepath.Join(root, bootIDFile)
			if err := os.MkdirAll(filepath.Dir(m.bootIDFile), 0o755); err != nil {
				t.Fatal(err)
			}
			take := func(hostname, machineID string) {
				t.Helper()
				identity := personality()
				identity.Hostname, identity.MachineId = hostname, machineID
				if _, err := s.MountRoot(context.Background(), &guestv1.MountRootRequest{
					Device: "/dev/vda", Filesystem: "ext4", CreateWorkspace: true, Identity: identity,
				}); err != nil {
					t.Fatal(err)
				}
			}
			take("template", strings.Repeat("0", 32))
			bootID, hosts := content(t, root, bootIDFile), content(t, root, "etc/hosts")
			if c.unprepared != "" {
				if err := os.Remove(filepath.Join(root, c.unprepared)); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := s.Rehearse(context.Background(), &guestv1.RehearseRequest{}); err != nil {
				t.Fatal(err)
			}
			if c.cut != "" {
				if err := os.Truncate(filepath.Join(root, c.cut), 0); err != nil {
					t.Fatal(err)
				}
			}
			before := m.history()
			take(c.hostname, strings.Repeat("0a", 16))
			if got := strings.TrimPrefix(m.history(), before); got != ", entropy, clock, hostname "+c.hostname+c.done {
				t.Error(got)
			}
			check := func(hostname, machineID string) {
				t.Helper()
				if content(t, root, "etc/hostname") != hostname+"\n" || content(t, root, "etc/machine-id") != machineID+"\n" ||
					content(t, root, "etc/hosts") != strings.ReplaceAll(hosts, "template", hostname) {
					t.Errorf("%q %q %q", content(t, root, "etc/hostname"), content(t, root, "etc/machine-id"), content(t, root, "etc/hosts"))
				}
				if next := content(t, root, bootIDFile); len(next) != 37 || next == bootID {
					t.Errorf("the boot id %q was %q", next, bootID)
				}
			}
			check(c.hostname, strings.Repeat("0a", 16))
			bootID = content(t, root, bootIDFile)
			// Once: the files may have been cut since.
			take("another1", strings.Repeat("0b", 16))
			check("another1", strings.Repeat("0b", 16))
			if !strings.HasSuffix(m.history(), "hostname another1, boot id") {
				t.Error(m.history())
			}
			// Unless it was rehearsed again, which what is still mapped of the one before does not end.
			if _, err := s.Rehearse(context.Background(), &guestv1.RehearseRequest{}); err != nil {
				t.Fatal(err)
			}
			bootID = content(t, root, bootIDFile)
			time.Sleep(2 * system.UnmapAfter)
			take("another2", strings.Repeat("0c", 16))
			check("another2", strings.Repeat("0c", 16))
			if !strings.HasSuffix(m.history(), "hostname another2") {
				t.Error(m.history())
			}
		})
	}
}
