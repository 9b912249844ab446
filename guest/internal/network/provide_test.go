package network

import (
	"io/fs"
	"strings"
	"syscall"
	"testing"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/guard"
)

func TestAFileOfTheHostsIsWrittenReplacedAndTakenBack(t *testing.T) {
	for _, c := range []struct{ name, old, content, want string }{
		{"a new one", "", "a\n", ownFile + "a\n"},
		{"one of ours", ownFile + "a\n", "b\n", ownFile + "b\n"},
		{"ours, taken back", ownFile + "a\n", "", ""},
		{"none, taken back", "", "", ""},
		{"somebody else's", "mine\n", "a\n", "mine\n"},
		{"somebody else's, taken back", "mine\n", "", "mine\n"},
	} {
		file := &guestv1.ProvidedFile{Content: []byte(c.content)}
		if got := provided(orMissing(c.old), file); string(got) != c.want || (got == nil) != (c.want == "") {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestABlockOfTheHostsStandsOnceAtTheEndOfAFileThatIsThere(t *testing.T) {
	const block = blockBegin + "a\n" + blockEnd
	for _, c := range []struct{ name, old, content, want string }{
		{"no file", "", "a\n", ""},
		{"added", "mine\n", "a\n", "mine\n" + block},
		{"added to a file without an end of line", "mine", "a\n", "mine\n" + block},
		{"again", "mine\n" + block, "a\n", "mine\n" + block},
		{"after somebody wrote behind it", block + "mine\n", "a\n", "mine\n" + block},
		{"twice there", block + "mine\n" + block + "more\n", "a\n", "mine\nmore\n" + block},
		{"another", "mine\n" + blockBegin + "b\n" + blockEnd, "a\n", "mine\n" + block},
		{"its end was taken away", "mine\n" + blockBegin + "more\n", "a\n", "mine\nmore\n" + block},
		{"taken back", "mine\n" + block, "", "mine\n"},
		{"nothing to take back", "mine\n", "", "mine\n"},
	} {
		file := &guestv1.ProvidedFile{Content: []byte(c.content), Appended: true}
		if got := provided(orMissing(c.old), file); string(got) != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestWhatTheHostHandsOnReplacesWhatItHandedOnBefore(t *testing.T) {
	var environment []string
	console := &safeBuffer{}
	files := map[string][]byte{}
	o := Options{
		Log:         guard.NewLog(console),
		SetDefaults: func(given []string) { environment = given },
		Rewrite: func(path string, change func([]byte) []byte) error {
			switch path {
			case "/missing/file":
				return fs.ErrNotExist
			case "/full":
				return syscall.ENOSPC
			}
			files[path] = change(files[path])
			return nil
		},
	}
	o.provide(&guestv1.ConfigureNetworkRequest{
		Environment: []string{"A=1"},
		Files: []*guestv1.ProvidedFile{
			{Path: "/missing/file", Content: []byte("a\n")}, {Path: "/full", Content: []byte("a\n")}, {Path: "/file", Content: []byte("a\n")},
		},
	})
	if len(environment) != 1 || string(files["/file"]) != ownFile+"a\n" {
		t.Errorf("environment %q, files %q", environment, files)
	}
	if got, want := console.String(), "write /full from the host: no space left on device"; !strings.Contains(got, want) || strings.Contains(got, "missing") {
		t.Errorf("the log is %q", got)
	}
	o.provide(&guestv1.ConfigureNetworkRequest{Files: []*guestv1.ProvidedFile{{Path: "/file"}}})
	if len(environment) != 0 || files["/file"] != nil {
		t.Errorf("environment %q, files %q are left", environment, files)
	}
}

func orMissing(text string) []byte {
	if text == "" {
		return nil
	}
	return []byte(text)
}
