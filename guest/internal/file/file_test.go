package file_test

import (
	"archive/tar"
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/agenttest"
	"pyro/guest/internal/file"
	"pyro/guest/internal/rootdir"
)

type guest struct {
	agenttest.FileClient
	t    *testing.T
	root string
}

func newGuest(t *testing.T) guest {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	client := agenttest.FileClient{Host: agenttest.Connect(t, file.New(file.Options{Root: rootdir.New(root)}).Methods())}
	return guest{client, t, root}
}

func (g guest) put(name, content string, mode os.FileMode) {
	g.t.Helper()
	path := filepath.Join(g.root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		g.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		g.t.Fatal(err)
	}
}

func (g guest) get(name string) string {
	g.t.Helper()
	content, err := os.ReadFile(filepath.Join(g.root, name))
	if err != nil {
		g.t.Error(err)
	}
	return string(content)
}

func (g guest) link(target, name string) {
	g.t.Helper()
	if err := os.Symlink(target, filepath.Join(g.root, name)); err != nil {
		g.t.Fatal(err)
	}
}

func (g guest) read(request *guestv1.ReadRequest) (content []byte, size uint64, err error) {
	stream, err := g.Read(context.Background(), request)
	if err != nil {
		return nil, 0, err
	}
	defer stream.Close()
	for n := 0; stream.Receive(); n++ {
		if n == 0 {
			size = stream.Msg().SizeBytes
		} else if stream.Msg().SizeBytes != 0 {
			g.t.Error("the size came twice")
		}
		content = append(content, stream.Msg().Data...)
	}
	return content, size, stream.Err()
}

func (g guest) write(path string, mode uint32, chunks ...string) (uint64, error) {
	stream := g.Write(context.Background())
	if err := stream.Send(&guestv1.WriteRequest{Path: []byte(path), Mode: mode}); err != nil {
		return 0, err
	}
	for _, chunk := range chunks {
		if err := stream.Send(&guestv1.WriteRequest{Data: []byte(chunk)}); err != nil {
			break
		}
	}
	response, err := stream.CloseAndReceive()
	if err != nil {
		return 0, err
	}
	return response.BytesWritten, nil
}

func TestAFileIsReadWholeOrInPart(t *testing.T) {
	g := newGuest(t)
	whole := strings.Repeat("0123456789", 100_000)
	g.put("f", whole, 0o600)
	g.put("empty", "", 0o600)
	for _, test := range []struct {
		request *guestv1.ReadRequest
		want    string
	}{
		{&guestv1.ReadRequest{Path: []byte("/f")}, whole},
		{&guestv1.ReadRequest{Path: []byte("//./f"), Offset: 999_990}, whole[999_990:]},
		{&guestv1.ReadRequest{Path: []byte("/f"), Offset: 5, MaxBytes: 300_000}, whole[5:300_005]},
		{&guestv1.ReadRequest{Path: []byte("/f"), Offset: 2_000_000}, ""},
		{&guestv1.ReadRequest{Path: []byte("/f"), MaxBytes: 1 << 63}, whole},
	} {
		content, size, err := g.read(test.request)
		if err != nil || size != 1_000_000 || string(content) != test.want {
			t.Errorf("%v: %d bytes of %d, %v", test.request, len(content), size, err)
		}
	}
	if content, size, err := g.read(&guestv1.ReadRequest{Path: []byte("/empty")}); err != nil || size != 0 || len(content) != 0 {
		t.Errorf("%q %d %v", content, size, err)
	}
}

