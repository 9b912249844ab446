package layer_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"pyro/guest/internal/archive"
	"pyro/guest/internal/layer"
)

// bomb is a stream without an end, given to a blob that is said to have 1 TiB.
type bomb struct {
	compression layer.Compression
	from        *repeated
	// How the bound is named, and how much of the stream was read at most when it was met.
	which string
	most  int64
}

// record is one PAX record.
func record(key, value string) string {
	for n := len(key) + len(value) + 3; ; n++ {
		if text := fmt.Sprintf("%d %s=%s\n", n, key, value); len(text) == n {
			return text
		}
	}
}

// rewritten is a header with another type and size in it, and its sum.
func rewritten(t testing.TB, kind byte, size int64) []byte {
	t.Helper()
	block := pack(t, entry{Header: tar.Header{Typeflag: tar.TypeReg, Name: "f", Mode: 0o644}})[:512]
	block[156] = kind
	copy(block[124:136], fmt.Sprintf("%011o\x00", size))
	copy(block[148:156], "        ")
	sum := 0
	for _, each := range block {
		sum += int(each)
	}
	copy(block[148:156], fmt.Sprintf("%06o\x00 ", sum))
	return block
}

func padded(data string) []byte { return append([]byte(data), make([]byte, -len(data)&511)...) }

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func bombs(t testing.TB) map[string]bomb {
	zeros := make([]byte, 16<<20)
	// Its header says 7 GiB, which would fit on no disk of a builder, but on the one of a test.
	large := rewritten(t, '0', 7<<30)
	sparse := record("GNU.sparse.major", "1") + record("GNU.sparse.minor", "0") + record("GNU.sparse.name", "f") +
		record("GNU.sparse.realsize", "9223372036854775807")
	// A frame of zstd with a window of 2 GiB, and a block of zeros by the run.
	window := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3, 0xfb, 0xff, 0x0f, 0x00}
	whiteout := pack(t, file(".wh.x", ""))[:512]
	long := strings.Repeat(strings.Repeat("n", 250)+"/", 16)[:3900]
	again := join(rewritten(t, 'L', int64(len(long)+1)), padded(long+"\x00"), rewritten(t, '5', 0))
	return map[string]bomb{
		"zeros, 1000 to one, in a file":        {layer.Gzip, &repeated{head: gzipped(t, large), block: gzipped(t, zeros)}, "ratio", 8 << 20},
		"zeros behind the archive's end":       {layer.Gzip, &repeated{block: gzipped(t, zeros)}, "ratio", 8 << 20},
		"zeros, 10,000 to one, by zstd":        {layer.Zstd, &repeated{head: zstandard(t, large), block: zstandard(t, zeros)}, "ratio", 8 << 20},
		"a window of 2 GiB":                    {layer.Zstd, &repeated{head: window, block: zeros[:512]}, "zstd_window", 2 << 20},
		"entries without an end":               {layer.Gzip, &repeated{block: gzipped(t, bytes.Repeat(whiteout, 20_000))}, "entries", 64 << 20},
		"names without an end":                 {layer.Gzip, &repeated{block: gzipped(t, again)}, "names", 64 << 20},
		"records of 1 GiB":                     {layer.None, &repeated{head: rewritten(t, 'x', 1<<30), block: []byte("x")}, "pax_header", 3 << 20},
		"records for all, of 1 GiB":            {layer.None, &repeated{head: rewritten(t, 'g', 1<<30), block: []byte("x")}, "pax_header", 3 << 20},
		"a name of 1 GiB":                      {layer.None, &repeated{head: rewritten(t, 'L', 1<<30), block: []byte("x")}, "pax_header", 3 << 20},
		"a link of 1 GiB":                      {layer.None, &repeated{head: rewritten(t, 'K', 1<<30), block: []byte("x")}, "pax_header", 3 << 20},
		"directories 100,000 deep":             {layer.None, &repeated{head: pack(t, dir(strings.Repeat("d/", 100_000))), block: zeros[:512]}, "name_length", 3 << 20},
		"a directory 1100 deep":                {layer.None, &repeated{head: pack(t, dir(strings.Repeat("d/", 1100))), block: zeros[:512]}, "depth", 3 << 20},
		"a sparse file of 8 EiB":               {layer.None, &repeated{head: join(rewritten(t, 'x', int64(len(sparse))), padded(sparse), rewritten(t, '0', 512), padded("1\n0\n0\n")), block: zeros[:512]}, "bytes", 3 << 20},
		"an extended attribute of 65 KiB":      {layer.None, &repeated{head: pack(t, file("f", "").Xattr("user.x", strings.Repeat("x", 65<<10))), block: zeros[:512]}, "xattr", 3 << 20},
		"an extended attribute of a long name": {layer.None, &repeated{head: pack(t, file("f", "").Xattr("user."+strings.Repeat("x", 255), "x")), block: zeros[:512]}, "xattr", 3 << 20},
	}
}

