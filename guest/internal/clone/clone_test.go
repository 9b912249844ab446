package clone

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// tree is a directory of a test, made and described by paths.
type tree struct {
	t    *testing.T
	path string
}

func newTree(t *testing.T) tree { return tree{t, t.TempDir()} }

func (r tree) at(path string) string { return filepath.Join(r.path, path) }

func (r tree) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r tree) put(path, content string, mode os.FileMode) {
	r.t.Helper()
	r.must(os.MkdirAll(filepath.Dir(r.at(path)), 0o755))
	r.must(os.WriteFile(r.at(path), []byte(content), 0o600))
	r.must(os.Chmod(r.at(path), mode))
}

func (r tree) open() int {
	r.t.Helper()
	fd, err := unix.Open(r.path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	r.must(err)
	r.t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

// described is a line for each thing: all that a copy keeps of it.
func (r tree) described() string {
	r.t.Helper()
	var lines []string
	first := make(map[uint64]string)
	r.must(filepath.WalkDir(r.path, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var stat unix.Stat_t
		r.must(unix.Lstat(path, &stat))
		name, _ := filepath.Rel(r.path, path)
		line := fmt.Sprintf("%q %o %d:%d %d.%d", name, stat.Mode, stat.Uid, stat.Gid, stat.Mtim.Sec, stat.Mtim.Nsec)
		switch stat.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			content, err := os.ReadFile(path)
			r.must(err)
			line += fmt.Sprintf(" %d bytes %.40q", len(content), content)
			if stat.Nlink > 1 {
				if _, known := first[stat.Ino]; !known {
					first[stat.Ino] = name
				}
				line += " as " + first[stat.Ino]
			}
		case unix.S_IFLNK:
			target, err := os.Readlink(path)
			r.must(err)
			line += " -> " + target
		case unix.S_IFCHR, unix.S_IFBLK:
			line += fmt.Sprintf(" device %d", stat.Rdev)
		}
		names := make([]byte, 4096)
		n, err := unix.Llistxattr(path, names)
		r.must(err)
		all := strings.FieldsFunc(string(names[:n]), func(c rune) bool { return c == 0 })
		slices.Sort(all)
		for _, each := range all {
			value := make([]byte, 4096)
			n, err := unix.Lgetxattr(path, each, value)
			r.must(err)
			line += fmt.Sprintf(" %s=%x", each, value[:n])
		}
		lines = append(lines, line)
		return nil
	}))
	return strings.Join(lines, "\n")
}

func all() Options {
	return Options{
		Skip:     func(string, bool) bool { return false },
		Rewrite:  func(string) func([]byte) []byte { return nil },
		Progress: func(int) {},
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root may make devices and give files away")
	}
}