func TestWhatIsNoRegularFileIsNotOpened(t *testing.T) {
	g := newGuest(t)
	g.put("d/f", "x", 0o600)
	if err := unix.Mkfifo(filepath.Join(g.root, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	g.link("loop", "loop")
	g.link("/proc/self/exe", "magic")
	for path, code := range map[string]string{
		"/missing": "GUEST_FILE_NOT_FOUND", "/d/f/x": "GUEST_FILE_NOT_FOUND", "/d": "GUEST_FILE_REFUSED", "/": "GUEST_FILE_REFUSED",
		"/pipe": "GUEST_FILE_REFUSED", "/loop": "GUEST_FILE_REFUSED", "relative": "INVALID_ARGUMENT", "": "INVALID_ARGUMENT",
		"/a\x00b": "INVALID_ARGUMENT", "/" + strings.Repeat("x", 5000): "INVALID_ARGUMENT", "/" + strings.Repeat("x", 300): "GUEST_FILE_REFUSED",
		"/magic": "GUEST_FILE_NOT_FOUND",
	} {
		if _, _, err := g.read(&guestv1.ReadRequest{Path: []byte(path)}); agenttest.CodeOf(err) != code {
			t.Errorf("read %q: %v", path, err)
		}
	}
	for path, code := range map[string]string{
		"/d": "GUEST_FILE_REFUSED", "/d/": "GUEST_FILE_REFUSED", "/": "GUEST_FILE_REFUSED", "/pipe": "GUEST_FILE_REFUSED",
		"/loop": "GUEST_FILE_REFUSED", "relative": "INVALID_ARGUMENT", "/d/f/x": "GUEST_FILE_NOT_FOUND", "/d/..": "GUEST_FILE_REFUSED",
	} {
		if _, err := g.write(path, 0, "x"); agenttest.CodeOf(err) != code {
			t.Errorf("write %q: %v", path, err)
		}
	}
}

func TestLinksLeadNowhereOutsideTheRoot(t *testing.T) {
	g := newGuest(t)
	outside := filepath.Join(filepath.Dir(g.root), "outside")
	if err := os.WriteFile(outside, []byte("host"), 0o600); err != nil {
		t.Fatal(err)
	}
	g.link("../../../../outside", "up")
	g.link(outside, "absolute")
	for _, path := range []string{"/up", "/absolute", "/../outside"} {
		if content, _, err := g.read(&guestv1.ReadRequest{Path: []byte(path)}); err == nil && string(content) != "guest" {
			t.Errorf("read %q: %q", path, content)
		}
		if _, err := g.write(path, 0, "guest"); err != nil {
			t.Errorf("write %q: %v", path, err)
		}
	}
	if content, err := os.ReadFile(outside); err != nil || string(content) != "host" {
		t.Fatalf("%q %v", content, err)
	}
}

func TestAWrittenFileIsWholeAndKeepsWhatItHad(t *testing.T) {
	g := newGuest(t)
	big := strings.Repeat("x", 1<<20)
	if n, err := g.write("/new/deep/f", 0, "one ", "two", big); err != nil || n != 7+1<<20 {
		t.Fatal(n, err)
	}
	if g.get("new/deep/f") != "one two"+big {
		t.Error("the content is wrong")
	}
	g.put("tool", "old", 0o750)
	if _, err := g.write("/tool", 0, "new"); err != nil {
		t.Fatal(err)
	}
	if _, err := g.write("/secret", 0o4600, "x"); err != nil {
		t.Fatal(err)
	}
	g.put("real/f", "old", 0o600)
	g.link("real/f", "to-f")
	g.link("/real", "to-real")
	if _, err := g.write("/to-f", 0, "through"); err != nil {
		t.Fatal(err)
	}
	if _, err := g.write("/to-real/g", 0, "also"); err != nil {
		t.Fatal(err)
	}
	if g.get("tool") != "new" || g.get("real/f") != "through" || g.get("real/g") != "also" {
		t.Error("the content is wrong")
	}
	for name, mode := range map[string]os.FileMode{
		"new/deep/f": 0o644, "tool": 0o750, "secret": 0o600 | os.ModeSetuid, "real/f": 0o600, "to-f": 0o777 | os.ModeSymlink,
	} {
		if info, err := os.Lstat(filepath.Join(g.root, name)); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v %v", name, info.Mode(), err)
		}
	}
	g.noTemporaries()
}

func (g guest) noTemporaries() {
	g.t.Helper()
	_ = filepath.WalkDir(g.root, func(path string, _ os.DirEntry, _ error) error {
		if strings.HasPrefix(filepath.Base(path), ".pyro-") {
			g.t.Errorf("%s is left", path)
		}
		return nil
	})
}

func TestABrokenOffWriteChangesNothing(t *testing.T) {
	g := newGuest(t)
	g.put("f", "old", 0o600)
	ctx, cancel := context.WithCancel(context.Background())
	stream := g.Write(ctx)
	_ = stream.Send(&guestv1.WriteRequest{Path: []byte("/f"), Data: []byte("half")})
	cancel()
	if _, err := stream.CloseAndReceive(); err == nil {
		t.Fatal("it was accepted")
	}
	// A second call on the same connection comes after the first one's end was seen, or beside it; either is whole.
	for range 50 {
		if content := g.get("f"); content != "old" {
			t.Fatalf("%q", content)
		}
	}
}

func (g guest) extract(directory string, stream []byte) (*guestv1.ExtractTarResponse, error) {
	call := g.ExtractTar(context.Background())
	if err := call.Send(&guestv1.ExtractTarRequest{Directory: []byte(directory)}); err != nil {
		return nil, err
	}
	for len(stream) > 0 {
		n := min(len(stream), 1000)
		if err := call.Send(&guestv1.ExtractTarRequest{Data: stream[:n]}); err != nil {
			break
		}
		stream = stream[n:]
	}
	response, err := call.CloseAndReceive()
	if err != nil {
		return nil, err
	}
	return response, nil
}

func packed(t *testing.T, names ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	writer := tar.NewWriter(&out)
	for _, name := range names {
		if err := writer.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: 5, Uid: os.Geteuid(), Gid: os.Getegid()}); err != nil {
			t.Fatal(err)
		}
		if _, err := writer.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestAnArchiveIsUnpackedAsAStream(t *testing.T) {
	g := newGuest(t)
	// Padding as GNU tar's, and more.
	stream := append(packed(t, "a", "b/c"), make([]byte, 300_000)...)
	response, err := g.extract("/workspace/deep", stream)
	if err != nil || response.EntryCount != 2 || response.BytesWritten != 10 {
		t.Fatalf("%v %v", response, err)
	}
	if g.get("workspace/deep/a") != "hello" || g.get("workspace/deep/b/c") != "hello" {
		t.Error("the content is wrong")
	}
}

func TestABadArchiveHasACode(t *testing.T) {
	g := newGuest(t)
	g.put("file", "", 0o600)
	for name, test := range map[string]struct {
		directory string
		stream    []byte
		code      string
	}{
		"an escape":      {"/w", packed(t, "ok", "../x"), "GUEST_FILE_REFUSED"},
		"cut off":        {"/w", packed(t, "ok")[:515], "INVALID_ARGUMENT"},
		"no archive":     {"/w", bytes.Repeat([]byte("x"), 2000), "INVALID_ARGUMENT"},
		"into a file":    {"/file", packed(t, "ok"), "GUEST_FILE_NOT_FOUND"},
		"no directory":   {"", packed(t, "ok"), "INVALID_ARGUMENT"},
		"a long archive": {"/w", append(packed(t, "../x"), make([]byte, 3_000_000)...), "GUEST_FILE_REFUSED"},
	} {
		if _, err := g.extract(test.directory, test.stream); agenttest.CodeOf(err) != test.code {
			t.Errorf("%s: %v", name, err)
		}
	}
}
