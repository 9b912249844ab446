package file_test

import (
	"archive/tar"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"pyro/guest/internal/crafted"
)

func (g guest) owner(name string) string {
	g.t.Helper()
	var stat unix.Stat_t
	if err := unix.Lstat(filepath.Join(g.root, name), &stat); err != nil {
		g.t.Error(err)
	}
	return fmt.Sprintf("%d:%d %o", stat.Uid, stat.Gid, stat.Mode&0o7777)
}

func TestWhatIsMadeBelongsToTheOwnerOfItsDirectory(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away; test/vm/image-config.test.ts does it in a machine")
	}
	g := newGuest(t)
	for _, name := range []string{"workspace", "workspace/roots"} {
		if err := os.Mkdir(filepath.Join(g.root, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(filepath.Join(g.root, "workspace"), 1000, 1001); err != nil {
		t.Fatal(err)
	}
	archive := crafted.Pack(t,
		crafted.File("a", "a"), crafted.File("way/to/b", "b").With(func(h *tar.Header) { h.Uid, h.Gid, h.Mode = 5, 5, 0o4755 }),
		crafted.Dir("d"), crafted.Link("l", "a"), crafted.Hard("h", "a"), crafted.Node("fifo", tar.TypeFifo, 0, 0),
	)
	for _, directory := range []string{"/workspace/seed", "/workspace/roots", "/outside"} {
		if _, err := g.extract(directory, archive); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"/workspace/new/file", "/workspace/roots/file", "/outside/file"} {
		if _, err := g.write(name, 0, "x"); err != nil {
			t.Fatal(err)
		}
	}
	if err := g.commit(change{kind: write, path: "patched/deep/file", mode: 0o755, content: "x"}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"workspace/seed": "1000:1001 755", "workspace/seed/a": "1000:1001 644", "workspace/seed/way": "1000:1001 755",
		"workspace/seed/way/to": "1000:1001 755", "workspace/seed/way/to/b": "1000:1001 4755", "workspace/seed/d": "1000:1001 755",
		"workspace/seed/l": "1000:1001 777", "workspace/seed/fifo": "1000:1001 660",
		"workspace/roots/a": "0:0 644", "workspace/roots/way/to/b": "5:5 4755", "workspace/roots/way": "0:0 755",
		"outside/way/to/b": "5:5 4755",
		"workspace/new":    "1000:1001 755", "workspace/new/file": "1000:1001 644",
		"workspace/roots/file": "0:0 644", "outside/file": "0:0 644",
		"workspace/patched/deep": "1000:1001 755", "workspace/patched/deep/file": "1000:1001 755",
	} {
		if got := g.owner(name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	// What is replaced stays whose it was.
	if _, err := g.write("/workspace/seed/a", 0, "other"); err != nil || g.owner("workspace/seed/a") != "1000:1001 644" {
		t.Error(err, g.owner("workspace/seed/a"))
	}
}
