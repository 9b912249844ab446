package system_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
)

func mountFor(t *testing.T, user string, prepare func(root string) error) (root string) {
	t.Helper()
	s, _, root := newSystem(t)
	if err := prepare(root); err != nil {
		t.Fatal(err)
	}
	_, err := s.MountRoot(context.Background(), &guestv1.MountRootRequest{
		Device: "/dev/vda", Filesystem: "ext4", CreateWorkspace: true, WorkspaceUser: user,
	})
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func ownerOf(t *testing.T, path string) [2]uint32 {
	t.Helper()
	var stat unix.Stat_t
	if err := unix.Lstat(path, &stat); err != nil {
		t.Fatal(err)
	}
	return [2]uint32{stat.Uid, stat.Gid}
}

func TestTheWorkspaceIsTheUsersUnlessItIsSomebodysAlready(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a directory away; test/vm/image-config.test.ts does it in a machine")
	}
	passwd := func(root string) error {
		return os.WriteFile(filepath.Join(root, "etc", "passwd"), []byte("app:x:1000:1001::/:\n"), 0o600)
	}
	given := func(owner int) func(string) error {
		return func(root string) error {
			if err := os.Mkdir(filepath.Join(root, "workspace"), 0o755); err != nil {
				return err
			}
			if err := os.Chown(filepath.Join(root, "workspace"), owner, owner); err != nil {
				return err
			}
			return passwd(root)
		}
	}
	for name, test := range map[string]struct {
		user    string
		prepare func(string) error
		want    [2]uint32
	}{
		"a new one":                 {"app", passwd, [2]uint32{1000, 1001}},
		"a new one, by number":      {"77:78", passwd, [2]uint32{77, 78}},
		"the image's":               {"app", given(0), [2]uint32{1000, 1001}},
		"the image's, another's":    {"app", given(5), [2]uint32{5, 5}},
		"root's":                    {"0", passwd, [2]uint32{0, 0}},
		"of nobody in particular":   {"", passwd, [2]uint32{0, 0}},
		"of somebody who is nobody": {"nobody-here", passwd, [2]uint32{0, 0}},
		"a link": {"app", func(root string) error {
			if err := os.Symlink("etc", filepath.Join(root, "workspace")); err != nil {
				return err
			}
			return passwd(root)
		}, [2]uint32{0, 0}},
	} {
		root := mountFor(t, test.user, test.prepare)
		if got := ownerOf(t, filepath.Join(root, "workspace")); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
		if got := ownerOf(t, filepath.Join(root, "etc")); got != [2]uint32{0, 0} {
			t.Errorf("%s: /etc is %v", name, got)
		}
	}
}

func TestAnEmptyEnvironmentGetsWhatNamesTheMachine(t *testing.T) {
	s, _, root := newSystem(t)
	if err := os.Remove(filepath.Join(root, "etc")); err != nil {
		t.Fatal(err)
	}
	if err := personalize(s, personality()); err != nil {
		t.Fatal(err)
	}
	if err := mount(s, "/dev/vda"); err != nil {
		t.Fatal(err)
	}
	if content(t, root, "etc/hostname") != "box-1\n" || content(t, root, "etc/resolv.conf") == "" || content(t, root, "etc/hosts") == "" {
		t.Error("no names")
	}
}
