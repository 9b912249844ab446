package archive_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pyro/guest/internal/archive"
	"pyro/guest/internal/confined"
	"pyro/guest/internal/crafted"
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
	pack     = crafted.Pack
)

// place is a directory to unpack into, beside another that nothing may change.
type place struct {
	t            testing.TB
	top, outside string
}

func newPlace(t testing.TB) place {
	t.Helper()
	base := t.TempDir()
	p := place{t, filepath.Join(base, "top"), filepath.Join(base, "outside")}
	for _, directory := range []string{p.top, p.outside} {
		if err := os.Mkdir(directory, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(p.outside, "secret"), []byte("untouched"), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p place) unpack(options archive.Options, stream []byte) (archive.Result, error) {
	p.t.Helper()
	fd, err := unix.Open(p.top, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		p.t.Fatal(err)
	}
	defer unix.Close(fd)
	before := descriptors(p.t)
	defer func() {
		if after := descriptors(p.t); after != before {
			p.t.Errorf("%d descriptors before, %d after", before, after)
		}
	}()
	return archive.Unpack(context.Background(), fd, bytes.NewReader(stream), options)
}

func descriptors(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// checkOutside proves that nothing outside was touched.
func (p place) checkOutside() {
	p.t.Helper()
	if got := listing(p.t, p.outside); got != "secret=untouched" {
		p.t.Errorf("outside: %s", got)
	}
	entries, err := os.ReadDir(filepath.Dir(p.top))
	if err != nil || len(entries) != 2 {
		p.t.Errorf("beside: %v %v", entries, err)
	}
}

// listing is the tree as one line: directories end in a slash, links show their text.
func listing(t testing.TB, top string) string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(top, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == top {
			return err
		}
		name, _ := filepath.Rel(top, path)
		switch {
		case e.IsDir():
			name += "/"
		case e.Type()&fs.ModeSymlink != 0:
			target, _ := os.Readlink(path)
			name += "->" + target
		case e.Type().IsRegular():
			content, _ := os.ReadFile(path)
			name += "=" + string(content)
		}
		all = append(all, name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	sort.Strings(all)
	return strings.Join(all, " ")
}

func TestHostileEntriesAreRefusedByNameAndTouchNothingOutside(t *testing.T) {
	long := strings.Repeat("x", 256)
	tests := map[string]struct {
		entries []entry
		reason  error
	}{
		"parent":                        {[]entry{file("../outside/x", "")}, archive.ErrParent},
		"parent inside":                 {[]entry{file("a/../../outside/x", "")}, archive.ErrParent},
		"parent at the end":             {[]entry{dir("a/..")}, archive.ErrParent},
		"absolute":                      {[]entry{file("/etc/x", "")}, archive.ErrAbsolute},
		"too long a part":               {[]entry{file("a/"+long, "")}, archive.ErrNameTooLong},
		"too long a name":               {[]entry{file(strings.Repeat("abcdefg/", 600)+"x", "")}, archive.ErrNameTooLong},
		"too deep":                      {[]entry{file(strings.Repeat("a/", 1100)+"x", "")}, archive.ErrTooDeep},
		"through a link upwards":        {[]entry{link("up", ".."), file("up/outside/x", "")}, archive.ErrOutside},
		"through an absolute link":      {[]entry{link("abs", "/tmp"), file("abs/x", "")}, archive.ErrOutside},
		"through chained links":         {[]entry{dir("a"), dir("a/b"), link("a/b/up", "../.."), link("a/escape", "b/up/../outside"), file("a/escape/x", "")}, archive.ErrOutside},
		"directory through a link":      {[]entry{link("up", "../outside"), dir("up/d")}, archive.ErrOutside},
		"link through a link":           {[]entry{link("up", "../outside"), link("up/l", "x")}, archive.ErrOutside},
		"hard link to parent":           {[]entry{hard("x", "../outside/secret")}, archive.ErrParent},
		"hard link to absolute":         {[]entry{hard("x", "/etc/passwd")}, archive.ErrAbsolute},
		"hard link through a link":      {[]entry{link("up", "../outside"), hard("x", "up/secret")}, archive.ErrOutside},
		"hard link out of the way":      {[]entry{file("f", ""), link("up", "../outside"), hard("up/x", "f")}, archive.ErrOutside},
		"hard link to nothing":          {[]entry{hard("x", "missing")}, unix.ENOENT},
		"hard link to the top":          {[]entry{hard("x", ".")}, archive.ErrLinkTarget},
		"through a file":                {[]entry{file("f", ""), file("f/x", "")}, unix.ENOTDIR},
		"through magic links":           {[]entry{link("root", "/proc/self/root"), file("root/x", "")}, archive.ErrOutside},
		"the top as a file":             {[]entry{file(".", "x")}, archive.ErrUnknownType},
		"larger than the disk":          {[]entry{{Header: tar.Header{Typeflag: tar.TypeReg, Name: "big", Size: 1 << 62}}}, nil},
		"a file where a full directory": {[]entry{file("d/x", ""), file("d", "")}, archive.ErrNotEmpty},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			var stream []byte
			if name == "larger than the disk" {
				stream = oversized(t)
				test.reason = archive.ErrTooLarge
			} else {
				stream = pack(t, test.entries...)
			}
			_, err := p.unpack(archive.Options{}, stream)
			var refused *archive.EntryError
			if !errors.As(err, &refused) || !errors.Is(err, test.reason) {
				t.Errorf("%v, wanted %v", err, test.reason)
			}
			p.checkOutside()
		})
	}
}

// oversized is a header that promises 4 EiB, as a sparse file can.
func oversized(t testing.TB) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := tar.NewWriter(&out).WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "big", Size: 1 << 62}); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestALayerStaysInsideWhateverItsLinksSay(t *testing.T) {
	for name, entries := range map[string][]entry{
		"absolute link":         {link("etc", "/outside"), file("etc/x", "1")},
		"link upwards":          {link("up", "../../../outside"), file("up/x", "1")},
		"whiteout through link": {link("up", "../outside"), file("up/.wh.secret", "")},
		"opaque through link":   {link("up", "../outside"), file("up/.wh..wh..opq", "")},
		"hard link upwards":     {link("up", "../outside"), file("up/f", "1"), hard("x", "up/f")},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			if _, err := p.unpack(archive.Options{Layer: true, HasLower: true}, pack(t, entries...)); err != nil {
				t.Error(err)
			}
			p.checkOutside()
		})
	}
	for name, entries := range map[string][]entry{
		"parent":              {file("../outside/x", "")},
		"whiteout of parent":  {file("a/.wh...", "")},
		"whiteout of itself":  {file("a/.wh..", "")},
		"whiteout of nothing": {file("a/.wh.", "")},
		"link cycle":          {link("a", "b"), link("b", "a"), file("a/x", "")},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			if _, err := p.unpack(archive.Options{Layer: true, HasLower: true}, pack(t, entries...)); err == nil {
				t.Error("it was accepted")
			}
			p.checkOutside()
		})
	}
}

