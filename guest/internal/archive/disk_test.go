package archive_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"pyro/guest/internal/archive"
)

// onDisk is an archive as a disk has it: what comes before and behind it is not its own.
type onDisk struct {
	path         string
	offset, size int64
}

func lay(t *testing.T, directory string, offset int64, stream []byte) onDisk {
	t.Helper()
	path := filepath.Join(directory, "disk")
	content := bytes.Repeat([]byte{0xaa}, int(offset)+len(stream)+(8<<20))
	copy(content[offset:], stream)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return onDisk{path, offset, int64(len(stream))}
}

// unpack gives also how many bytes were told to be read.
func (d onDisk) unpack(ctx context.Context, p place) (read int64, err error) {
	p.t.Helper()
	top, err := unix.Open(p.top, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		p.t.Fatal(err)
	}
	defer unix.Close(top)
	before := descriptors(p.t)
	disk, err := archive.OpenDisk(d.path, d.offset, d.size, func(bytes int) { read += int64(bytes) })
	if err != nil {
		p.t.Fatal(err)
	}
	_, err = archive.Unpack(ctx, top, disk, archive.Options{Layer: true})
	if closeErr := disk.Close(); closeErr != nil {
		p.t.Error(closeErr)
	}
	if after := descriptors(p.t); after != before {
		p.t.Errorf("%d descriptors before, %d after", before, after)
	}
	return read, err
}

func noise(seed uint64, size int) string {
	content := make([]byte, size)
	_, _ = io.ReadFull(rand.NewChaCha8([32]byte{byte(seed)}), content)
	return string(content)
}

// digests is each file with what it holds.
func digests(t *testing.T, top string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(top)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, each := range entries {
		content, err := os.ReadFile(filepath.Join(top, each.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[each.Name()] = fmt.Sprintf("%d %x", len(content), sha256.Sum256(content))
	}
	return all
}

func TestContentsOfAnySizeAreWholeFromADisk(t *testing.T) {
	var entries []entry
	for i, size := range []int{0, 1, 511, 4096, 64 << 10, 64<<10 + 1, 256<<10 - 1, 256 << 10, 256<<10 + 1, 1<<20 + 4095, 4 << 20, 9<<20 + 513} {
		entries = append(entries, file(fmt.Sprintf("f%d", i), noise(uint64(i), size)))
	}
	// Once more over what is there.
	entries = append(entries, file("f10", noise(99, 5<<20+7)))
	stream := pack(t, entries...)
	want := newPlace(t)
	if _, err := want.unpack(archive.Options{Layer: true}, stream); err != nil {
		t.Fatal(err)
	}
	// A disk's own begin, a place in the middle, and one where no direct transfer can begin; and a file system without any.
	for name, disk := range map[string]onDisk{
		"at its begin":  lay(t, t.TempDir(), 0, stream),
		"in the middle": lay(t, t.TempDir(), 3*512, stream),
		"not aligned":   lay(t, t.TempDir(), 100, stream),
		"in memory":     lay(t, memoryDirectory(t), 512, stream),
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			read, err := disk.unpack(context.Background(), p)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := digests(t, p.top), digests(t, want.top); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%v\nwant %v", got, want)
			}
			if read > disk.size || read < disk.size-(64<<10) {
				t.Errorf("%d of %d bytes were read", read, disk.size)
			}
			p.checkOutside()
		})
	}
}

func memoryDirectory(t *testing.T) string {
	t.Helper()
	directory := t.TempDir()
	if err := unix.Mount("tmpfs", directory, "tmpfs", 0, ""); err != nil {
		t.Skip("only root can mount a file system without direct transfers:", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(directory, unix.MNT_DETACH) })
	return directory
}

func TestAnEntryLongerThanItsArchiveGetsNothingOfWhatLiesBehind(t *testing.T) {
	stream := pack(t, file("f", noise(1, 2<<20)))
	p := newPlace(t)
	disk := lay(t, t.TempDir(), 512, stream[:1<<20])
	if _, err := disk.unpack(context.Background(), p); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(p.top, "f"))
	if err != nil || len(content) > 1<<20 || bytes.Contains(content, bytes.Repeat([]byte{0xaa}, 64)) {
		t.Error(len(content), err)
	}
}

func TestALargeContentEndsWithItsCaller(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	disk := lay(t, t.TempDir(), 0, pack(t, file("f", noise(1, 2<<20))))
	if _, err := disk.unpack(ctx, newPlace(t)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestALargeContentThatDoesNotFitSaysSo(t *testing.T) {
	p := newPlace(t)
	if err := unix.Mount("tmpfs", p.top, "tmpfs", 0, "size=1m"); err != nil {
		t.Skip("only root can mount a small file system:", err)
	}
	defer unix.Unmount(p.top, unix.MNT_DETACH)
	disk := lay(t, t.TempDir(), 0, pack(t, file("f", noise(1, 2<<20))))
	if _, err := disk.unpack(context.Background(), p); !errors.Is(err, archive.ErrTooLarge) && !errors.Is(err, unix.ENOSPC) {
		t.Error(err)
	}
}
