package accounts

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"pyro/guest/internal/rootdir"
)

const (
	passwd = "root:x:0:0:root:/root:/bin/bash\n" +
		"# a comment\n\n" +
		"+@netgroup::::::\n" +
		"app:x:1000:1000:App,,,:/home/app:/bin/sh\n" +
		"app:x:1:1:a second one of the name:/nowhere:\n" +
		"1234:x:7:7:a name of digits:/digits:\n" +
		"bare:x:20:21\n" +
		"overflow:x:4294967296:0::/:\n" +
		"nobody-at-all:x:4294967295:0::/:\n" +
		"signed:x:-1:0::/:\n" +
		"nul\x00:x:8:8::/:\n" +
		"lost:x:30:30::relative/home:\n" +
		"last:x:40:40::/home/last:/bin/sh"
	group = "root:x:0:\napp:x:1000:\nstaff:x:50:other,app\nadm:x:4:app\nagain:x:4:app\nbroken:x:many:app\nwheel:x:10:root"
)

func TestAUserIsLookedUpAsDockerDoes(t *testing.T) {
	for user, want := range map[string]Account{
		"":              {0, 0, []uint32{0, 10}, "root", "/root"},
		"root":          {0, 0, []uint32{0, 10}, "root", "/root"},
		"0":             {0, 0, []uint32{0, 10}, "root", "/root"},
		"app":           {1000, 1000, []uint32{4, 50, 1000}, "app", "/home/app"},
		"1000":          {1000, 1000, []uint32{4, 50, 1000}, "app", "/home/app"},
		"app:":          {1000, 1000, []uint32{4, 50, 1000}, "app", "/home/app"},
		"app:staff":     {1000, 50, []uint32{50}, "app", "/home/app"},
		"app:7":         {1000, 7, []uint32{7}, "app", "/home/app"},
		"1000:1000":     {1000, 1000, []uint32{1000}, "app", "/home/app"},
		"5000":          {5000, 0, []uint32{0}, "", "/"},
		"5000:staff":    {5000, 50, []uint32{50}, "", "/"},
		"4294967294:1":  {4294967294, 1, []uint32{1}, "", "/"},
		":staff":        {0, 50, []uint32{50}, "root", "/root"},
		"bare":          {20, 21, []uint32{21}, "bare", "/"},
		"lost":          {30, 30, []uint32{30}, "lost", "/"},
		"last":          {40, 40, []uint32{40}, "last", "/home/last"},
		"1234":          {1234, 0, []uint32{0}, "", "/"},
		"0000000001000": {1000, 1000, []uint32{4, 50, 1000}, "app", "/home/app"},
	} {
		got, err := find(files{passwd: passwd, group: group}, user)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q is %+v, %v; want %+v", user, got, err, want)
		}
	}
}

func TestWhoIsInNoFileIsNamed(t *testing.T) {
	for user, want := range map[string]string{
		"nobody":      `the user "nobody" is not in /etc/passwd`,
		"app:nobody":  `the group "nobody" is not in /etc/group`,
		"overflow":    `the user "overflow" is not in /etc/passwd`,
		"signed":      `the user "signed" is not in /etc/passwd`,
		"4294967295":  `the user "4294967295" is not in /etc/passwd`,
		"99999999999": `the user "99999999999" is not in /etc/passwd`,
		"-1":          `the user "-1" is not in /etc/passwd`,
		"0x0":         `the user "0x0" is not in /etc/passwd`,
		" app":        `the user " app" is not in /etc/passwd`,
		"nul":         `the user "nul" is not in /etc/passwd`,
		"app:50:60":   `the group "50:60" is not in /etc/group`,
		"+@netgroup":  `the user "+@netgroup" is not in /etc/passwd`,
	} {
		_, err := find(files{passwd: passwd, group: group}, user)
		if _, ok := errors.AsType[*NotFoundError](err); !ok || err.Error() != want {
			t.Errorf("%q: %v; want %s", user, err, want)
		}
	}
}

func TestAnEnvironmentWithoutFilesHasRootAndNumbers(t *testing.T) {
	root := rootdir.New(t.TempDir())
	for user, want := range map[string]Account{
		"":           {0, 0, []uint32{0}, "root", "/"},
		"65532":      {65532, 0, []uint32{0}, "", "/"},
		"65532:1234": {65532, 1234, []uint32{1234}, "", "/"},
	} {
		if got, err := Find(root, user); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q is %+v, %v", user, got, err)
		}
	}
	if _, err := Find(root, "nonroot"); !errors.Is(err, unix.ENOENT) {
		t.Errorf("a name: %v", err)
	}
}

func TestWhateverHasTheFilesNameEndsALookUp(t *testing.T) {
	for name, make := range map[string]func(path string) error{
		"a pipe":      func(path string) error { return unix.Mkfifo(path, 0o600) },
		"a directory": func(path string) error { return os.Mkdir(path, 0o700) },
		"a link out":  func(path string) error { return os.Symlink("../../../../../../etc/passwd", path) },
		"a loop":      func(path string) error { return os.Symlink("passwd", path) },
		"a huge one": func(path string) error {
			return errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, maxFileBytes+1))
		},
		"one line without an end": func(path string) error {
			return os.WriteFile(path, []byte(strings.Repeat("x:", maxFileBytes/2)), 0o600)
		},
		"zeros": func(path string) error { return os.WriteFile(path, bytes.Repeat([]byte{0}, maxFileBytes), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			top := t.TempDir()
			if err := os.Mkdir(filepath.Join(top, "etc"), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := make(filepath.Join(top, "etc", "passwd")); err != nil {
				t.Fatal(err)
			}
			if got, err := Find(rootdir.New(top), "daemon"); err == nil {
				t.Errorf("the user was found: %+v", got)
			}
			// Nobody is locked out of an environment by it.
			if got, err := Find(rootdir.New(top), ""); err != nil || got.UID != 0 {
				t.Errorf("root is %+v, %v", got, err)
			}
		})
	}
}

func FuzzFind(f *testing.F) {
	for _, user := range []string{"", "app", "app:staff", "1000:50", "4294967295", ":"} {
		f.Add(passwd, group, user)
	}
	f.Fuzz(func(t *testing.T, passwd, group, user string) {
		got, err := find(files{passwd: passwd, group: group}, user)
		if err != nil {
			return
		}
		if got.UID > maxID || got.GID > maxID || len(got.Groups) > maxGroups {
			t.Errorf("%q is %+v", user, got)
		}
		if !strings.HasPrefix(got.Home, "/") || strings.ContainsAny(got.Home+got.Name, "\x00\n") {
			t.Errorf("%q has home %q and name %q", user, got.Home, got.Name)
		}
		name, _, _ := strings.Cut(user, ":")
		if _, isNumber := parseID(name); !isNumber && name != "" && got.Name != name {
			t.Errorf("%q was taken for %q", name, got.Name)
		}
		if number, isNumber := parseID(name); isNumber && got.UID != number {
			t.Errorf("%q was taken for %d", name, got.UID)
		}
	})
}