func TestEverythingIsKept(t *testing.T) {
	p := newPlace(t)
	later := someTime.Add(12345 * time.Second)
	entries := []entry{
		{Header: tar.Header{Typeflag: tar.TypeDir, Name: "./d/", Mode: 0o2775, ModTime: someTime}},
		{Header: tar.Header{Typeflag: tar.TypeReg, Name: "./d/program", Mode: 0o4755, ModTime: later, Uid: 12, Gid: 34}, Content: "#!"},
		{Header: tar.Header{Typeflag: tar.TypeReg, Name: "d/open", Mode: 0o666, ModTime: later}, Content: strings.Repeat("x", 1_000_000)},
		{Header: tar.Header{Typeflag: tar.TypeReg, Name: "closed", Mode: 0, ModTime: later}},
		{Header: tar.Header{Typeflag: tar.TypeSymlink, Name: "d/link", Linkname: "/etc//alternatives/../awk", ModTime: later}},
		{Header: tar.Header{Typeflag: tar.TypeLink, Name: "hard", Linkname: "./d/program"}},
		{Header: tar.Header{Typeflag: tar.TypeReg, Name: "implied/a/b", Mode: 0o600, ModTime: later}, Content: "deep"},
		{Header: tar.Header{Typeflag: tar.TypeReg, Name: strings.Repeat("long-name/", 30) + strings.Repeat("n", 200), Mode: 0o644, ModTime: later, Format: tar.FormatGNU}, Content: "gnu"},
		{Header: tar.Header{Typeflag: tar.TypeReg, Name: "\xff\n\x1b[31m", Mode: 0o644, ModTime: later, Format: tar.FormatGNU}, Content: "odd"},
		{Header: tar.Header{Typeflag: tar.TypeFifo, Name: "pipe", Mode: 0o622, ModTime: later}},
		{Header: tar.Header{Typeflag: tar.TypeReg, Name: "attributes", Mode: 0o644, ModTime: later.Add(5 * time.Nanosecond), Format: tar.FormatPAX,
			PAXRecords: map[string]string{"SCHILY.xattr.user.note": "v\x01lue"}}},
	}
	result, err := p.unpack(archive.Options{}, pack(t, entries...))
	if err != nil || result.Entries != uint64(len(entries)) || result.Bytes != 1_000_012 {
		t.Fatalf("%v %v", result, err)
	}
	for name, mode := range map[string]uint32{
		"d": unix.S_IFDIR | 0o2775, "d/program": unix.S_IFREG | 0o4755, "hard": unix.S_IFREG | 0o4755, "d/open": unix.S_IFREG | 0o666,
		"closed": unix.S_IFREG, "pipe": unix.S_IFIFO | 0o622, "implied/a/b": unix.S_IFREG | 0o600, "implied/a": unix.S_IFDIR | 0o755,
	} {
		stat := p.stat(name)
		if stat.Mode != mode {
			t.Errorf("%s: mode %o, wanted %o", name, stat.Mode, mode)
		}
	}
	if stat := p.stat("d"); stat.Mtim.Sec != someTime.Unix() {
		t.Errorf("the directory's time is %d", stat.Mtim.Sec)
	}
	if stat := p.stat("d/program"); stat.Mtim.Sec != later.Unix() || stat.Nlink != 2 {
		t.Errorf("%v", stat)
	}
	if stat := p.stat("attributes"); stat.Mtim.Nsec != 5 {
		t.Errorf("nanoseconds: %d", stat.Mtim.Nsec)
	}
	if target, _ := os.Readlink(filepath.Join(p.top, "d/link")); target != "/etc//alternatives/../awk" {
		t.Errorf("%q", target)
	}
	if os.Geteuid() == 0 {
		if stat := p.stat("d/program"); stat.Uid != 12 || stat.Gid != 34 {
			t.Errorf("owner %d:%d", stat.Uid, stat.Gid)
		}
		if stat := p.stat("d/open"); stat.Uid != 0 || stat.Gid != 0 {
			t.Errorf("owner %d:%d", stat.Uid, stat.Gid)
		}
	}
	value := make([]byte, 64)
	if n, err := unix.Getxattr(filepath.Join(p.top, "attributes"), "user.note", value); err == unix.ENOTSUP {
		t.Log("this file system keeps no extended attributes")
	} else if err != nil || string(value[:n]) != "v\x01lue" {
		t.Errorf("%q %v", value[:max(n, 0)], err)
	}
}

