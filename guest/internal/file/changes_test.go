package file_test

import (
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

// newWithBaseline has a directory in place of the baseline's disk.
func newWithBaseline(t *testing.T) (now, old guest) {
	now, old = newGuest(t), newGuest(t)
	fd, err := unix.Open(old.root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	service := file.New(file.Options{
		Root: rootdir.New(now.root), Baseline: func() (rootdir.Root, error) { return rootdir.OfDescriptor(fd), nil },
	})
	now.FileClient = agenttest.FileClient{Host: agenttest.Connect(t, service.Methods())}
	return now, old
}

func (g guest) changes(path, below string) (found string, examined uint64, err error) {
	stream, err := g.Changes(context.Background(), &guestv1.ChangesRequest{Path: []byte(path), Below: []byte(below)})
	if err != nil {
		return "", 0, err
	}
	defer stream.Close()
	var names []string
	for stream.Receive() {
		for _, change := range stream.Msg().Changes {
			names = append(names, string(change.Path))
		}
		examined = stream.Msg().Examined
	}
	return strings.Join(names, " "), examined, stream.Err()
}

func TestChangesAreOfADirectoryOrAPart(t *testing.T) {
	now, old := newWithBaseline(t)
	for _, g := range []guest{now, old} {
		g.put("w/a", "1", 0o644)
		g.put("w/d/b", "1", 0o644)
		g.put("elsewhere", g.root, 0o644)
		g.link("/w", "to-w")
	}
	now.put("w/a", "2", 0o644)
	now.put("w/d/b", "2", 0o644)
	now.put("w/n/c", "2", 0o644)
	old.put("o/x", "", 0o644)
	for _, test := range []struct{ path, below, want string }{
		{"/w", "", "a d/b n n/c"}, {"/w/", ".", "a d/b n n/c"}, {"/to-w", "", "a d/b n n/c"}, {"/w", "d", "d/b"}, {"/w", "d/b", "d/b"},
		{"/w", "n/c", "n/c"}, {"/w", "n", "n n/c"}, {"/w", "none", ""}, {"/o", "", "x"}, {"/w/n", "", "c"},
	} {
		if found, _, err := now.changes(test.path, test.below); err != nil || found != test.want {
			t.Errorf("%s %s: %q %v", test.path, test.below, found, err)
		}
	}
	for _, test := range []struct{ path, below, code string }{
		{"/none", "", "GUEST_FILE_NOT_FOUND"}, {"w", "", "INVALID_ARGUMENT"}, {"/w", "/d", "INVALID_ARGUMENT"}, {"/w", "../x", "GUEST_FILE_REFUSED"},
		{"/w", "a\x00", "INVALID_ARGUMENT"}, {"/w", "none/deep", "GUEST_FILE_NOT_FOUND"}, {"/w/a", "", "GUEST_FILE_NOT_FOUND"},
	} {
		if _, _, err := now.changes(test.path, test.below); agenttest.CodeOf(err) != test.code {
			t.Errorf("%s %s: %v", test.path, test.below, err)
		}
	}
}

func TestTheBaselinesFilesCanBeRead(t *testing.T) {
	now, old := newWithBaseline(t)
	now.put("workspace/f", "now", 0o644)
	old.put("workspace/f", "then", 0o644)
	old.put("etc/secret", "outside", 0o644)
	old.link("/workspace/f", "workspace/in")
	old.link("/etc/secret", "workspace/out")
	for name, want := range map[string]string{"f": "then", "in": "then"} {
		content, _, err := now.read(&guestv1.ReadRequest{Path: []byte("/workspace/" + name), Within: workspace, Tree: guestv1.Tree_TREE_BASELINE})
		if err != nil || string(content) != want {
			t.Errorf("%s: %q %v", name, content, err)
		}
	}
	_, _, err := now.read(&guestv1.ReadRequest{Path: []byte("/workspace/out"), Within: workspace, Tree: guestv1.Tree_TREE_BASELINE})
	if agenttest.CodeOf(err) != "GUEST_FILE_REFUSED" {
		t.Error(err)
	}
	if _, _, err := now.read(&guestv1.ReadRequest{Path: []byte("/f"), Tree: 7}); agenttest.CodeOf(err) != "INVALID_ARGUMENT" {
		t.Error(err)
	}
}

func TestAMachineWithoutABaselineSaysSo(t *testing.T) {
	g := newGuest(t)
	if err := os.Mkdir(filepath.Join(g.root, "w"), 0o755); err != nil {
		t.Fatal(err)
	}
	for err, code := range map[error]string{nil: "INVALID_ARGUMENT", os.ErrNotExist: "INVALID_ARGUMENT", unix.EUCLEAN: "ENVIRONMENT_DAMAGED", unix.ENOMEM: "INTERNAL"} {
		options := file.Options{Root: rootdir.New(g.root)}
		if err != nil {
			options.Baseline = func() (rootdir.Root, error) { return rootdir.Root{}, err }
		}
		g.FileClient = agenttest.FileClient{Host: agenttest.Connect(t, file.New(options).Methods())}
		if _, _, failed := g.changes("/w", ""); agenttest.CodeOf(failed) != code {
			t.Errorf("%v: %v", err, failed)
		}
	}
}
