package inodes_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pyro/guest/internal/inodes"
)

// disk makes an ext4 file system of a directory; features are mke2fs's.
func disk(t *testing.T, from string, options ...string) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	args := append([]string{"-q", "-t", "ext4", "-d", from}, options...)
	run(t, "mke2fs", append(args, path, "64M")...)
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	return file
}

func run(t *testing.T, program string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		for _, directory := range []string{"/usr/sbin", "/sbin"} {
			if found, err := exec.LookPath(filepath.Join(directory, program)); err == nil {
				path = found
			}
		}
	}
	if path == "" {
		t.Skipf("%s is not installed", program)
	}
	output, err := exec.Command(path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", program, err, output)
	}
	return string(output)
}

// told is what debugfs says of a path.
type told struct {
	number, size uint64
	mode         uint16
	ctime, mtime unix.StatxTimestamp
}

func tell(t *testing.T, disk, path string) told {
	t.Helper()
	text := run(t, "debugfs", "-R", fmt.Sprintf("stat %q", path), disk)
	part := func(pattern string) string {
		match := regexp.MustCompile(pattern).FindStringSubmatch(text)
		if match == nil {
			t.Fatalf("debugfs says nothing of %s: %s", pattern, text)
		}
		return match[1]
	}
	number := func(pattern string, base int) uint64 {
		value, err := strconv.ParseUint(part(pattern), base, 64)
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
	at := func(name string) unix.StatxTimestamp {
		extra := number(name+`: 0x[0-9a-f]+:([0-9a-f]+)`, 16)
		seconds := int64(int32(number(name+`: 0x([0-9a-f]+):`, 16)))
		return unix.StatxTimestamp{Sec: seconds + int64(extra&3)<<32, Nsec: uint32(extra >> 2)}
	}
	kinds := map[string]uint16{"regular": unix.S_IFREG, "directory": unix.S_IFDIR, "symlink": unix.S_IFLNK}
	return told{
		number: number(`Inode: (\d+)`, 10), size: number(`Size: (\d+)`, 10),
		mode:  uint16(number(`Mode:\s+(\d+)`, 8)) | kinds[part(`Type: (\w+)`)],
		ctime: at("ctime"), mtime: at("mtime"),
	}
}

func TestInodesAreReadAsTheFileSystemsOwnToolTellsThem(t *testing.T) {
	from := t.TempDir()
	var paths []string
	for index := range 300 {
		name := fmt.Sprintf("file-%d", index)
		path := filepath.Join(from, name)
		if err := os.WriteFile(path, bytes.Repeat([]byte("x"), index*37), 0o600|os.FileMode(index%8)); err != nil {
			t.Fatal(err)
		}
		// Before 1970, now, and beyond 2038 and 2106.
		year := []int{1960, 2024, 2050, 2120}[index%4]
		at := time.Date(year, 1, 2, 3, 4, 5, 123_456_789, time.UTC)
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
		if index%30 == 0 {
			paths = append(paths, "/"+name)
		}
	}
	if err := os.Mkdir(filepath.Join(from, "d"), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("file-1", filepath.Join(from, "link")); err != nil {
		t.Fatal(err)
	}
	paths = append(paths, "/d", "/link", "/file-299")
	for _, options := range [][]string{{}, {"-O", "^64bit"}, {"-b", "1024"}, {"-b", "4096", "-I", "512", "-N", "9000"}} {
		file := disk(t, from, options...)
		table, err := inodes.Open(int(file.Fd()))
		if err != nil {
			t.Fatalf("%v: %v", options, err)
		}
		for _, path := range paths {
			want := tell(t, file.Name(), path)
			var got unix.Statx_t
			if !table.Stat(want.number, &got) {
				t.Fatalf("%v: nothing is known of %s", options, path)
			}
			if now := (told{got.Ino, got.Size, got.Mode, got.Ctime, got.Mtime}); now != want {
				t.Errorf("%v: %s is %+v instead of %+v", options, path, now, want)
			}
		}
		var stat unix.Statx_t
		if table.Stat(0, &stat) || table.Stat(1<<40, &stat) {
			t.Errorf("%v: an inode that cannot be was found", options)
		}
	}
}

func TestADiskOfAnotherKindIsRefused(t *testing.T) {
	from := t.TempDir()
	for name, options := range map[string][]string{"small inodes": {"-I", "128"}, "meta_bg": {"-O", "meta_bg,^resize_inode"}} {
		if _, err := inodes.Open(int(disk(t, from, options...).Fd())); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for name, content := range map[string]string{"empty": "", "zeros": strings.Repeat("\x00", 8192)} {
		path := filepath.Join(t.TempDir(), "disk")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := inodes.Open(int(file.Fd())); err == nil {
			t.Errorf("%s: accepted", name)
		}
		_ = file.Close()
	}
}
