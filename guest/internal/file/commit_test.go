package file_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/agenttest"
)

const (
	write  = guestv1.FileChange_KIND_WRITE
	remove = guestv1.FileChange_KIND_DELETE
	move   = guestv1.FileChange_KIND_MOVE
	mode   = guestv1.FileChange_KIND_MODE
)

// change is one of a commit; paths are below /workspace.
type change struct {
	kind     guestv1.FileChange_Kind
	path, to string
	mode     uint32
	// What the file must hold; "-" is what it holds when nobody looks.
	expect  string
	content string
}

func (g guest) commit(changes ...change) error {
	stream := g.Commit(context.Background())
	within := workspace
	for _, c := range changes {
		sent := &guestv1.FileChange{Kind: c.kind, Path: []byte("/workspace/" + c.path), Mode: c.mode}
		if c.to != "" {
			sent.To = []byte("/workspace/" + c.to)
		}
		if c.expect != "" {
			sum := sha256.Sum256([]byte(c.expect))
			sent.ExpectSha256 = sum[:]
		}
		if stream.Send(&guestv1.CommitRequest{Within: within, Step: &guestv1.CommitRequest_Change{Change: sent}}) != nil {
			break
		}
		within = nil
		for rest := c.content; rest != ""; {
			n := min(len(rest), 50_000)
			if stream.Send(&guestv1.CommitRequest{Step: &guestv1.CommitRequest_Data{Data: []byte(rest[:n])}}) != nil {
				break
			}
			rest = rest[n:]
		}
	}
	response, err := stream.CloseAndReceive()
	if err == nil && int(response.Changed) != len(changes) {
		g.t.Errorf("%d changed of %d", response.Changed, len(changes))
	}
	return err
}

// snapshot describes all below the root.
func (g guest) snapshot() string {
	var lines []string
	_ = filepath.WalkDir(g.root, func(path string, entry fs.DirEntry, err error) error {
		info, infoErr := entry.Info()
		if err != nil || infoErr != nil {
			g.t.Error(err, infoErr)
			return nil
		}
		name, _ := filepath.Rel(g.root, path)
		content := ""
		switch {
		case info.Mode().IsRegular():
			content = g.get(name)
		case info.Mode()&os.ModeSymlink != 0:
			content, _ = os.Readlink(path)
		}
		lines = append(lines, fmt.Sprintf("%s %v %.40q", name, info.Mode(), content))
		return nil
	})
	return strings.Join(lines, "\n")
}

func newProject(t *testing.T) guest {
	g := newGuest(t)
	g.put("workspace/a", "A", 0o755)
	g.put("workspace/b", "B", 0o644)
	g.put("workspace/d/c", "C", 0o600)
	g.put("etc/secret", "outside", 0o600)
	g.link("a", "workspace/link")
	g.link("/etc", "workspace/out")
	g.link("/workspace/d", "workspace/in")
	return g
}

func TestACommitMakesAllItsChangesInOrder(t *testing.T) {
	binary := strings.Repeat("\x00\xff", 100_000)
	for name, test := range map[string]struct {
		changes []change
		want    map[string]string
		gone    []string
	}{
		"write new and old": {
			[]change{{kind: write, path: "new/deep/f", content: binary}, {kind: write, path: "a", expect: "A", content: "AA"}, {kind: write, path: "empty", mode: 0o700}},
			map[string]string{"new/deep/f": binary, "a": "AA", "empty": ""}, nil,
		},
		"delete then write": {
			[]change{{kind: remove, path: "a", expect: "A"}, {kind: write, path: "a", content: "again"}},
			map[string]string{"a": "again"}, nil,
		},
		"move then write": {
			[]change{{kind: move, path: "a", to: "n/x", expect: "A"}, {kind: write, path: "n/x", expect: "A", content: "moved"}, {kind: write, path: "a", content: "another"}},
			map[string]string{"n/x": "moved", "a": "another"}, nil,
		},
		"swap": {
			[]change{{kind: move, path: "a", to: "t"}, {kind: move, path: "b", to: "a"}, {kind: move, path: "t", to: "b"}},
			map[string]string{"a": "B", "b": "A"}, []string{"t"},
		},
		"a directory moves and is written into": {
			[]change{{kind: move, path: "d", to: "e"}, {kind: write, path: "e/c", expect: "C", content: "CC"}, {kind: write, path: "d/c", content: "new"}},
			map[string]string{"e/c": "CC", "d/c": "new"}, nil,
		},
		"a file becomes a directory": {
			[]change{{kind: remove, path: "a"}, {kind: write, path: "a/b", content: "x"}},
			map[string]string{"a/b": "x"}, nil,
		},
		"a link goes": {[]change{{kind: remove, path: "link"}}, map[string]string{"a": "A"}, []string{"link"}},
		"through a link that stays inside": {
			[]change{{kind: write, path: "in/c", expect: "C", content: "CC"}}, map[string]string{"d/c": "CC"}, nil,
		},
		"nothing": {nil, map[string]string{"a": "A"}, nil},
	} {
		g := newProject(t)
		if err := g.commit(test.changes...); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for path, content := range test.want {
			if g.get("workspace/"+path) != content {
				t.Errorf("%s: %s holds something else", name, path)
			}
		}
		for _, path := range test.gone {
			if _, err := os.Lstat(filepath.Join(g.root, "workspace", path)); err == nil {
				t.Errorf("%s: %s is there", name, path)
			}
		}
		g.noTemporaries()
	}
}