// memoryMost is what a bomb may make the heap grow by: the window of zstd and the names of a layer stay below.
const memoryMost = 320 << 20

func TestABombEndsEarlyWithItsBoundNamedAndMemoryFlat(t *testing.T) {
	for name, bomb := range bombs(t) {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			runtime.GC()
			var before, now runtime.MemStats
			runtime.ReadMemStats(&before)
			peak, looked := before.HeapAlloc, int64(0)
			bomb.from.every = func(read int64) {
				if read-looked >= 1<<20 {
					looked = read
					runtime.ReadMemStats(&now)
					peak = max(peak, now.HeapAlloc)
				}
			}
			_, err := p.applyFrom(bomb.from, 1<<40, bomb.compression, layer.Options{HasLower: bomb.which == "names"})
			runtime.ReadMemStats(&now)
			peak = max(peak, now.HeapAlloc)
			limit, ok := errors.AsType[*archive.LimitError](err)
			if !ok || limit.Which != bomb.which {
				t.Errorf("%v, wanted %q", err, bomb.which)
			}
			t.Logf("%v; %d KiB read, the heap grew by %d MiB at most", err, bomb.from.read>>10, (peak-before.HeapAlloc)>>20)
			if bomb.from.read > bomb.most {
				t.Errorf("%d bytes were read", bomb.from.read)
			}
			if peak-before.HeapAlloc > memoryMost {
				t.Errorf("the heap grew by %d MiB", (peak-before.HeapAlloc)>>20)
			}
			p.checkCanary()
		})
	}
}

func TestTheLayersOfAnImageShareTheirBounds(t *testing.T) {
	one := pack(t, file("a", strings.Repeat("x", 2000)), file("b", ""))
	for which, limits := range map[string]*layer.Limits{
		"entries":     {TarBytes: 1 << 20, Entries: 5},
		"image_bytes": {TarBytes: int64(len(one))*5/2 + 1, Entries: 100},
	} {
		p := newPlace(t)
		var err error
		applied := 0
		for ; err == nil && applied < 10; applied++ {
			_, err = p.applyFrom(bytes.NewReader(one), int64(len(one)), layer.None, layer.Options{HasLower: applied > 0, Limits: limits})
		}
		limit, ok := errors.AsType[*archive.LimitError](err)
		if !ok || limit.Which != which || applied != 3 {
			t.Errorf("%s: %v after %d layers", which, err, applied)
		}
	}
}

func TestNoLayerIsEverAppliedOutsideOfItsRoot(t *testing.T) {
	for name, layers := range map[string][][]entry{
		"a whiteout through a link":          {{link("etc", "../canary/d")}, {file("etc/.wh.secret", "")}},
		"an absolute one":                    {{link("etc", "/canary/d")}, {file("etc/.wh.secret", "")}},
		"a whiteout of a link's target":      {{link("etc", "../canary")}, {file(".wh.etc", "")}},
		"an opaque directory through it":     {{link("etc", "../canary")}, {file("etc/d/.wh..wh..opq", "")}},
		"a whiteout through the own link":    {{file("x", "")}, {link("etc", "../canary/d"), file("etc/.wh.secret", "")}},
		"a file through a link":              {{link("lib", "../canary/d")}, {file("lib/secret", "changed")}},
		"a file through links":               {{dir("a"), dir("a/b"), link("a/b/up", "../.."), link("a/e", "b/up/../canary")}, {file("a/e/d/secret", "changed")}},
		"a hard link through a link":         {{link("lib", "../canary/d")}, {file("lib/secret", "x"), hard("h", "lib/secret")}, {file("h", "changed")}},
		"a directory through a link":         {{link("lib", "../canary/d")}, {dir("lib/new"), dir("lib/.").With(func(h *tar.Header) { h.Mode = 0o700 })}},
		"a directory where a link was":       {{link("lib", "../canary/d")}, {dir("lib").With(func(h *tar.Header) { h.Mode = 0o700 }), file("lib/secret", "changed")}},
		"times of what became a link":        {{dir("d"), dir("d/d")}, {dir("d/d").With(func(h *tar.Header) { h.Mode = 0o700 }), link("d", "../canary")}},
		"the top of everything, by a link":   {{link("x", "/")}, {file("x/../canary", "")}},
		"an opaque root":                     {{file("a", ""), link("l", "../canary")}, {file(".wh..wh..opq", "")}},
		"a link of this process's own root":  {{link("p", "/proc/self/root")}, {file("p/tmp/x", "")}},
		"a whiteout of a directory of links": {{dir("d"), link("d/1", "../../canary/d"), link("d/2", "/"), hard("d/3", "d/1")}, {file(".wh.d", "")}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			_ = p.layers(layers...)
			p.checkCanary()
			for _, line := range tree(t, p.root) {
				if strings.Contains(line, ".wh.") {
					t.Error(line)
				}
			}
		})
	}
}

