package changes_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/changes"
)

// trees are two directories; the second begins as a copy of the first.
type trees struct {
	t             testing.TB
	before, after string
}

func newTrees(t testing.TB) trees {
	t.Helper()
	top := t.TempDir()
	tr := trees{t, filepath.Join(top, "before"), filepath.Join(top, "after")}
	for _, path := range []string{tr.before, tr.after} {
		if err := os.Mkdir(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return tr
}

var seeded = time.Unix(1_700_000_000, 1)

func (tr trees) put(top, name, content string, mode os.FileMode) {
	tr.t.Helper()
	path := filepath.Join(top, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		tr.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		tr.t.Fatal(err)
	}
	if err := os.Chtimes(path, seeded, seeded); err != nil {
		tr.t.Fatal(err)
	}
}

// both is in the two of them.
func (tr trees) both(name, content string) {
	tr.put(tr.before, name, content, 0o644)
	tr.put(tr.after, name, content, 0o644)
}

func (tr trees) link(top, target, name string) {
	tr.t.Helper()
	if err := os.Symlink(target, filepath.Join(top, name)); err != nil {
		tr.t.Fatal(err)
	}
}

func open(t testing.TB, path string) int {
	t.Helper()
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

func (tr trees) compare(options changes.Options) (found []*guestv1.Change, examined uint64) {
	tr.t.Helper()
	options.Emit = func(change *guestv1.Change) error { found = append(found, change); return nil }
	c := changes.New(context.Background(), options)
	if err := c.Directories(open(tr.t, tr.before), open(tr.t, tr.after)); err != nil {
		tr.t.Fatal(err)
	}
	return found, c.Examined
}

func described(found []*guestv1.Change) string {
	var lines []string
	side := func(entry *guestv1.FileEntry, sum []byte) string {
		if entry == nil {
			return "-"
		}
		kind := strings.ToLower(strings.TrimPrefix(entry.Type.String(), "FILE_TYPE_"))
		text := fmt.Sprintf("%s %d %o", kind, entry.SizeBytes, entry.Mode)
		if entry.Type == guestv1.FileType_FILE_TYPE_SYMLINK {
			text = kind + " " + string(entry.LinkTarget)
		} else if entry.Type == guestv1.FileType_FILE_TYPE_DIRECTORY {
			text = fmt.Sprintf("%s %o", kind, entry.Mode)
		}
		if len(sum) > 0 {
			text += fmt.Sprintf(" %x", sum[:2])
		}
		return text
	}
	for _, c := range found {
		line := fmt.Sprintf("%q: %s > %s", c.Path, side(c.Before, c.BeforeSha256), side(c.After, c.AfterSha256))
		if c.ModeOnly {
			line += " (mode)"
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func hashOf(content string) string {
	sum := sha256.Sum256([]byte(content))
	return fmt.Sprintf("%x", sum[:2])
}

func TestEveryKindOfChangeIsFoundInByteOrder(t *testing.T) {
	tr := newTrees(t)
	tr.both("same", "same")
	tr.both("d/changed", "old!")
	tr.both("d/mode", "mode")
	tr.both("d-b", "x")
	tr.both("both", "12345")
	tr.both("gone/deep/f", "gone")
	tr.both("type", "a file")
	tr.both("touched", "touched")
	tr.both("\xff", "bytes")
	tr.link(tr.before, "to", "link")
	tr.link(tr.after, "elsewhere", "link")
	tr.link(tr.before, "to", "same-link")
	tr.link(tr.after, "to", "same-link")
	tr.put(tr.after, "d/changed", "new!", 0o644)
	tr.put(tr.after, "d-b", "longer", 0o644)
	tr.put(tr.after, "new/deep/f", "", 0o755)
	tr.put(tr.after, "\xff", "BYTES", 0o644)
	for _, err := range []error{
		os.Chmod(filepath.Join(tr.after, "d/mode"), 0o755), os.Chmod(filepath.Join(tr.after, "d"), 0o700),
		os.RemoveAll(filepath.Join(tr.after, "gone")), os.Remove(filepath.Join(tr.after, "type")),
		os.Mkdir(filepath.Join(tr.after, "type"), 0o755), os.WriteFile(filepath.Join(tr.after, "both"), []byte("54321"), 0o644),
		os.Chmod(filepath.Join(tr.after, "both"), 0o600), os.Chtimes(filepath.Join(tr.after, "touched"), time.Now(), time.Now()),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	found, examined := tr.compare(changes.Options{})
	want := strings.Join([]string{
		`"both": file 5 644 ` + hashOf("12345") + ` > file 5 600 ` + hashOf("54321"),
		`"d": directory 755 > directory 700 (mode)`,
		`"d-b": file 1 644 ` + hashOf("x") + ` > file 6 644 ` + hashOf("longer"),
		`"d/changed": file 4 644 ` + hashOf("old!") + ` > file 4 644 ` + hashOf("new!"),
		`"d/mode": file 4 644 > file 4 755 (mode)`,
		`"gone": directory 755 > -`,
		`"gone/deep": directory 755 > -`,
		`"gone/deep/f": file 4 644 ` + hashOf("gone") + ` > -`,
		`"link": symlink to > symlink elsewhere`,
		`"new": - > directory 755`,
		`"new/deep": - > directory 755`,
		`"new/deep/f": - > file 0 755 ` + hashOf(""),
		`"type": file 6 644 ` + hashOf("a file") + ` > directory 755`,
		`"\xff": file 5 644 ` + hashOf("bytes") + ` > file 5 644 ` + hashOf("BYTES"),
	}, "\n")
	if got := described(found); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if examined != 17 {
		t.Errorf("%d entries", examined)
	}
}

func TestWhatNobodyTouchedIsNotRead(t *testing.T) {
	tr := newTrees(t)
	tr.both("f", "old")
	tr.put(tr.after, "f", "new", 0o644)
	asked := 0
	found, _ := tr.compare(changes.Options{Untouched: func(before, after *unix.Statx_t) bool { asked++; return true }})
	if len(found) != 0 || asked != 2 {
		t.Errorf("%s, asked %d times", described(found), asked)
	}
	// The same directory twice is untouched by the rule of the real thing.
	tr.after = tr.before
	if found, examined := tr.compare(changes.Options{}); len(found) != 0 || examined != 1 {
		t.Error(described(found), examined)
	}
}

func TestOneEntryIsCompared(t *testing.T) {
	tr := newTrees(t)
	tr.both("d/sub/a", "1")
	tr.both("d/b", "1")
	tr.put(tr.after, "d/sub/a", "2", 0o644)
	tr.put(tr.after, "d/b", "2", 0o644)
	for _, test := range []struct{ prefix, name, want string }{
		{"d", "sub", "d/sub/a"}, {"d", "b", "d/b"}, {"", "d", "d/b d/sub/a"}, {"d", "none", ""},
	} {
		var found []string
		c := changes.New(context.Background(), changes.Options{Emit: func(change *guestv1.Change) error {
			found = append(found, string(change.Path))
			return nil
		}})
		before, after := open(t, filepath.Join(tr.before, test.prefix)), open(t, filepath.Join(tr.after, test.prefix))
		if err := c.One(before, after, test.prefix, test.name); err != nil || strings.Join(found, " ") != test.want {
			t.Errorf("%s %s: %v %v", test.prefix, test.name, found, err)
		}
	}
}

func TestATreeMayBeAbsentAndOddThingsAreNotOpened(t *testing.T) {
	tr := newTrees(t)
	tr.put(tr.after, "f", "x", 0o644)
	tr.link(tr.after, "loop", "loop")
	if err := unix.Mkfifo(filepath.Join(tr.after, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(tr.after, "f"), changes.HashedBytes+1); err != nil {
		t.Fatal(err)
	}
	var found []*guestv1.Change
	c := changes.New(context.Background(), changes.Options{Emit: func(change *guestv1.Change) error { found = append(found, change); return nil }})
	if err := c.Directories(changes.Absent, open(t, tr.after)); err != nil {
		t.Fatal(err)
	}
	want := "\"f\": - > file 67108865 644\n\"loop\": - > symlink loop\n\"pipe\": - > other 0 600"
	if got := described(found); got != want {
		t.Error(got)
	}
}

func TestAComparisonEndsWithItsContextAndItsReader(t *testing.T) {
	tr := newTrees(t)
	tr.put(tr.after, "f", "x", 0o644)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	c := changes.New(ctx, changes.Options{Emit: func(*guestv1.Change) error { return nil }})
	if err := c.Directories(open(t, tr.before), open(t, tr.after)); err != context.Canceled {
		t.Error(err)
	}
	c = changes.New(context.Background(), changes.Options{Emit: func(*guestv1.Change) error { return unix.EPIPE }})
	if err := c.Directories(open(t, tr.before), open(t, tr.after)); err == nil || !strings.Contains(err.Error(), `"f"`) {
		t.Error(err)
	}
}

// untouchedCopy is the rule for copies, which have other inodes and change times.
func untouchedCopy(before, after *unix.Statx_t) bool {
	return before.Size == after.Size && before.Mtime == after.Mtime && before.Mode == after.Mode && before.Mode&unix.S_IFMT == unix.S_IFREG
}

func manyFiles(t testing.TB) trees {
	tr := newTrees(t)
	for i := range 10_000 {
		name := fmt.Sprintf("dir%d/module-%d/file-%d.js", i%10, i/10%20, i)
		tr.both(name, name)
		if i%500 == 0 {
			tr.put(tr.after, name, name+"!", 0o644)
		}
	}
	return tr
}

func TestTenThousandFilesWithTwentyChanges(t *testing.T) {
	tr := manyFiles(t)
	begin := time.Now()
	found, examined := tr.compare(changes.Options{Untouched: untouchedCopy})
	t.Logf("%d entries, %d changes in %v", examined, len(found), time.Since(begin))
	if len(found) != 20 || examined < 10_000 {
		t.Error(len(found), examined)
	}
}

func BenchmarkTenThousandFilesWithTwentyChanges(b *testing.B) {
	tr := manyFiles(b)
	b.ReportAllocs()
	for b.Loop() {
		tr.compare(changes.Options{Untouched: untouchedCopy})
	}
}

func TestInodesThatAreReadWithoutANameGiveTheSameChanges(t *testing.T) {
	tr := newTrees(t)
	for index := range 30 {
		tr.both(fmt.Sprintf("d%d/file-%d", index%3, index), "same")
	}
	tr.put(tr.after, "d0/file-3", "changed", 0o644)
	tr.put(tr.after, "d1/new", "new", 0o644)
	if err := os.Remove(filepath.Join(tr.after, "d2/file-5")); err != nil {
		t.Fatal(err)
	}
	// Directories that nobody touched; the other two hold other names by now.
	for _, top := range []string{tr.before, tr.after} {
		for _, directory := range []string{".", "d0"} {
			if err := os.Chtimes(filepath.Join(top, directory), seeded, seeded); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, directory := range []string{"d1", "d2"} {
		if err := os.Chtimes(filepath.Join(tr.after, directory), seeded, seeded.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	alike := func(before, after *unix.Statx_t) bool {
		return before.Mtime == after.Mtime && before.Mode == after.Mode &&
			(before.Mode&unix.S_IFMT == unix.S_IFDIR || before.Size == after.Size)
	}
	asked := 0
	// The first tree's inode of what has this number in the second.
	inode := func(number uint64, into *unix.Statx_t) bool {
		asked++
		for index := range 30 {
			name := fmt.Sprintf("d%d/file-%d", index%3, index)
			var stat unix.Statx_t
			if unix.Statx(unix.AT_FDCWD, filepath.Join(tr.after, name), 0, unix.STATX_BASIC_STATS, &stat) == nil && stat.Ino == number {
				return index != 6 && unix.Statx(unix.AT_FDCWD, filepath.Join(tr.before, name), 0, unix.STATX_BASIC_STATS, into) == nil
			}
		}
		return false
	}
	want, examined := tr.compare(changes.Options{Untouched: alike})
	got, also := tr.compare(changes.Options{Untouched: alike, Inode: inode})
	if described(want) != described(got) || examined != also || len(want) != 3 {
		t.Errorf("%d:\n%s\ninstead of %d:\n%s", also, described(got), examined, described(want))
	}
	if asked != 10 {
		t.Errorf("%d inodes were asked for: only those of a directory that nobody touched may be", asked)
	}
}
