package archive

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

// told is what an archive holds, as a reader tells it, to its end or its error.
func told(next func() (*tar.Header, error), content io.Reader) (lines []string) {
	for range 1000 {
		header, err := next()
		if err != nil {
			return append(lines, fmt.Sprint(err))
		}
		// A sparse file of a few bytes can be as long as it likes.
		data, err := io.ReadAll(io.LimitReader(content, 1<<20))
		lines = append(lines, fmt.Sprintf("%c %q %q %o %d %d %d %d %v %d %.20x %v", header.Typeflag, header.Name, header.Linkname, header.Mode,
			header.Uid, header.Gid, header.Size, header.ModTime.UnixNano(), header.PAXRecords["SCHILY.xattr.user.x"], len(data), data, err))
		if err != nil || len(data) == 1<<20 {
			return lines
		}
	}
	return lines
}

func compare(t *testing.T, archive []byte) {
	t.Helper()
	theirs := tar.NewReader(bytes.NewReader(archive))
	ours := newStream(bytes.NewReader(archive))
	want, got := told(theirs.Next, theirs), told(ours.next, ours)
	if strings.Join(want, "\n") != strings.Join(got, "\n") {
		t.Fatalf("archive/tar:\n%s\nours:\n%s", strings.Join(want, "\n"), strings.Join(got, "\n"))
	}
}

func made(t testing.TB, format tar.Format) []byte {
	var archive bytes.Buffer
	writer := tar.NewWriter(&archive)
	at := time.Unix(1_700_000_000, 0)
	if format == tar.FormatPAX {
		at = time.Unix(1_700_000_000, 123_456_789)
	}
	long := strings.Repeat("long/", 40)
	headers := []tar.Header{
		{Name: "d/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "d/f", Typeflag: tar.TypeReg, Mode: 0o4755, Size: 5, Uid: 1000, Gid: 7},
		{Name: "d/large", Typeflag: tar.TypeReg, Mode: 0o644, Size: 200_000},
		{Name: "d/l", Typeflag: tar.TypeSymlink, Linkname: "f", Mode: 0o777},
		{Name: "d/h", Typeflag: tar.TypeLink, Linkname: "d/f"},
		{Name: "d/empty", Typeflag: tar.TypeReg},
		{Name: strings.Repeat("x", 100), Typeflag: tar.TypeReg, Size: 512},
		{Name: "d/p", Typeflag: tar.TypeFifo},
	}
	if format != tar.FormatUSTAR {
		headers = append(headers,
			tar.Header{Name: long + "f", Typeflag: tar.TypeReg, Size: 3},
			tar.Header{Name: long + "l", Typeflag: tar.TypeSymlink, Linkname: long + "f"})
	}
	if format == tar.FormatPAX {
		headers = append(headers, tar.Header{
			Name: "x", Typeflag: tar.TypeReg, Size: 1, PAXRecords: map[string]string{"SCHILY.xattr.user.x": "y"},
		})
	}
	for _, header := range headers {
		header.Format, header.ModTime = format, at
		if err := writer.WriteHeader(&header); err != nil {
			t.Fatal(err)
		}
		if _, err := writer.Write(bytes.Repeat([]byte("c"), int(header.Size))); err != nil {
			t.Fatal(err)
		}
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	return archive.Bytes()
}

func TestAStreamIsReadAsByTheStandardLibrary(t *testing.T) {
	for _, format := range []tar.Format{tar.FormatUSTAR, tar.FormatGNU, tar.FormatPAX} {
		archive := made(t, format)
		compare(t, archive)
		for cut := 0; cut < len(archive); cut += 511 {
			compare(t, archive[:cut])
		}
		// What stands behind the end is nobody's.
		compare(t, append(bytes.Clone(archive), archive...))
	}
	compare(t, nil)
}

func TestContentThatIsNotReadIsLeftOut(t *testing.T) {
	for _, format := range []tar.Format{tar.FormatUSTAR, tar.FormatGNU, tar.FormatPAX} {
		theirs := tar.NewReader(bytes.NewReader(made(t, format)))
		ours := newStream(bytes.NewReader(made(t, format)))
		for {
			want, wantErr := theirs.Next()
			got, err := ours.next()
			if err != wantErr {
				t.Fatalf("%v instead of %v", err, wantErr)
			}
			if err == io.EOF {
				break
			}
			if got.Name != want.Name {
				t.Fatalf("%q instead of %q", got.Name, want.Name)
			}
			_, _ = ours.Read(make([]byte, 2))
		}
	}
}

func TestTheEntriesOfASeedAreTakenApartHere(t *testing.T) {
	s := newStream(bytes.NewReader(made(t, tar.FormatGNU)))
	for _, name := range []string{"d/", "d/f", "d/large", "d/l"} {
		if header, err := s.next(); err != nil || header.Name != name || s.foreign != nil {
			t.Fatalf("%q: %+v %v", name, header, err)
		}
	}
	if content := s.small(); content != nil {
		t.Errorf("a link has %d bytes", len(content))
	}
	for _, text := range []string{"30 mtime=1700000000.123456789\n", "20 mtime=1700000000\n", "30 mtime=0000000000.000000001\n"} {
		if _, ok := timeRecord([]byte(text)); !ok {
			t.Errorf("%q was left to others", text)
		}
	}
	for _, text := range []string{"", "30 mtime=-700000000.123456789\n", "21 mtime=1700000000.\n", "30 ctime=1700000000.123456789\n"} {
		if _, ok := timeRecord([]byte(text)); ok {
			t.Errorf("%q was taken", text)
		}
	}
}

func FuzzAStreamIsReadAsByTheStandardLibrary(f *testing.F) {
	for _, format := range []tar.Format{tar.FormatUSTAR, tar.FormatGNU, tar.FormatPAX} {
		f.Add(made(f, format)[:8192], 0, byte(0))
	}
	f.Fuzz(func(t *testing.T, archive []byte, at int, value byte) {
		archive = bytes.Clone(archive)
		// One byte of a block with its sum put right: mutations get no further than the sum otherwise.
		if at >= 0 && at < len(archive)&^511 {
			archive[at] = value
			block := archive[at&^511:][:512]
			copy(block[148:156], "        ")
			sum := 0
			for _, each := range block {
				sum += int(each)
			}
			copy(block[148:156], fmt.Sprintf("%06o\x00 ", sum))
		}
		compare(t, archive)
	})
}
