package layer_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"pyro/guest/internal/confined"
	"pyro/guest/internal/crafted"
	"pyro/guest/internal/layer"
)

func TestMain(m *testing.M) {
	unix.Umask(0o022)
	os.Exit(confined.Run(m))
}

type entry = crafted.Entry

var (
	someTime = crafted.SomeTime
	file     = crafted.File
	dir      = crafted.Dir
	link     = crafted.Link
	hard     = crafted.Hard
	node     = crafted.Node
	pack     = crafted.Pack
)

// gzipped is one member for each part.
func gzipped(t testing.TB, parts ...[]byte) []byte {
	t.Helper()
	var out bytes.Buffer
	for _, part := range parts {
		writer := gzip.NewWriter(&out)
		_, err := writer.Write(part)
		if err == nil {
			err = writer.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

// zstandard is one frame for each part.
func zstandard(t testing.TB, parts ...[]byte) []byte {
	t.Helper()
	encoder, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer encoder.Close()
	var out []byte
	for _, part := range parts {
		out = encoder.EncodeAll(part, out)
	}
	return out
}

func digest(data []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(data)) }

// place is a root to apply layers to, beside a canary that nothing may change.
type place struct {
	t            testing.TB
	root, canary string
	before       string
}

func newPlace(t testing.TB) place {
	t.Helper()
	base := t.TempDir()
	p := place{t: t, root: filepath.Join(base, "root"), canary: filepath.Join(base, "canary")}
	for _, directory := range []string{p.root, p.canary, filepath.Join(p.canary, "d")} {
		if err := os.Mkdir(directory, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(p.canary, "d", "secret"), []byte("untouched"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.before = strings.Join(tree(t, p.canary), "\n")
	return p
}

// applyFrom applies one layer, and proves that no descriptor is left of it.
func (p place) applyFrom(from io.Reader, size int64, compression layer.Compression, options layer.Options) (layer.Result, error) {
	p.t.Helper()
	root, err := unix.Open(p.root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		p.t.Fatal(err)
	}
	defer unix.Close(root)
	if options.Limits == nil {
		options.Limits = layer.DefaultLimits()
	}
	before := descriptors(p.t)
	defer func() {
		if after := descriptors(p.t); after != before {
			p.t.Errorf("%d descriptors before, %d after", before, after)
		}
	}()
	return layer.Apply(context.Background(), root, layer.Blob{From: from, SizeBytes: size, Compression: compression}, options)
}

func (p place) apply(blob []byte, compression layer.Compression) (layer.Result, error) {
	p.t.Helper()
	return p.applyFrom(bytes.NewReader(blob), int64(len(blob)), compression, layer.Options{})
}

// layers applies tars, one over the other.
func (p place) layers(layers ...[]entry) error {
	p.t.Helper()
	for i, entries := range layers {
		blob := pack(p.t, entries...)
		_, err := p.applyFrom(bytes.NewReader(blob), int64(len(blob)), layer.None, layer.Options{HasLower: i > 0})
		if err != nil {
			return fmt.Errorf("layer %d: %w", i+1, err)
		}
	}
	return nil
}

func descriptors(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// checkCanary proves that nothing outside of the root was touched.
func (p place) checkCanary() {
	p.t.Helper()
	if after := strings.Join(tree(p.t, p.canary), "\n"); after != p.before {
		p.t.Errorf("the canary was:\n%s\nand is:\n%s", p.before, after)
	}
	if entries, err := os.ReadDir(filepath.Dir(p.root)); err != nil || len(entries) != 2 {
		p.t.Errorf("beside the root: %v %v", entries, err)
	}
}

// tree is all that a root holds, a line for each: type, mode, owner, device, time, link, content's hash, extended
// attributes, and of hard links the first name.
func tree(t testing.TB, root string) (lines []string) {
	t.Helper()
	first := map[uint64]string{}
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(root, path)
		var stat unix.Stat_t
		if err := unix.Lstat(path, &stat); err != nil {
			return err
		}
		line := fmt.Sprintf("%s %07o %d:%d", name, stat.Mode, stat.Uid, stat.Gid)
		switch stat.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %d %.8x", len(content), sha256.Sum256(content))
		case unix.S_IFLNK:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			line += " -> " + target
		case unix.S_IFCHR, unix.S_IFBLK:
			line += fmt.Sprintf(" %d,%d", unix.Major(stat.Rdev), unix.Minor(stat.Rdev))
		}
		line += fmt.Sprintf(" @%d.%09d", stat.Mtim.Sec, stat.Mtim.Nsec)
		if stat.Nlink > 1 && stat.Mode&unix.S_IFMT != unix.S_IFDIR {
			if other, known := first[stat.Ino]; known {
				line += " = " + other
			} else {
				first[stat.Ino] = name
			}
		}
		for _, attribute := range xattrs(t, path) {
			line += " " + attribute
		}
		lines = append(lines, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	sort.Strings(lines)
	return lines
}

func xattrs(t testing.TB, path string) (all []string) {
	t.Helper()
	list := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, list)
	if err != nil && err != unix.ENOTSUP {
		t.Fatal(path, err)
	}
	for name := range strings.SplitSeq(string(list[:max(n, 0)]), "\x00") {
		if name == "" {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			t.Fatal(path, name, err)
		}
		all = append(all, fmt.Sprintf("%s=%x", name, value[:n]))
	}
	slices.Sort(all)
	return all
}