func (p place) stat(name string) unix.Stat_t {
	p.t.Helper()
	var stat unix.Stat_t
	if err := unix.Lstat(filepath.Join(p.top, name), &stat); err != nil {
		p.t.Error(name, err)
	}
	return stat
}

func TestASeedOverwritesButNeverDeletes(t *testing.T) {
	p := newPlace(t)
	first := pack(t, file("f", "old"), dir("d"), file("d/kept", "kept"), dir("empty"), link("l", "f"), link("to-d", "d"))
	second := pack(t, file("f", "new"), dir("d"), file("d/more", "more"), file("empty", "now a file"), file("l", "no link now"), file("to-d/through", "inside"), hard("f2", "f"))
	for _, stream := range [][]byte{first, second, second} {
		if _, err := p.unpack(archive.Options{}, stream); err != nil {
			t.Fatal(err)
		}
	}
	const want = "d/ d/kept=kept d/more=more d/through=inside empty=now a file f2=new f=new l=no link now to-d->d"
	if got := listing(t, p.top); got != want {
		t.Fatalf("%s", got)
	}
}

func TestLayersMergeAsTheSpecificationSays(t *testing.T) {
	tests := map[string]struct {
		layers [][]entry
		want   string
	}{
		"a whiteout hides a file":           {[][]entry{{file("a", "1"), file("b", "1")}, {file(".wh.a", "")}}, "b=1"},
		"a whiteout hides a tree":           {[][]entry{{file("d/e/f", "1"), file("d/g", "1")}, {file(".wh.d", "")}}, ""},
		"a whiteout of nothing is none":     {[][]entry{{file("a", "1")}, {file(".wh.b", "")}}, "a=1"},
		"not of its own layer, before":      {[][]entry{{file("a", "1")}, {file(".wh.a", ""), file("a", "2")}}, "a=2"},
		"not of its own layer, after":       {[][]entry{{file("d/a", "1"), file("d/b", "1")}, {file("d/b", "2"), file(".wh.d", "")}}, "d/ d/b=2"},
		"in the first layer it hides none":  {[][]entry{{file("a", "1"), file(".wh.a", "")}}, "a=1"},
		"opaque hides lower children":       {[][]entry{{file("d/a", "1"), file("d/e/f", "1")}, {dir("d"), file("d/.wh..wh..opq", ""), file("d/n", "2")}}, "d/ d/n=2"},
		"opaque, whatever the order":        {[][]entry{{file("d/a", "1"), file("d/e/f", "1")}, {file("d/e/n", "2"), file("d/.wh..wh..opq", "")}}, "d/ d/e/ d/e/n=2"},
		"opaque hides links, not what they": {[][]entry{{file("x/y", "1"), link("d/l", "../x")}, {file("d/.wh..wh..opq", "")}}, "d/ x/ x/y=1"},
		"other notes are no files":          {[][]entry{{file("a", "1")}, {dir(".wh..wh.plnk"), file(".wh..wh.aufs", "")}}, "a=1"},
		"a file replaces a link":            {[][]entry{{file("t", "1"), link("l", "t")}, {file("l", "2")}}, "l=2 t=1"},
		"a file replaces a tree":            {[][]entry{{file("d/e/f", "1")}, {file("d", "2")}}, "d=2"},
		"a link replaces a tree":            {[][]entry{{file("d/e/f", "1"), file("t/x", "1")}, {link("d", "t")}}, "d->t t/ t/x=1"},
		"a directory replaces a link":       {[][]entry{{file("t/x", "1"), link("d", "t")}, {dir("d"), file("d/n", "2")}}, "d/ d/n=2 t/ t/x=1"},
		"a directory replaces a file":       {[][]entry{{file("d", "1")}, {dir("d"), file("d/n", "2")}}, "d/ d/n=2"},
		"files come through a link":         {[][]entry{{dir("usr/lib"), link("lib", "usr/lib")}, {file("lib/x", "2")}}, "lib->usr/lib usr/ usr/lib/ usr/lib/x=2"},
		"and through an absolute one":       {[][]entry{{dir("run"), link("var/run", "/run")}, {file("var/run/x", "2")}}, "run/ run/x=2 var/ var/run->/run"},
		"and through a dangling one":        {[][]entry{{link("var/run", "/run/deep")}, {file("var/run/x", "2")}}, "run/ run/deep/ run/deep/x=2 var/ var/run->/run/deep"},
		"a whiteout through a link":         {[][]entry{{file("usr/lib/x", "1"), link("lib", "usr/lib")}, {file("lib/.wh.x", "")}}, "lib->usr/lib usr/ usr/lib/"},
		"an own file through a link stays":  {[][]entry{{file("usr/lib/x", "1"), link("lib", "usr/lib")}, {file("lib/x", "2"), file("usr/lib/.wh..wh..opq", "")}}, "lib->usr/lib usr/ usr/lib/ usr/lib/x=2"},
		"a file over the link on its way":   {[][]entry{{dir("d"), link("l", "."), link("m", "/")}, {file("l/l", "2"), dir("m/m"), file("m/x", "3")}}, "d/ l=2 m/ m/x=3"},
		"a link over the link on its way":   {[][]entry{{file("a", "1"), link("l", ".")}, {hard("l/l", "a")}}, "a=1 l=1"},
		"hard link to a lower file":         {[][]entry{{file("a", "1")}, {hard("b", "a")}}, "a=1 b=1"},
		"hard link named from the root":     {[][]entry{{file("a", "1")}, {hard("/b", "/a")}}, "a=1 b=1"},
		"hard link over what it is":         {[][]entry{{file("a", "1"), hard("b", "a")}, {hard("b", "a"), hard("a", "a")}}, "a=1 b=1"},
		"absolute names":                    {[][]entry{{file("/etc/x", "1"), file("//etc/./y", "1")}}, "etc/ etc/x=1 etc/y=1"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			for i, layer := range test.layers {
				if _, err := p.unpack(archive.Options{Layer: true, HasLower: i > 0}, pack(t, layer...)); err != nil {
					t.Fatal(err)
				}
			}
			if got := listing(t, p.top); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
			p.checkOutside()
		})
	}
}