func TestATreeIsCopiedAsItIs(t *testing.T) {
	needRoot(t)
	from, to := newTree(t), newTree(t)
	from.put("etc/passwd", "root:x:0:0\n", 0o644)
	from.put("bin/su", strings.Repeat("binary", 100_000), 0o755|os.ModeSetuid)
	from.put("a/b/c/\xff\xfe", "odd name", 0o400)
	from.put("a-b", "sorts between", 0o644)
	from.put("empty", "", 0o644)
	from.must(os.Link(from.at("bin/su"), from.at("a/b/su")))
	from.must(os.Symlink("/etc/passwd", from.at("a/link")))
	from.must(os.Link(from.at("a/link"), from.at("a/second-link")))
	from.must(os.Symlink("../../../../nowhere", from.at("bin/up")))
	from.must(unix.Mkfifo(from.at("pipe"), 0o640))
	from.must(unix.Mknod(from.at("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	from.must(os.Chown(from.at("a/b/c"), 1000, 1001))
	from.must(os.Chmod(from.at("a/b/c"), 0o2711|os.ModeSetgid|os.ModeSticky))
	from.must(os.Lchown(from.at("a/link"), 12, 34))
	from.must(unix.Lsetxattr(from.at("etc/passwd"), "user.note", []byte{0, 1, 2}, 0))
	// cap_net_raw=ep, as the file system keeps it.
	from.must(unix.Lsetxattr(from.at("bin/su"), "security.capability", []byte("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), 0))
	for i, path := range []string{"a/b/c", "a/b", "a", "bin/su", "etc/passwd", "."} {
		at := []unix.Timespec{{Sec: 1_600_000_000 + int64(i), Nsec: 1}, {Sec: 1_500_000_000 + int64(i), Nsec: 123_456_789}}
		from.must(unix.UtimesNanoAt(unix.AT_FDCWD, from.at(path), at, unix.AT_SYMLINK_NOFOLLOW))
	}
	entries, err := Tree(context.Background(), from.open(), to.open(), all())
	if err != nil {
		t.Fatal(err)
	}
	want := from.described()
	if got := to.described(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if lines := uint64(strings.Count(want, "\n")); entries != lines {
		t.Errorf("%d entries of %d", entries, lines)
	}
}

func TestADefaultAccessListReachesNothingThatHadNone(t *testing.T) {
	needRoot(t)
	from, to := newTree(t), newTree(t)
	from.put("d/f", "x", 0o640)
	// user::rwx, user:1000:rwx, group::r-x, mask::rwx, other::r-x (acl(5), as the kernel takes it).
	acl := "\x02\x00\x00\x00" + "\x01\x00\x07\x00\xff\xff\xff\xff" + "\x02\x00\x07\x00\xe8\x03\x00\x00" +
		"\x04\x00\x05\x00\xff\xff\xff\xff" + "\x10\x00\x07\x00\xff\xff\xff\xff" + "\x20\x00\x05\x00\xff\xff\xff\xff"
	if err := unix.Lsetxattr(from.at("d"), "system.posix_acl_default", []byte(acl), 0); err != nil {
		t.Skip("this file system keeps no access lists: ", err)
	}
	if _, err := Tree(context.Background(), from.open(), to.open(), all()); err != nil {
		t.Fatal(err)
	}
	if got, want := to.described(), from.described(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestHolesStayHoles(t *testing.T) {
	from, to := newTree(t), newTree(t)
	from.put("sparse", "begin", 0o644)
	file, err := os.OpenFile(from.at("sparse"), os.O_WRONLY, 0)
	from.must(err)
	_, err = file.WriteAt([]byte("middle"), 64<<20)
	from.must(err)
	from.must(file.Truncate(1 << 30))
	from.must(file.Close())
	if _, err := Tree(context.Background(), from.open(), to.open(), all()); err != nil {
		t.Fatal(err)
	}
	var stat unix.Stat_t
	to.must(unix.Lstat(to.at("sparse"), &stat))
	if stat.Size != 1<<30 || stat.Blocks*512 > 1<<20 {
		t.Errorf("%d bytes in %d", stat.Size, stat.Blocks*512)
	}
	part := make([]byte, 6)
	copied, err := os.Open(to.at("sparse"))
	to.must(err)
	defer copied.Close()
	_, err = copied.ReadAt(part, 64<<20)
	if err != nil || string(part) != "middle" {
		t.Error(string(part), err)
	}
}

func TestWhatIsLeftOutOrChangedNeverReachesTheTarget(t *testing.T) {
	from, to := newTree(t), newTree(t)
	for _, path := range []string{"gone/a/b", "gone-not/f", "id", "unwanted", "kept"} {
		from.put(path, "secret of "+path, 0o644)
	}
	options := all()
	options.Skip = func(path string, isDirectory bool) bool { return path == "gone" && isDirectory }
	options.Rewrite = func(path string) func([]byte) []byte {
		return map[string]func([]byte) []byte{
			"id":       func(old []byte) []byte { return bytes.ToUpper(old) },
			"unwanted": func([]byte) []byte { return nil },
		}[path]
	}
	if _, err := Tree(context.Background(), from.open(), to.open(), options); err != nil {
		t.Fatal(err)
	}
	got := to.described()
	for _, want := range []string{`"SECRET OF ID"`, `"secret of kept"`, `"secret of gone-not/f"`} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
	for _, unwanted := range []string{"gone/a", `"gone"`, `"unwanted"`} {
		if strings.Contains(got, unwanted) {
			t.Errorf("%s in\n%s", unwanted, got)
		}
	}
}

func TestAllThatIsCopiedIsToldButWhatIsKnown(t *testing.T) {
	from, to := newTree(t), newTree(t)
	from.put("d/big", strings.Repeat("x", 300_000), 0o644)
	from.put("known", "known content", 0o644)
	from.must(os.Symlink("target", from.at("link")))
	var told strings.Builder
	options := all()
	options.Known = func(path string, _ *unix.Statx_t) bool { return path == "known" }
	options.Tell = func(path, target string, data []byte) error {
		if path != "" {
			fmt.Fprintf(&told, "\n%s %s ", path, target)
		}
		told.Write(data)
		return nil
	}
	if _, err := Tree(context.Background(), from.open(), to.open(), options); err != nil {
		t.Fatal(err)
	}
	want := "\nd  \nd/big  " + strings.Repeat("x", 300_000) + "\nknown  \nlink target "
	if told.String() != want {
		t.Errorf("%.200q", told.String())
	}
	stop := errors.New("nobody listens")
	options.Tell = func(string, string, []byte) error { return stop }
	if _, err := Tree(context.Background(), from.open(), newTree(t).open(), options); !errors.Is(err, stop) {
		t.Error(err)
	}
}

func TestACopyEndsWithItsCaller(t *testing.T) {
	from, to := newTree(t), newTree(t)
	from.put("f", "x", 0o644)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Tree(ctx, from.open(), to.open(), all()); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
