package layer_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pyro/guest/internal/archive"
	"pyro/guest/internal/layer"
)

// packTree packs a tree as a layer, and proves that no descriptor is left of it.
func packTree(t *testing.T, root string, leaveOut ...string) ([]byte, archive.Packed, error) {
	t.Helper()
	fd, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	before := descriptors(t)
	var out bytes.Buffer
	packed, err := archive.Pack(context.Background(), fd, &out, archive.PackOptions{LeaveOutEmpty: leaveOut})
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	return out.Bytes(), packed, err
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// odd makes what images seldom have, and may.
func odd(t *testing.T, root string) {
	t.Helper()
	at := func(parts ...string) string { return filepath.Join(append([]string{root}, parts...)...) }
	long := strings.Repeat("l", 200)
	must(t,
		os.MkdirAll(at("odd", long, long), 0o755),
		os.WriteFile(at("odd", long, long, "file"), []byte("far down"), 0o600),
		os.WriteFile(at("odd", "not\xffutf8 \n=é"), []byte("name"), 0o644),
		os.WriteFile(at("odd", "setuid"), []byte("#!"), 0o755),
		os.Lchown(at("odd", "setuid"), 5_000_000, 3_000_000),
		unix.Chmod(at("odd", "setuid"), 0o6755),
		os.Symlink(strings.Repeat("t", 150), at("odd", "long link")),
		unix.Link(at("odd", "long link"), at("odd", "same link")),
		unix.Mknod(at("odd", "zero"), unix.S_IFCHR|0o622, int(unix.Mkdev(1, 5))),
		unix.Link(at("odd", "zero"), at("odd", "zero too")),
		unix.Mkfifo(at("odd", "pipe"), 0o640),
		os.WriteFile(at("odd", "holes"), []byte("begin"), 0o644),
		os.Truncate(at("odd", "holes"), 3<<20),
		os.WriteFile(at("odd", "empty"), nil, 0),
		os.Mkdir(at("odd", "sticky"), 0o755),
		unix.Chmod(at("odd", "sticky"), 0o1777),
		// A default access list of a directory, and one of a file, as setfacl writes them for user 1000.
		unix.Setxattr(at("odd", "sticky"), "system.posix_acl_default", acl, 0),
		unix.Setxattr(at("odd", "setuid"), "system.posix_acl_access", acl, 0),
		unix.Setxattr(at("odd", "setuid"), "user.zero\nbytes", []byte("a\x00b\n"), 0),
		os.Chtimes(at("odd", "empty"), time.Unix(-5, 250), time.Unix(-5, 250)),
		os.Chtimes(at("odd", "holes"), time.Unix(1<<33, 1), time.Unix(1<<33, 1)),
		os.Chtimes(at("odd"), time.Unix(1_000_000_000, 0), time.Unix(1_000_000_000, 123_456_789)),
		os.Chmod(root, 0o751),
	)
}

// Version 2: the owner, user 1000, the group, the mask and the rest.
var acl = []byte("\x02\x00\x00\x00" +
	"\x01\x00\x07\x00\xff\xff\xff\xff" + "\x02\x00\x04\x00\xe8\x03\x00\x00" + "\x04\x00\x05\x00\xff\xff\xff\xff" +
	"\x10\x00\x05\x00\xff\xff\xff\xff" + "\x20\x00\x05\x00\xff\xff\xff\xff")

func TestATreeThatIsPackedComesBackWhole(t *testing.T) {
	needUmoci(t)
	from := newPlace(t)
	must(t, from.layers(sixLayers()...))
	odd(t, from.root)
	want := tree(t, from.root)
	all := strings.Join(want, "\n")
	for _, contains := range []string{"security.capability=", "posix_acl_access=", "posix_acl_default=", "trusted.note=", " = ", " -> ", " 254,0 ", "0106755", "0010640"} {
		if !strings.Contains(all, contains) {
			t.Errorf("there is nothing with %q to compare:\n%s", contains, all)
		}
	}
	blob, packed, err := packTree(t, from.root)
	must(t, err)
	if packed.LeftOut != 0 || packed.Entries != uint64(len(want)) {
		t.Errorf("%+v of %d entries", packed, len(want))
	}
	again, _, err := packTree(t, from.root)
	if err != nil || !bytes.Equal(blob, again) {
		t.Error("the same tree gave another tar", err)
	}
	to := newPlace(t)
	if _, err := to.apply(blob, layer.None); err != nil {
		t.Fatal(err)
	}
	compareTrees(t, tree(t, to.root), want)
	root, err := tarsByUmoci(t, [][]byte{blob})
	must(t, err)
	compareTrees(t, tree(t, root), want)
}

func compareTrees(t *testing.T, got, want []string) {
	t.Helper()
	left, right := onlyIn(got, want), onlyIn(want, got)
	if len(left)+len(right) > 0 {
		t.Errorf("only here:\n%s\nonly there:\n%s", strings.Join(left, "\n"), strings.Join(right, "\n"))
	}
}

func TestEmptyDirectoriesOfRootAreLeftOutWhereThatIsAskedFor(t *testing.T) {
	from := newPlace(t)
	for _, name := range []string{"lost+found", "workspace", "home/workspace", "kept"} {
		must(t, os.MkdirAll(filepath.Join(from.root, name), 0o755))
	}
	for _, filled := range []bool{false, true} {
		if filled {
			must(t, os.WriteFile(filepath.Join(from.root, "workspace", "f"), nil, 0o644))
		}
		blob, _, err := packTree(t, from.root, "lost+found", "workspace")
		must(t, err)
		to := newPlace(t)
		if _, err := to.apply(blob, layer.None); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]bool{"lost+found": os.Geteuid() != 0, "workspace": filled || os.Geteuid() != 0, "home/workspace": true, "kept": true} {
			if _, err := os.Lstat(filepath.Join(to.root, name)); (err == nil) != want {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func TestWhatNoLayerCanHoldIsNamed(t *testing.T) {
	for name, make := range map[string]func(root string) error{
		"a/.wh.gone": func(root string) error { return os.WriteFile(filepath.Join(root, "a/.wh.gone"), nil, 0o644) },
		"a/.wh.dir":  func(root string) error { return os.Mkdir(filepath.Join(root, "a/.wh.dir"), 0o755) },
		"a/f": func(root string) error {
			path := filepath.Join(root, "a/f")
			return errors.Join(os.WriteFile(path, nil, 0o644), unix.Setxattr(path, "user.a=b", []byte("c"), 0))
		},
	} {
		from := newPlace(t)
		must(t, os.Mkdir(filepath.Join(from.root, "a"), 0o755), make(from.root))
		_, _, err := packTree(t, from.root)
		portable, ok := errors.AsType[*archive.PortabilityError](err)
		if !ok || portable.Path != name {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestASocketIsCountedAndLeftOut(t *testing.T) {
	from := newPlace(t)
	must(t, unix.Mknod(filepath.Join(from.root, "s"), unix.S_IFSOCK|0o600, 0))
	_, packed, err := packTree(t, from.root)
	if err != nil || packed.LeftOut != 1 || packed.Entries != 1 {
		t.Error(packed, err)
	}
}

func TestPackingEndsWithItsContext(t *testing.T) {
	from := newPlace(t)
	must(t, os.WriteFile(filepath.Join(from.root, "f"), nil, 0o644))
	fd, err := unix.Open(from.root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(fd)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := archive.Pack(ctx, fd, &bytes.Buffer{}, archive.PackOptions{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