func TestALayerKeepsDevicesAndCapabilities(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root makes devices")
	}
	p := newPlace(t)
	capability := "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	_, err := p.unpack(archive.Options{Layer: true}, pack(t,
		entry{Header: tar.Header{Typeflag: tar.TypeDir, Name: "./", Mode: 0o711}},
		entry{Header: tar.Header{Typeflag: tar.TypeChar, Name: "dev/null", Mode: 0o666, Devmajor: 1, Devminor: 3}},
		entry{Header: tar.Header{Typeflag: tar.TypeReg, Name: "ping", Mode: 0o755, Uid: 5, Format: tar.FormatPAX,
			PAXRecords: map[string]string{"SCHILY.xattr.security.capability": strings.ReplaceAll(capability, "\x00", "\x00")}}, Content: "x"},
	))
	if err != nil {
		t.Fatal(err)
	}
	if stat := p.stat("dev/null"); stat.Mode != unix.S_IFCHR|0o666 || stat.Rdev != unix.Mkdev(1, 3) {
		t.Errorf("%o %d", stat.Mode, stat.Rdev)
	}
	if stat := p.stat("."); stat.Mode&0o777 != 0o711 || stat.Mtim.Sec != someTime.Unix() {
		t.Errorf("the root: %o %d", stat.Mode, stat.Mtim.Sec)
	}
	value := make([]byte, 64)
	if n, err := unix.Getxattr(filepath.Join(p.top, "ping"), "security.capability", value); err == nil && string(value[:n]) != capability {
		t.Errorf("%q", value[:n])
	} else if err != nil && err != unix.ENOTSUP {
		t.Error(err)
	}
}

