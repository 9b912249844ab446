package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func holdBytes(t *testing.T, write func(*os.File)) held {
	t.Helper()
	path := filepath.Join(t.TempDir(), "memory")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	write(file)
	_ = file.Close()
	h, err := hold("test", path, holding{digest: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(*h.Descriptor) })
	return h
}

func at(t *testing.T, file *os.File, offset int64, text string) {
	t.Helper()
	if _, err := file.WriteAt([]byte(text), offset); err != nil {
		t.Fatal(err)
	}
}

func TestTheCopyIsWholeAndCannotBeChanged(t *testing.T) {
	h := holdBytes(t, func(file *os.File) {
		_ = file.Truncate(8 << 20)
		at(t, file, 5, "begin")
		at(t, file, 3<<20+100, "middle")
		at(t, file, 8<<20-3, "end")
	})
	if h.SizeBytes != 8<<20 || h.UsedBytes != 3*pageBytes {
		t.Fatalf("%+v", h)
	}
	copied := make([]byte, 8<<20)
	if n, err := unix.Pread(*h.Descriptor, copied, 0); n != len(copied) || err != nil {
		t.Fatal(n, err)
	}
	want := make([]byte, 8<<20)
	copy(want[5:], "begin")
	copy(want[3<<20+100:], "middle")
	copy(want[8<<20-3:], "end")
	if !bytes.Equal(copied, want) {
		t.Fatal("the copy differs")
	}
	if _, err := unix.Pwrite(*h.Descriptor, []byte("x"), 0); err != unix.EPERM {
		t.Fatal(err)
	}
	if _, err := unix.Mmap(*h.Descriptor, 0, pageBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != unix.EPERM {
		t.Fatal(err)
	}
	private, err := unix.Mmap(*h.Descriptor, 0, pageBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	private[0] = 1
	_ = unix.Munmap(private)
}

func TestTheDigestKnowsEachByteAndNoHoles(t *testing.T) {
	digest := func(write func(*os.File)) string { return holdBytes(t, write).SHA256 }
	base := digest(func(file *os.File) { at(t, file, 0, "a"); _ = file.Truncate(1 << 20) })
	zeros := digest(func(file *os.File) {
		at(t, file, 0, string(make([]byte, 1<<20)))
		at(t, file, 0, "a")
	})
	if base != zeros {
		t.Error("written zeros differ from a hole")
	}
	for name, write := range map[string]func(*os.File){
		"a flipped byte":  func(file *os.File) { at(t, file, 0, "b"); _ = file.Truncate(1 << 20) },
		"a byte more":     func(file *os.File) { at(t, file, 0, "a"); _ = file.Truncate(1<<20 + 1) },
		"another place":   func(file *os.File) { at(t, file, 4096, "a"); _ = file.Truncate(1 << 20) },
		"one in a hole":   func(file *os.File) { at(t, file, 0, "a"); at(t, file, 1<<20-1, "x") },
		"one page beyond": func(file *os.File) { at(t, file, 0, "a"); _ = file.Truncate(1<<20 + 4096) },
	} {
		if digest(write) == base {
			t.Errorf("%s makes no difference", name)
		}
	}
}

func TestAMissingFileIsAnError(t *testing.T) {
	if _, err := hold("test", filepath.Join(t.TempDir(), "none"), holding{}); err == nil {
		t.Fatal("held nothing")
	}
}

func TestAMemoryOfAMachinesOwnCanBeWrittenAndKeepsItsSize(t *testing.T) {
	path := filepath.Join(t.TempDir(), "memory")
	if err := os.WriteFile(path, append(make([]byte, 2*pageBytes), "text"...), 0o600); err != nil {
		t.Fatal(err)
	}
	h, err := hold("test", path, holding{writable: true})
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(*h.Descriptor)
	if h.SHA256 != "" || h.UsedBytes != 4 {
		t.Fatalf("%+v", h)
	}
	if n, err := unix.Pwrite(*h.Descriptor, []byte("other"), 0); n != 5 || err != nil {
		t.Fatal(n, err)
	}
	if err := unix.Ftruncate(*h.Descriptor, 0); err != unix.EPERM {
		t.Fatal(err)
	}
	if content, _ := os.ReadFile(path); content[0] != 0 {
		t.Fatal("what was copied changed")
	}
}

func TestAStoredCopyIsWholeSparseAndPrivate(t *testing.T) {
	directory := t.TempDir()
	path, target := filepath.Join(directory, "memory"), filepath.Join(directory, "copy")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	_ = file.Truncate(64 << 20)
	at(t, file, 3<<20, "middle")
	at(t, file, 64<<20-3, "end")
	_ = file.Close()
	stored, err := store(target, path)
	if err != nil {
		t.Fatal(err)
	}
	again, err := hold("test", target, holding{digest: true})
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(*again.Descriptor)
	if seen, err := examine(path); err != nil || seen.SHA256 != stored.SHA256 {
		t.Fatalf("%+v is not %+v (%v)", seen, stored, err)
	}
	if stored.SHA256 != again.SHA256 || stored.Descriptor != nil {
		t.Fatalf("%+v is not %+v", stored, again)
	}
	var facts unix.Stat_t
	if err := unix.Stat(target, &facts); err != nil || facts.Mode&0o777 != 0o600 || facts.Blocks*512 > 1<<20 {
		t.Fatalf("%+v %v", facts, err)
	}
	if _, err := store(target, path); !os.IsExist(err) {
		t.Fatal(err)
	}
}
