package file_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/agenttest"
)

func (g guest) list(request *guestv1.ListFilesRequest) (entries []*guestv1.FileEntry, truncated bool, err error) {
	stream, err := g.List(context.Background(), request)
	if err != nil {
		return nil, false, err
	}
	defer stream.Close()
	for stream.Receive() {
		if truncated {
			g.t.Error("a message after the last")
		}
		if size := proto.Size(stream.Msg()); size > 256<<10+100 {
			g.t.Errorf("a batch of %d bytes", size)
		}
		entries = append(entries, stream.Msg().Entries...)
		truncated = stream.Msg().Truncated
	}
	return entries, truncated, stream.Err()
}

func paths(entries []*guestv1.FileEntry) string {
	var names []string
	for _, entry := range entries {
		names = append(names, string(entry.Path))
	}
	return strings.Join(names, " ")
}

func TestADirectoryIsListedInByteOrder(t *testing.T) {
	g := newGuest(t)
	g.put("w/a/x", "12345", 0o640)
	g.put("w/a/sub/y", "", 0o644)
	g.put("w/a-b", "", 0o755)
	g.put("w/\xff\n", "", 0o644)
	g.link("a/x", "w/link")
	g.link("..", "w/up")
	for _, test := range []struct {
		path      string
		recursive bool
		want      string
	}{
		{"/w", true, "/w/a /w/a-b /w/a/sub /w/a/sub/y /w/a/x /w/link /w/up /w/\xff\n"},
		{"/w/", false, "/w/a /w/a-b /w/link /w/up /w/\xff\n"},
		{"/w/./a/x", true, "/w/a/x"},
		{"/w/link", true, "/w/link"},
		{"/w/up/w/a", false, "/w/up/w/a/sub /w/up/w/a/x"},
	} {
		entries, truncated, err := g.list(&guestv1.ListFilesRequest{Path: []byte(test.path), Recursive: test.recursive})
		if err != nil || truncated || paths(entries) != test.want {
			t.Errorf("%s: %q %v %v", test.path, paths(entries), truncated, err)
		}
	}
	entries, _, _ := g.list(&guestv1.ListFilesRequest{Path: []byte("/w"), Recursive: true})
	file, link, directory := entries[4], entries[5], entries[0]
	info, _ := os.Stat(filepath.Join(g.root, "w/a/x"))
	if file.Type != guestv1.FileType_FILE_TYPE_FILE || file.SizeBytes != 5 || file.Mode != 0o640 || file.MtimeNs != info.ModTime().UnixNano() {
		t.Error(file)
	}
	if link.Type != guestv1.FileType_FILE_TYPE_SYMLINK || string(link.LinkTarget) != "a/x" || directory.Type != guestv1.FileType_FILE_TYPE_DIRECTORY {
		t.Error(link, directory)
	}
	if _, _, err := g.list(&guestv1.ListFilesRequest{Path: []byte("/w/none")}); agenttest.CodeOf(err) != "GUEST_FILE_NOT_FOUND" {
		t.Error(err)
	}
}

func TestOddThingsAreListedAndNotOpened(t *testing.T) {
	g := newWorkspace(t)
	for path, kind := range map[string]guestv1.FileType{
		"/workspace/pipe": guestv1.FileType_FILE_TYPE_OTHER, "/workspace/loop": guestv1.FileType_FILE_TYPE_SYMLINK,
		"/workspace/dangling": guestv1.FileType_FILE_TYPE_SYMLINK,
	} {
		entries, _, err := g.list(&guestv1.ListFilesRequest{Path: []byte(path), Within: workspace})
		if err != nil || len(entries) != 1 || entries[0].Type != kind {
			t.Errorf("%s: %v %v", path, entries, err)
		}
	}
	entries, _, err := g.list(&guestv1.ListFilesRequest{Path: workspace, Within: workspace, Recursive: true})
	if err != nil || strings.Contains(paths(entries), "secret") {
		t.Error(paths(entries), err)
	}
}

func TestAListIsBounded(t *testing.T) {
	g := newGuest(t)
	for i := range 5000 {
		g.put(fmt.Sprintf("w/%s%d", strings.Repeat("n", 100), i), "", 0o644)
	}
	entries, truncated, err := g.list(&guestv1.ListFilesRequest{Path: []byte("/w")})
	if err != nil || truncated || len(entries) != 5000 {
		t.Fatal(len(entries), truncated, err)
	}
	if !slices.IsSortedFunc(entries, func(a, b *guestv1.FileEntry) int { return strings.Compare(string(a.Path), string(b.Path)) }) {
		t.Error("the order is wrong")
	}
	first, truncated, err := g.list(&guestv1.ListFilesRequest{Path: []byte("/w"), MaxEntries: 4999})
	if err != nil || !truncated || paths(first) != paths(entries[:4999]) {
		t.Error(len(first), truncated, err)
	}
	if _, truncated, _ = g.list(&guestv1.ListFilesRequest{Path: []byte("/w"), MaxEntries: 5000}); truncated {
		t.Error("all of it is not cut off")
	}
}

func TestATreeTooDeepForAPathIsCutOff(t *testing.T) {
	g := newGuest(t)
	at, err := os.OpenRoot(g.root)
	if err != nil {
		t.Fatal(err)
	}
	for range 40 {
		if err := at.Mkdir(strings.Repeat("d", 200), 0o755); err != nil {
			t.Fatal(err)
		}
		next, err := at.OpenRoot(strings.Repeat("d", 200))
		_ = at.Close()
		if err != nil {
			t.Fatal(err)
		}
		at = next
	}
	_ = at.Close()
	entries, truncated, err := g.list(&guestv1.ListFilesRequest{Path: []byte("/"), Recursive: true})
	if err != nil || !truncated || len(entries) < 15 || len(entries) > 20 {
		t.Error(len(entries), truncated, err)
	}
}