func TestSparseFilesKeepTheirHoles(t *testing.T) {
	p := newPlace(t)
	if _, err := p.unpack(archive.Options{}, sparse(t, 64<<20)); err != nil {
		t.Fatal(err)
	}
	stat := p.stat("sparse")
	content, err := os.ReadFile(filepath.Join(p.top, "sparse"))
	if err != nil || stat.Size != 64<<20 || stat.Blocks*512 > 1<<20 {
		t.Fatalf("%d bytes in %d blocks, %v", stat.Size, stat.Blocks, err)
	}
	if string(content[1<<20:1<<20+5]) != "hello" || content[0] != 0 || content[len(content)-1] != 0 {
		t.Fatal("the content is wrong")
	}
}

// sparse is an archive with one GNU sparse file (PAX format 1.0): "hello" at 1 MiB.
func sparse(t testing.TB, size int64) []byte {
	t.Helper()
	var out bytes.Buffer
	records := fmt.Sprintf("%s%s%s%s",
		record("GNU.sparse.major", "1"), record("GNU.sparse.minor", "0"),
		record("GNU.sparse.name", "sparse"), record("GNU.sparse.realsize", fmt.Sprint(size)))
	sparseMap := fmt.Sprintf("1\n%d\n5\n", 1<<20)
	body := sparseMap + strings.Repeat("\x00", 512-len(sparseMap)) + "hello"
	header := func(kind byte, name string, size int) {
		block := make([]byte, 512)
		copy(block, name)
		copy(block[100:], "0000644\x000000000\x000000000\x00")
		copy(block[124:], fmt.Sprintf("%011o\x00%011o\x00", size, someTime.Unix()))
		copy(block[148:], "        ")
		block[156] = kind
		copy(block[257:], "ustar\x0000")
		sum := 0
		for _, b := range block {
			sum += int(b)
		}
		copy(block[148:], fmt.Sprintf("%06o\x00 ", sum))
		out.Write(block)
	}
	padded := func(text string) {
		out.WriteString(text)
		out.Write(make([]byte, (512-len(text)%512)%512))
	}
	header('x', "pax", len(records))
	padded(records)
	header('0', "GNUSparseFile.0/sparse", len(body))
	padded(body)
	out.Write(make([]byte, 1024))
	return out.Bytes()
}