func FuzzAppliedLayersStayInTheirRoot(f *testing.F) {
	// Each entry is three bytes: its kind and layer, its name, and where it leads to.
	names := []string{
		"a", "a/b", "a/b/c", "l", "l/a", "l/l", "a/l", "a/l/b", ".wh.a", ".wh.l", "a/.wh.b", "l/.wh.d", "l/.wh.secret", "a/l/.wh..wh..opq",
		".wh..wh..opq", "l/.wh..wh..opq", "a/.wh..wh..opq", "l/secret", "l/d/secret", "a/l/secret", "./a/", "/a", "//l/./a", ".", "/", "a/..", "../canary/x",
		".wh.x/y", ".wh..wh.plnk/1", "l/.wh.", "l/.wh...", "a\n", "\xff",
	}
	targets := []string{
		"a", "a/b", "l", "..", "../..", "../canary", "../canary/d", "/", "/a", "/canary", "../../canary/d/secret", "l/secret", "a/l/secret", "/proc/self/root",
		"/proc/self/cwd", ".", "", "a/l", ".wh.x", "l/d/secret", "nowhere",
	}
	kinds := []byte{tar.TypeReg, tar.TypeDir, tar.TypeSymlink, tar.TypeLink, tar.TypeFifo, tar.TypeReg, tar.TypeSymlink, tar.TypeDir}
	f.Add([]byte{2, 3, 5, 8, 12, 0, 8, 17, 0})
	f.Add([]byte{1, 0, 0, 2, 6, 4, 16 | 1, 13, 0, 8, 19, 0})
	f.Fuzz(func(t *testing.T, plan []byte) {
		if len(plan) > 300 {
			return
		}
		layers := make([][]entry, 3)
		for ; len(plan) >= 3; plan = plan[3:] {
			at := plan[0] >> 3 % 3
			e := entry{Header: tar.Header{Typeflag: kinds[plan[0]&7], Name: names[int(plan[1])%len(names)], Mode: int64(plan[2])<<3 | 0o700}}
			if strings.HasSuffix(e.Name, "/") {
				// The writer has no others.
				e.Typeflag = tar.TypeDir
			}
			if e.Typeflag == tar.TypeSymlink || e.Typeflag == tar.TypeLink {
				e.Linkname = targets[int(plan[2])%len(targets)]
			}
			if e.Typeflag == tar.TypeReg {
				e.Content = "changed"
			}
			layers[at] = append(layers[at], e)
		}
		p := newPlace(t)
		_ = p.layers(layers...)
		p.checkCanary()
		for _, line := range tree(t, p.root) {
			if name, _, _ := strings.Cut(line, " "); strings.Contains("/"+name, "/.wh.") {
				t.Error(line)
			}
		}
	})
}

func FuzzABlobIsReadOrRefused(f *testing.F) {
	content := pack(f, dir("d"), file("d/f", "x"), link("l", "../canary"), file("l/x", "y"))
	for kind, blob := range [][]byte{content, gzipped(f, content), zstandard(f, content)} {
		f.Add(blob, byte(kind))
	}
	f.Fuzz(func(t *testing.T, blob []byte, kind byte) {
		p := newPlace(t)
		compression := []layer.Compression{layer.None, layer.Gzip, layer.Zstd}[kind%3]
		limits := &layer.Limits{TarBytes: 4 << 20, Entries: 1000}
		source := io.MultiReader(bytes.NewReader(blob), &repeated{block: []byte("behind")})
		result, err := p.applyFrom(source, int64(len(blob)), compression, layer.Options{Limits: limits})
		if err == nil && (result.Digest != digest(blob) || result.DiffID == "") {
			t.Errorf("%+v", result)
		}
		p.checkCanary()
	})
}
