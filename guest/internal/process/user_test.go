package process_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/agenttest"
	"pyro/guest/internal/process"
	"pyro/guest/internal/rootdir"
)

// newRoot is a root of an environment with these files; whoever runs the test may read them all.
func newRoot(t *testing.T, files map[string]string) (rootdir.Root, string) {
	t.Helper()
	top := t.TempDir()
	for name, content := range files {
		path := filepath.Join(top, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return rootdir.New(top), top
}

func TestAUserIsFoundInTheRootAndTold(t *testing.T) {
	root, _ := newRoot(t, map[string]string{
		"app": "", "etc/passwd": "root:x:0:0::/root:\napp:x:1000:1001::/home/app:\n", "etc/group": "staff:x:50:app\n",
	})
	spec, err := process.SpecOf(root, &guestv1.StartRequest{Argv: argv("/app"), Env: argv("A=b"), User: "app"})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(spec.Env, " "); got != "A=b HOME=/home/app USER=app LOGNAME=app" {
		t.Error(got)
	}
	if as := spec.Credential; as == nil || as.Uid != 1000 || as.Gid != 1001 || fmt.Sprint(as.Groups) != "[50 1001]" {
		t.Errorf("%+v", as)
	}
	spec, err = process.SpecOf(root, &guestv1.StartRequest{Argv: argv("/app"), Env: argv("HOME=/given"), User: "2000"})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(spec.Env, " "); got != "HOME=/given" || spec.Credential.Uid != 2000 || spec.Credential.Gid != 0 {
		t.Error(got, spec.Credential)
	}
	_, err = process.SpecOf(root, &guestv1.StartRequest{Argv: argv("/app"), User: "web"})
	if code := agenttest.CodeOf(err); code != "GUEST_USER_NOT_FOUND" || !strings.Contains(err.Error(), `the user "web" is not in /etc/passwd`) {
		t.Error(code, err)
	}
}

func TestAnEnvironmentWithoutAShellSaysSo(t *testing.T) {
	root, _ := newRoot(t, map[string]string{"app": ""})
	_, err := process.SpecOf(root, &guestv1.StartRequest{Argv: argv("/bin/sh", "-c", "true")})
	if code := agenttest.CodeOf(err); code != "NO_SHELL_IN_ENVIRONMENT" {
		t.Error(code, err)
	}
	_, err = process.SpecOf(root, &guestv1.StartRequest{Argv: argv("/bin/ls")})
	if code := agenttest.CodeOf(err); code != "COMMAND_NOT_FOUND" {
		t.Error(code, err)
	}
}

func TestAMissingWorkingDirectoryIsMadeWhereThatIsWanted(t *testing.T) {
	root, top := newRoot(t, map[string]string{"app": "", "file": ""})
	if err := os.Symlink("/elsewhere", filepath.Join(top, "dangling")); err != nil {
		t.Fatal(err)
	}
	start := func(cwd string, make bool) string {
		_, err := process.SpecOf(root, &guestv1.StartRequest{Argv: argv("/app"), Cwd: []byte(cwd), MakeCwd: make})
		return agenttest.CodeOf(err)
	}
	if code := start("/srv/app/data", true); code != "" {
		t.Error(code)
	}
	if info, err := os.Stat(filepath.Join(top, "srv/app/data")); err != nil || !info.IsDir() {
		t.Error(err)
	}
	for cwd, make := range map[string]bool{"/other": false, "/file/below": true, "/dangling": true, "/file": true} {
		if code := start(cwd, make); code != "WORKING_DIRECTORY_NOT_FOUND" {
			t.Errorf("%s: %q", cwd, code)
		}
	}
}

func TestAnotherUserHasItsStreamsAndNoPowers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can start what runs as another; test/vm/image-config.test.ts does it in a machine")
	}
	a := newAgent(t)
	request := shell(`id -u; id -g; id -G; grep -E "^Cap(Inh|Prm|Eff|Amb)" /proc/self/status | cut -f2 | sort -u; echo again >/dev/stdout; echo $HOME`)
	request.User = "61234:61235"
	request.Cwd = []byte("/")
	got := a.run(request)
	if want := "61234\n61235\n61235\n0000000000000000\nagain\n/\n"; string(got.stdout) != want {
		t.Errorf("%q %q", got.stdout, got.stderr)
	}
	_, err := a.Start(context.Background(), &guestv1.StartRequest{ProcessId: freshID(), Argv: argv("true"), User: "nobody-of-this-name"})
	if code := agenttest.CodeOf(err); code != "GUEST_USER_NOT_FOUND" {
		t.Error(code, err)
	}
}
