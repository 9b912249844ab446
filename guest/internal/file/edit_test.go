package file_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/agenttest"
	"pyro/guest/internal/failure"
)

func (g guest) edit(path, old, now string, all bool) (*guestv1.EditResponse, error) {
	return g.Edit(context.Background(), &guestv1.EditRequest{
		Path: []byte(path), Within: workspace, OldText: []byte(old), NewText: []byte(now), ReplaceAll: all,
	})
}

func TestTextIsReplacedExactly(t *testing.T) {
	g := newGuest(t)
	g.put("workspace/f", "a\r\nb \xff\x00\r\nb\r\n", 0o751)
	if response, err := g.edit("/workspace/f", "b \xff\x00\r\n", "c\n", false); err != nil || response.Replacements != 1 || response.SizeBytes != 8 {
		t.Fatal(response, err)
	}
	if g.get("workspace/f") != "a\r\nc\nb\r\n" {
		t.Errorf("%q", g.get("workspace/f"))
	}
	if response, err := g.edit("/workspace/f", "\r\n", "", true); err != nil || response.Replacements != 2 || g.get("workspace/f") != "ac\nb" {
		t.Error(response, err, g.get("workspace/f"))
	}
	if info, _ := os.Stat(filepath.Join(g.root, "workspace/f")); info.Mode().Perm() != 0o751 {
		t.Error(info.Mode())
	}
	// A link is followed and stays.
	g.link("f", "workspace/l")
	if _, err := g.edit("/workspace/l", "ac", "z", false); err != nil || g.get("workspace/f") != "z\nb" {
		t.Error(err)
	}
	g.noTemporaries()
}

func TestTextsWithoutCRsFitAFileOfCRLFs(t *testing.T) {
	const mixed = "a\r\nb\nc\r\n"
	for _, test := range []struct {
		content, old, now, then string
		crlf                    bool
	}{
		{"a\r\nb\r\nc\r\n", "a\nb\n", "x\ny\nz\n", "x\r\ny\r\nz\r\nc\r\n", true},
		// The last line has no end.
		{"a\r\nb", "a\nb", "b\na", "b\r\na", true},
		{"a\r\nb\r\n", "b", "b\nc", "a\r\nb\r\nc\r\n", true},
		{"a\r\nb\r\n", "a\nb", "c", "c\r\n", true},
		// Nothing to fit.
		{"a\r\nb\r\n", "b", "c", "a\r\nc\r\n", false},
		// Whoever says CR means it.
		{"a\r\nb\r\n", "a\r\nb", "c\nd", "c\nd\r\n", false},
		{"a\r\nb\r\n", "b", "c\r\nd\n", "a\r\nc\r\nd\n\r\n", false},
		// Files of LFs, of both, and of neither.
		{"a\nb\n", "a\nb", "c\nd", "c\nd\n", false},
		{mixed, "b\n", "x\n", "a\r\nx\nc\r\n", false},
		{"a\rb", "a", "x\ny", "x\ny\rb", false},
	} {
		g := newGuest(t)
		g.put("workspace/f", test.content, 0o644)
		response, err := g.edit("/workspace/f", test.old, test.now, false)
		if err != nil || g.get("workspace/f") != test.then || response.Crlf != test.crlf || response.SizeBytes != uint64(len(test.then)) {
			t.Errorf("%q, %q for %q: %q, %v, %v", test.content, test.now, test.old, g.get("workspace/f"), response, err)
		}
	}
	g := newGuest(t)
	g.put("workspace/f", mixed, 0o644)
	if _, err := g.edit("/workspace/f", "a\nb\n", "x\n", false); agenttest.CodeOf(err) != "GUEST_EDIT_NO_MATCH" {
		t.Error(err)
	}
}

func TestAnEditThatDoesNotFitSaysWhatIsThere(t *testing.T) {
	g := newGuest(t)
	content := "one\n\tif x == 1 {\n\t\treturn\n\t}\ntwo\none\n" + strings.Repeat("x\n", 20)
	g.put("workspace/f", content, 0o644)
	for _, test := range []struct{ old, code, says string }{
		{"one", "GUEST_EDIT_AMBIGUOUS", "2 times, on lines 1, 6"},
		{"x\n", "GUEST_EDIT_AMBIGUOUS", "20 times, on lines 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, …"},
		{"  if x == 1 {\n    return", "GUEST_EDIT_NO_MATCH", `lines 2 to 3 differ from it in white space only: line 2 is "\tif x == 1 {"`},
		{"\tif x == 1 {\n\t\tbreak\n\t}", "GUEST_EDIT_NO_MATCH", `its first 1 lines are there from line 2 on, but line 3 is "\t\treturn", not "\t\tbreak"`},
		{"\tif x == 2 {", "GUEST_EDIT_NO_MATCH", `the nearest line is 2: "\tif x == 1 {"`},
		{"nothing like this is there", "GUEST_EDIT_NO_MATCH", `the old text is not in "/workspace/f"`},
		{"one\r\n", "GUEST_EDIT_NO_MATCH", "white space only"},
		{"", "INVALID_ARGUMENT", "empty"},
	} {
		_, err := g.edit("/workspace/f", test.old, "new", false)
		if agenttest.CodeOf(err) != test.code || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%q: %v", test.old, err)
		}
		if wire, ok := errors.AsType[*failure.Error](err); !ok || wire.Detail.Hint == "" {
			t.Errorf("%q: no hint", test.old)
		}
	}
	if g.get("workspace/f") != content {
		t.Error("the file was changed")
	}
}

func TestOnlyRegularFilesOfABoundAreEdited(t *testing.T) {
	g := newWorkspace(t)
	g.put("workspace/large", strings.Repeat("x", 8<<20+1), 0o644)
	g.put("workspace/grows", strings.Repeat("x", 1<<20), 0o644)
	for path, code := range map[string]string{
		"/workspace/in": "GUEST_FILE_REFUSED", "/workspace/pipe": "GUEST_FILE_REFUSED", "/workspace/large": "GUEST_FILE_REFUSED",
		"/workspace/none": "GUEST_FILE_NOT_FOUND", "/workspace/new/none": "GUEST_FILE_NOT_FOUND", "/workspace/loop": "GUEST_FILE_REFUSED",
	} {
		if _, err := g.edit(path, "x", "y", false); agenttest.CodeOf(err) != code {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, err := g.edit("/workspace/grows", "x", strings.Repeat("y", 100), true); agenttest.CodeOf(err) != "GUEST_FILE_REFUSED" {
		t.Error(err)
	}
	// Half a million lines that all begin like the text.
	g.put("workspace/same", strings.Repeat("a\n", 500_000), 0o644)
	if _, err := g.edit("/workspace/same", strings.Repeat("a\n", 300)+"b", "", false); agenttest.CodeOf(err) != "GUEST_EDIT_NO_MATCH" {
		t.Error(err)
	}
	if _, err := os.Lstat(filepath.Join(g.root, "workspace/new")); err == nil {
		t.Error("a directory was made")
	}
	g.noTemporaries()
}
