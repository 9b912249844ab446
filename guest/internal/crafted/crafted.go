// Package crafted makes tar archives for tests, hostile ones too.
package crafted

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"testing"
	"time"
)

// SomeTime is that of entries which say none.
var SomeTime = time.Unix(1_600_000_000, 0)

// Entry is one entry of an archive.
type Entry struct {
	tar.Header
	Content string
}

// File is a regular file.
func File(name, content string) Entry {
	return Entry{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644}, content}
}

// Dir is a directory.
func Dir(name string) Entry {
	return Entry{tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755}, ""}
}

// Link is a symbolic link.
func Link(name, target string) Entry {
	return Entry{tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}, ""}
}

// Hard is a hard link.
func Hard(name, target string) Entry {
	return Entry{tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target}, ""}
}

// Node is a device, or a FIFO.
func Node(name string, kind byte, major, minor int64) Entry {
	return Entry{tar.Header{Typeflag: kind, Name: name, Mode: 0o660, Devmajor: major, Devminor: minor}, ""}
}

// With is the entry with a changed header.
func (e Entry) With(change func(h *tar.Header)) Entry {
	change(&e.Header)
	return e
}

// Xattr is the entry with one more extended attribute.
func (e Entry) Xattr(name, value string) Entry {
	records := map[string]string{"SCHILY.xattr." + name: value}
	for key, value := range e.PAXRecords {
		records[key] = value
	}
	e.Format, e.PAXRecords = tar.FormatPAX, records
	return e
}

// Pack writes headers as they are: the writer of the standard library does not refuse hostile names.
func Pack(t testing.TB, entries ...Entry) []byte {
	t.Helper()
	var out bytes.Buffer
	writer := tar.NewWriter(&out)
	for _, e := range entries {
		if e.Typeflag == tar.TypeReg {
			e.Size = int64(len(e.Content))
		}
		if e.ModTime.IsZero() {
			e.ModTime = SomeTime
		}
		if os.Geteuid() != 0 {
			e.Uid, e.Gid = os.Geteuid(), os.Getegid()
		}
		if err := writer.WriteHeader(&e.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(writer, e.Content); err != nil {
			t.Fatal(err)
		}
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
