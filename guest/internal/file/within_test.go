package file_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/agenttest"
)

var workspace = []byte("/workspace")

// newWorkspace has all the links that lead somewhere.
func newWorkspace(t *testing.T) guest {
	g := newGuest(t)
	g.put("workspace/in/f", "inside", 0o644)
	g.put("workspace2/f", "next door", 0o644)
	g.put("etc/secret", "outside", 0o600)
	for name, target := range map[string]string{
		"relative": "in/f", "absolute": "/workspace/in/f", "detour": "../workspace/in/f", "chain": "absolute",
		"out": "../etc/secret", "abs-out": "/etc/secret", "chain-out": "out", "door": "../workspace2", "etc": "/etc",
		"loop": "loop", "a": "b/..", "b": "/etc/..", "up": "..", "dangling": "/etc/new", "magic": "/proc/self/root/etc/secret",
	} {
		g.link(target, "workspace/"+name)
	}
	if err := unix.Mkfifo(filepath.Join(g.root, "workspace/pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	return g
}

func TestLinksThatStayWithinAreFollowed(t *testing.T) {
	g := newWorkspace(t)
	for _, name := range []string{"in/f", "relative", "absolute", "detour", "chain", "in/../in/f", "up/workspace/in/f"} {
		content, _, err := g.read(&guestv1.ReadRequest{Path: []byte("/workspace/" + name), Within: workspace})
		if err != nil || string(content) != "inside" {
			t.Errorf("%s: %q %v", name, content, err)
		}
	}
}

// hostile are paths that lead out of /workspace.
var hostile = []string{
	"/workspace/out", "/workspace/abs-out", "/workspace/chain-out", "/workspace/door/f", "/workspace/etc/secret", "/etc/secret",
	"/workspace2/f", "/workspace/../etc/secret", "/workspace/a/etc/secret", "/workspace/up/etc/secret", "/workspace/in/../../etc/secret",
}

func TestWhatLeadsOutIsRefusedByEachCall(t *testing.T) {
	g := newWorkspace(t)
	ctx := context.Background()
	for _, name := range hostile {
		path := []byte(name)
		calls := map[string]func() error{
			"read": func() error { _, _, err := g.read(&guestv1.ReadRequest{Path: path, Within: workspace}); return err },
			"edit": func() error {
				_, err := g.Edit(ctx, &guestv1.EditRequest{Path: path, Within: workspace, OldText: []byte("out"), NewText: []byte("x")})
				return err
			},
			"write": func() error {
				stream := g.Write(ctx)
				_ = stream.Send(&guestv1.WriteRequest{Path: path, Within: workspace, Data: []byte("x")})
				_, err := stream.CloseAndReceive()
				return err
			},
			"list": func() error {
				_, _, err := g.list(&guestv1.ListFilesRequest{Path: path, Within: workspace})
				return err
			},
			"extract": func() error {
				stream := g.ExtractTar(ctx)
				_ = stream.Send(&guestv1.ExtractTarRequest{Directory: []byte(filepath.Dir(name) + "/new"), Within: workspace})
				_, err := stream.CloseAndReceive()
				return err
			},
		}
		for call, make := range calls {
			if call == "extract" && filepath.Dir(name) == "/workspace" {
				continue
			}
			if err := make(); agenttest.CodeOf(err) != "GUEST_FILE_REFUSED" {
				t.Errorf("%s %s: %v", call, name, err)
			}
		}
	}
	// A link that leads to nothing outside makes nothing there.
	stream := g.Write(ctx)
	_ = stream.Send(&guestv1.WriteRequest{Path: []byte("/workspace/dangling"), Within: workspace})
	if _, err := stream.CloseAndReceive(); agenttest.CodeOf(err) != "GUEST_FILE_REFUSED" {
		t.Error(err)
	}
	stream = g.Write(ctx)
	_ = stream.Send(&guestv1.WriteRequest{Path: []byte("/other/deep/f"), Within: workspace})
	if _, err := stream.CloseAndReceive(); agenttest.CodeOf(err) != "GUEST_FILE_REFUSED" {
		t.Error(err)
	}
	if g.get("etc/secret") != "outside" || g.get("workspace2/f") != "next door" {
		t.Error("something outside was changed")
	}
	for _, name := range []string{"other", "etc/new", "workspace2/new"} {
		if _, err := os.Lstat(filepath.Join(g.root, name)); err == nil {
			t.Errorf("%s was made", name)
		}
	}
}

func TestTheDirectoryOfACallMustBeThere(t *testing.T) {
	g := newWorkspace(t)
	for within, code := range map[string]string{
		"/missing": "GUEST_FILE_NOT_FOUND", "/workspace/in/f": "GUEST_FILE_NOT_FOUND", "relative": "INVALID_ARGUMENT", "/a\x00": "INVALID_ARGUMENT",
	} {
		_, _, err := g.read(&guestv1.ReadRequest{Path: []byte("/workspace/in/f"), Within: []byte(within)})
		if agenttest.CodeOf(err) != code {
			t.Errorf("%q: %v", within, err)
		}
	}
	// A link to it is as good, and so is the whole root.
	g.link("workspace", "ws")
	for _, within := range []string{"/ws", "/", "/workspace/", "//workspace/."} {
		if _, _, err := g.read(&guestv1.ReadRequest{Path: []byte("/workspace/absolute"), Within: []byte(within)}); err != nil {
			t.Errorf("%q: %v", within, err)
		}
	}
}