func TestACommitKeepsAndChangesModes(t *testing.T) {
	g := newProject(t)
	err := g.commit(change{kind: mode, path: "b", mode: 0o755, expect: "B"}, change{kind: write, path: "a", expect: "A", content: "x"},
		change{kind: write, path: "n", content: "x"}, change{kind: write, path: "d/c", expect: "C", mode: 0o640})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]os.FileMode{"b": 0o755, "a": 0o755, "n": 0o644, "d/c": 0o640} {
		if info, err := os.Stat(filepath.Join(g.root, "workspace", name)); err != nil || info.Mode() != want {
			t.Errorf("%s: %v %v", name, info.Mode(), err)
		}
	}
}

func TestACommitThatFailsChangesNothing(t *testing.T) {
	before := []change{
		{kind: write, path: "n/e/w", content: "x"}, {kind: write, path: "a", expect: "A", content: "AA"}, {kind: remove, path: "b"},
		{kind: move, path: "d/c", to: "m/o/v"}, {kind: write, path: "d/c", content: "new"}, {kind: mode, path: "a", mode: 0o600},
	}
	for name, test := range map[string]struct {
		last change
		code string
	}{
		"content is another":             {change{kind: write, path: "m/o/v", expect: "other"}, "GUEST_FILE_CHANGED"},
		"content was another before":     {change{kind: remove, path: "link2", expect: "x"}, "GUEST_FILE_NOT_FOUND"},
		"it exists":                      {change{kind: write, path: "a"}, "GUEST_FILE_CHANGED"},
		"it does not exist":              {change{kind: write, path: "none", expect: "x"}, "GUEST_FILE_CHANGED"},
		"the target of a move exists":    {change{kind: move, path: "a", to: "d/c"}, "GUEST_FILE_CHANGED"},
		"a write to a link":              {change{kind: write, path: "link"}, "GUEST_FILE_REFUSED"},
		"a write to a link, with a hash": {change{kind: write, path: "link", expect: "A"}, "GUEST_FILE_REFUSED"},
		"a write to a directory":         {change{kind: write, path: "d"}, "GUEST_FILE_REFUSED"},
		"a mode of a link":               {change{kind: mode, path: "link", mode: 0o777}, "GUEST_FILE_REFUSED"},
		"a directory is deleted":         {change{kind: remove, path: "d"}, "GUEST_FILE_REFUSED"},
		"what was deleted":               {change{kind: remove, path: "b"}, "GUEST_FILE_NOT_FOUND"},
		"below itself":                   {change{kind: move, path: "d", to: "d/x/y"}, "GUEST_FILE_REFUSED"},
		"write outside":                  {change{kind: write, path: "out/new", content: "x"}, "GUEST_FILE_REFUSED"},
		"delete outside":                 {change{kind: remove, path: "out/secret"}, "GUEST_FILE_REFUSED"},
		"move outside":                   {change{kind: move, path: "a", to: "out/n/a"}, "GUEST_FILE_REFUSED"},
		"parents outside":                {change{kind: write, path: "out/x/y/z", content: "x"}, "GUEST_FILE_REFUSED"},
		"dots":                           {change{kind: write, path: "../etc/x"}, "GUEST_FILE_REFUSED"},
		"a slash":                        {change{kind: write, path: "x/"}, "GUEST_FILE_REFUSED"},
		"the workspace itself":           {change{kind: remove, path: "."}, "GUEST_FILE_REFUSED"},
		"no kind":                        {change{path: "a"}, "INVALID_ARGUMENT"},
		"NUL":                            {change{kind: write, path: "a\x00b"}, "INVALID_ARGUMENT"},
		"a file as a directory":          {change{kind: write, path: "a/x", content: "x"}, "GUEST_FILE_NOT_FOUND"},
		"content of no file":             {change{kind: remove, path: "link", content: "x"}, "INVALID_ARGUMENT"},
	} {
		g := newProject(t)
		want := g.snapshot()
		if err := g.commit(append(before, test.last)...); agenttest.CodeOf(err) != test.code {
			t.Errorf("%s: %v", name, err)
		}
		if got := g.snapshot(); got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
		}
	}
}

func TestABrokenOffCommitChangesNothing(t *testing.T) {
	g := newProject(t)
	want := g.snapshot()
	ctx, cancel := context.WithCancel(context.Background())
	stream := g.Commit(ctx)
	_ = stream.Send(&guestv1.CommitRequest{Within: workspace, Step: &guestv1.CommitRequest_Change{Change: &guestv1.FileChange{Kind: remove, Path: []byte("/workspace/a")}}})
	cancel()
	if _, err := stream.CloseAndReceive(); err == nil {
		t.Fatal("it was accepted")
	}
	if got := g.snapshot(); got != want {
		t.Error(got)
	}
}

func TestACommitIsBounded(t *testing.T) {
	g := newProject(t)
	var many []change
	for i := range 1000 {
		many = append(many, change{kind: write, path: fmt.Sprintf("d%d/f", i), content: "x"})
	}
	if err := g.commit(many...); err != nil {
		t.Error(err)
	}
	if err := g.commit(append(many, change{kind: remove, path: "a"})...); err == nil {
		t.Error("more than 1,000 changes were taken")
	}
	g.noTemporaries()
}
