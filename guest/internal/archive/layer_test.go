package archive_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pyro/guest/internal/archive"
)

// layers unpacks one over the other, and gives the error of the last.
func (p place) layers(layers ...[]entry) error {
	p.t.Helper()
	for i, layer := range layers {
		_, err := p.unpack(archive.Options{Layer: true, HasLower: i > 0}, pack(p.t, layer...))
		if err != nil && i < len(layers)-1 {
			p.t.Fatal(err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func withXattrs(e entry, xattrs map[string]string) entry {
	e.Format, e.PAXRecords = tar.FormatPAX, map[string]string{}
	for name, value := range xattrs {
		e.PAXRecords["SCHILY.xattr."+name] = value
	}
	return e
}

func (p place) xattrs(name string) string {
	p.t.Helper()
	list := make([]byte, 4096)
	n, err := unix.Llistxattr(filepath.Join(p.top, name), list)
	if err != nil {
		p.t.Fatal(err)
	}
	return strings.ReplaceAll(strings.TrimSuffix(string(list[:n]), "\x00"), "\x00", " ")
}

func TestNamesOfWhiteoutsNeverStandInTheTree(t *testing.T) {
	for name, test := range map[string]struct {
		layer  []entry
		want   string
		reason error
	}{
		"below nothing, a whiteout makes nothing": {[]entry{file("none/deep/.wh.x", ""), file("none/.wh..wh..opq", "")}, "a=1", nil},
		"below a file neither":                    {[]entry{file("a/.wh.x", ""), file("a/.wh..wh..opq", "")}, "a=1", nil},
		"a whiteout that is a directory":          {[]entry{dir(".wh.a")}, "", nil},
		"a whiteout that is a link":               {[]entry{link(".wh.a", "/etc")}, "", nil},
		"something below a note of old tools":     {[]entry{dir(".wh..wh.plnk"), file(".wh..wh.plnk/1.2", "x")}, "a=1", nil},
		"something below a whiteout":              {[]entry{file(".wh.d/x", "")}, "a=1", archive.ErrWhiteout},
		"through a link to a whiteout":            {[]entry{link("l", ".wh.d"), file("l/x", "")}, "a=1 l->.wh.d", archive.ErrWhiteout},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			if err := p.layers([]entry{file("a", "1")}, test.layer); !errors.Is(err, test.reason) {
				t.Errorf("%v, wanted %v", err, test.reason)
			}
			if got := listing(t, p.top); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			p.checkOutside()
		})
	}
}

func TestADirectoryOfALowerLayerGetsTheAttributesOfTheUpperOne(t *testing.T) {
	p := newPlace(t)
	err := p.layers(
		[]entry{withXattrs(dir("d"), map[string]string{"user.old": "1", "user.both": "1"}), file("d/kept", "1")},
		[]entry{withXattrs(entry{Header: tar.Header{Typeflag: tar.TypeDir, Name: "d", Mode: 0o1711}}, map[string]string{"user.both": "2"})},
	)
	if err != nil {
		t.Fatal(err)
	}
	if got := p.xattrs("d"); got != "user.both" {
		t.Errorf("%q", got)
	}
	if mode := p.stat("d").Mode; mode != unix.S_IFDIR|0o1711 {
		t.Errorf("%o", mode)
	}
	if got := listing(t, p.top); got != "d/ d/kept=1" {
		t.Error(got)
	}
}

func TestADirectoryThatALayerOnlyReachesIntoKeepsItsTime(t *testing.T) {
	p := newPlace(t)
	early := entry{Header: tar.Header{Typeflag: tar.TypeDir, Name: "d", Mode: 0o755, ModTime: someTime.Add(-time.Hour)}}
	emptied := entry{Header: tar.Header{Typeflag: tar.TypeDir, Name: "e", Mode: 0o755, ModTime: someTime.Add(-time.Hour)}}
	err := p.layers(
		[]entry{dir("."), early, emptied, file("e/x", ""), file("was-d/x", ""), link("l", "d")},
		// What is no directory any more has its own time, and what a link leads to keeps its.
		[]entry{file("l/new", ""), file("e/.wh.x", ""), file("was-d/y", ""), file("was-d", ""), file("l", "")},
	)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]time.Time{
		".": someTime, "d": early.ModTime, "e": emptied.ModTime, "was-d": someTime, "l": someTime, "d/new": someTime,
	} {
		if got := p.stat(name).Mtim.Sec; got != want.Unix() {
			t.Errorf("%s: %d, wanted %d", name, got, want.Unix())
		}
	}
}

func TestNothingIsInheritedFromADirectorysAccessList(t *testing.T) {
	// Version 2: user::rwx user:1:rwx group::r-x mask::rwx other::---
	list := "\x02\x00\x00\x00\x01\x00\x07\x00\xff\xff\xff\xff\x02\x00\x07\x00\x01\x00\x00\x00\x04\x00\x05\x00\xff\xff\xff\xff" +
		"\x10\x00\x07\x00\xff\xff\xff\xff\x20\x00\x00\x00\xff\xff\xff\xff"
	p := newPlace(t)
	err := p.layers([]entry{
		withXattrs(dir("d"), map[string]string{"system.posix_acl_default": list}), file("d/f", ""), dir("d/e"),
		{Header: tar.Header{Typeflag: tar.TypeFifo, Name: "d/p", Mode: 0o644}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if p.xattrs("d") == "" {
		t.Skip("this file system keeps no access lists")
	}
	for name, mode := range map[string]uint32{"d/f": unix.S_IFREG | 0o644, "d/e": unix.S_IFDIR | 0o755, "d/p": unix.S_IFIFO | 0o644} {
		if got := p.xattrs(name); got != "" || p.stat(name).Mode != mode {
			t.Errorf("%s: %q %o", name, got, p.stat(name).Mode)
		}
	}
}

func TestEachBoundIsNamed(t *testing.T) {
	long := strings.Repeat(strings.Repeat("n", 250)+"/", 16)
	for which, entries := range map[string][]entry{
		"name_length": {file(strings.Repeat("x", 256), "")},
		"depth":       {dir(strings.Repeat("d/", 1100))},
		"xattr":       {withXattrs(file("f", ""), map[string]string{"user.x": strings.Repeat("x", 65<<10)})},
		"entries":     {file("1", ""), file("2", ""), file("3", ""), file("4", ""), file("5", ""), file("6", ""), file("7", "")},
		"bytes":       {file("f", strings.Repeat("x", 1001))},
		"deep names":  {dir(strings.Repeat("d/", 100_000))},
		"deep links":  {dir(long[:2000]), link("l", long[:2000]), dir("l/" + long[:2000]), link("m", "l/"+long[:2000]), dir("m/" + long[:2000]), file("m/"+long[:2000]+"/f", "")},
	} {
		t.Run(which, func(t *testing.T) {
			p := newPlace(t)
			_, err := p.unpack(archive.Options{Layer: true, MaxEntries: 6, MaxBytes: 1000}, pack(t, entries...))
			limit, ok := errors.AsType[*archive.LimitError](err)
			if strings.HasPrefix(which, "deep ") {
				which = "name_length"
			}
			if !ok || limit.Which != which {
				t.Errorf("%v", err)
			}
			p.checkOutside()
		})
	}
}

func TestRecordsBeforeAnEntryAreNotReadForEver(t *testing.T) {
	for _, kind := range []byte{'x', 'g', 'L', 'K'} {
		block := pack(t, entry{Header: tar.Header{Typeflag: tar.TypeReg, Name: "records"}})[:512]
		copy(block[124:136], "10000000000\x00")
		block[156] = kind
		copy(block[148:156], "        ")
		sum := 0
		for _, each := range block {
			sum += int(each)
		}
		copy(block[148:156], fmt.Sprintf("%06o\x00 ", sum))
		stream := append(block, bytes.Repeat([]byte("x"), 4<<20)...)
		if _, err := newPlace(t).unpack(archive.Options{Layer: true}, stream); !errors.Is(err, archive.ErrPAXHeader) {
			t.Errorf("%c: %v", kind, err)
		}
	}
}

func TestANumberThatLinuxWouldCutOffIsRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root makes devices and gives files away")
	}
	header := func(change func(h *tar.Header)) entry {
		h := tar.Header{Typeflag: tar.TypeChar, Name: "x", Mode: 0o644, Format: tar.FormatGNU}
		change(&h)
		return entry{Header: h}
	}
	for name, test := range map[string]struct {
		entry  entry
		reason error
	}{
		"a user above all":  {header(func(h *tar.Header) { h.Uid = 1 << 32 }), archive.ErrOwner},
		"the user -1":       {header(func(h *tar.Header) { h.Uid = 1<<32 - 1 }), archive.ErrOwner},
		"a group below all": {header(func(h *tar.Header) { h.Gid = -1 }), archive.ErrOwner},
		"a major number":    {header(func(h *tar.Header) { h.Devmajor = 1 << 12 }), archive.ErrDevice},
		"a minor number":    {header(func(h *tar.Header) { h.Devminor = 1 << 20 }), archive.ErrDevice},
	} {
		p := newPlace(t)
		if err := p.layers([]entry{test.entry}); !errors.Is(err, test.reason) {
			t.Errorf("%s: %v", name, err)
		}
		if got := listing(t, p.top); got != "" {
			t.Errorf("%s: %s", name, got)
		}
	}
}
