package file_test

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/agenttest"
)

func (g guest) pack(path string) (archive []byte, leftOut uint64, err error) {
	stream, err := g.PackTar(context.Background(), &guestv1.PackTarRequest{Path: []byte(path), Within: workspace})
	if err != nil {
		return nil, 0, err
	}
	defer stream.Close()
	for stream.Receive() {
		archive = append(archive, stream.Msg().Data...)
		leftOut = stream.Msg().LeftOut
	}
	return archive, leftOut, stream.Err()
}

// unpacked describes each entry in a line.
func unpacked(t *testing.T, archive []byte) string {
	t.Helper()
	var lines []string
	if len(archive)%512 != 0 {
		t.Errorf("%d bytes", len(archive))
	}
	for reader := tar.NewReader(bytes.NewReader(archive)); ; {
		header, err := reader.Next()
		if err == io.EOF {
			return strings.Join(lines, "\n")
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(reader)
		if err != nil {
			t.Fatal(err)
		}
		if len(content) > 10 {
			content = fmt.Appendf(nil, "%d bytes", len(content))
		}
		lines = append(lines, fmt.Sprintf("%c %q %o %q %s", header.Typeflag, header.Name, header.Mode, header.Linkname, content))
	}
}

func TestATreeIsPackedAsItIs(t *testing.T) {
	g := newGuest(t)
	long := strings.Repeat("l", 200)
	g.put("workspace/d/f", "hello", 0o4755)
	g.put("workspace/d/\xff\xfe", "", 0o600)
	g.put("workspace/d/sub/"+long, strings.Repeat("x", 200_000), 0o644)
	g.put("workspace/d/empty", "", 0o644)
	g.link("\xff/../away", "workspace/d/link")
	if err := unix.Mkfifo(filepath.Join(g.root, "workspace/d/pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mknod(filepath.Join(g.root, "workspace/d/zero"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))); err != nil && os.Geteuid() == 0 {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(g.root, "workspace/d/f"), 0o755|os.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	when := time.Unix(1_700_000_000, 123_456_789)
	if err := os.Chtimes(filepath.Join(g.root, "workspace/d/f"), when, when); err != nil {
		t.Fatal(err)
	}
	archive, leftOut, err := g.pack("/workspace/d")
	if err != nil || leftOut < 1 {
		t.Fatal(leftOut, err)
	}
	want := strings.Join([]string{
		`5 "." 755 "" `, `0 "empty" 644 "" `, `0 "f" 4755 "" hello`, `2 "link" 777 "\xff/../away" `, `5 "sub" 755 "" `,
		`0 "sub/` + long + `" 644 "" 200000 bytes`, `0 "\xff\xfe" 600 "" `,
	}, "\n")
	if got := unpacked(t, archive); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	reader := tar.NewReader(bytes.NewReader(archive))
	for {
		header, err := reader.Next()
		if err != nil {
			break
		}
		if header.Name == "f" && !header.ModTime.Equal(when) {
			t.Error(header.ModTime)
		}
	}
}

func TestOneThingIsPackedAsADot(t *testing.T) {
	g := newWorkspace(t)
	for path, want := range map[string]string{
		"/workspace/in/f": `0 "." 644 "" inside`, "/workspace/chain": `2 "." 777 "absolute" `, "/workspace/abs-out": `2 "." 777 "/etc/secret" `,
	} {
		archive, _, err := g.pack(path)
		if err != nil || unpacked(t, archive) != want {
			t.Errorf("%s: %q %v", path, unpacked(t, archive), err)
		}
	}
	for path, code := range map[string]string{
		"/workspace/pipe": "GUEST_FILE_REFUSED", "/workspace/none": "GUEST_FILE_NOT_FOUND", "/workspace/door/f": "GUEST_FILE_REFUSED",
		"/workspace/etc/secret": "GUEST_FILE_REFUSED", "/etc": "GUEST_FILE_REFUSED", "/workspace2": "GUEST_FILE_REFUSED",
	} {
		if _, _, err := g.pack(path); agenttest.CodeOf(err) != code {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestAFileThatShrinksMeanwhileEndsThePackingByItsName(t *testing.T) {
	g := newGuest(t)
	path := filepath.Join(g.root, "workspace/d/big")
	g.put("workspace/d/big", "", 0o644)
	if err := os.Truncate(path, 64<<20); err != nil {
		t.Fatal(err)
	}
	stream, err := g.PackTar(context.Background(), &guestv1.PackTarRequest{Path: []byte("/workspace/d")})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	// The sender waits for credit long before the end of the file.
	if !stream.Receive() {
		t.Fatal(stream.Err())
	}
	if err := os.Truncate(path, 1); err != nil {
		t.Fatal(err)
	}
	for stream.Receive() {
		continue
	}
	if err := stream.Err(); agenttest.CodeOf(err) != "GUEST_FILE_CHANGED" || !strings.Contains(err.Error(), `"/workspace/d/big"`) {
		t.Error(err)
	}
}