func record(key, value string) string {
	for n := len(key) + len(value) + 3; ; n++ {
		if text := fmt.Sprintf("%d %s=%s\n", n, key, value); len(text) == n {
			return text
		}
	}
}

func TestABrokenOrForeignStreamIsAnError(t *testing.T) {
	whole := pack(t, file("a", strings.Repeat("x", 5000)), file("b", "y"))
	for name, stream := range map[string][]byte{
		"cut in a file":   whole[:3000],
		"cut in a header": whole[:512+5120+100],
		"no archive":      bytes.Repeat([]byte("not a tar archive"), 100),
		"gzip":            append([]byte("\x1f\x8b\x08\x00"), make([]byte, 2000)...),
	} {
		p := newPlace(t)
		if _, err := p.unpack(archive.Options{}, stream); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	p := newPlace(t)
	if result, err := p.unpack(archive.Options{}, make([]byte, 1024)); err != nil || result.Entries != 0 {
		t.Errorf("an empty archive: %v %v", result, err)
	}
}

func TestACancelledContextEndsIt(t *testing.T) {
	p := newPlace(t)
	fd, err := unix.Open(p.top, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := archive.Unpack(ctx, fd, bytes.NewReader(pack(t, file("a", ""))), archive.Options{}); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

func TestManyDirectoriesNeedFewDescriptors(t *testing.T) {
	p := newPlace(t)
	var entries []entry
	for i := range 300 {
		entries = append(entries, file(fmt.Sprintf("d%d/e/f", i), "x"))
	}
	if _, err := p.unpack(archive.Options{}, pack(t, append(entries, entries...)...)); err != nil {
		t.Fatal(err)
	}
}

func FuzzUnpackStaysInside(f *testing.F) {
	f.Add(pack(f, dir("d"), file("d/f", "x"), link("d/l", "../.."), hard("h", "d/f")), true)
	f.Add(pack(f, link("a", "/"), file("a/.wh.x", ""), file("a/.wh..wh..opq", "")), true)
	f.Add(sparse(f, 1<<21), false)
	f.Fuzz(func(t *testing.T, stream []byte, layer bool) {
		p := newPlace(t)
		_, _ = p.unpack(archive.Options{Layer: layer, HasLower: layer, MaxBytes: 1 << 22}, stream)
		p.checkOutside()
	})
}
