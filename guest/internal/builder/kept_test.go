package builder

import (
	"context"
	"os"
	"testing"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/agenttest"
	"pyro/guest/internal/failure"
	"pyro/guest/internal/guard"
)

func TestWhatIsTheMachinesOwnIsNotKept(t *testing.T) {
	k := newKept(nil)
	for path, want := range map[string]bool{
		"workspace": false, "workspace/f": true, "workspace/a\nb": true, "workspaces/f": false, "srv/workspace/f": false,
		"etc/ssh/ssh_host_ed25519_key": true, "etc/ssh/ssh_host_rsa_key.pub": true, "etc/ssh/sshd_config": false,
		"root/.bash_history": true, "home/dev/.python_history": true, "home/dev/.bashrc": false, "opt/x/.bash_history": false,
		"lost+found": true, "var/lib/dbus/machine-id": true, "var/lib/apt/lists/mirror.test_Packages": true,
		"var/lib/apt/extended_states": false, "var/log/dpkg.log": true, "var/log/mine.log": false,
	} {
		if got := k.skip(path, false); got != want {
			t.Errorf("%q: %v", path, got)
		}
	}
	if k.skip("var/lib/apt/lists/partial", true) || !k.skip("lost+found", true) {
		t.Error("directories")
	}
}

func TestFilesOfIdentityAndOfTheHostAreMadeNeutral(t *testing.T) {
	const mark = "# From the host, by pyro: written at each start with a network, and taken away without. Without this line the file is yours.\n"
	k := newKept([]*guestv1.ProvidedFile{{Path: "/etc/pip.conf"}, {Path: "/etc/bundle.crt", Appended: true}})
	for _, test := range []struct{ path, old, want string }{
		{"etc/machine-id", "0123\n", ""},
		{"etc/hostname", "pyro-12345678\n", "pyro\n"},
		{"etc/hosts", "127.0.0.1 localhost\n127.0.1.1\tpyro-12345678\n10.0.0.1 db\n", "127.0.0.1 localhost\n10.0.0.1 db\n"},
		{"etc/resolv.conf", "nameserver 127.0.0.1\n", ""},
		{"etc/resolv.conf", "# The host resolves names, by the network policy of this machine.\nnameserver 10.0.2.3\n", ""},
		{"etc/resolv.conf", "nameserver 1.1.1.1\n", "nameserver 1.1.1.1\n"},
		{"etc/pip.conf", "[global]\n", "[global]\n"},
		{"etc/bundle.crt", "one\n# From the host, by pyro: begin\ntwo\n# From the host, by pyro: end\n", "one\n"},
	} {
		if got := k.rewrite(test.path)([]byte(test.old)); got == nil || string(got) != test.want {
			t.Errorf("%s: %q became %q", test.path, test.old, got)
		}
	}
	if got := k.rewrite("etc/pip.conf")([]byte(mark + "[global]\nindex-url = https://mirror.test\n")); got != nil {
		t.Errorf("the host's file became %q", got)
	}
	if k.rewrite("etc/passwd") != nil {
		t.Error("other files are rewritten")
	}
}

func TestABadCopyIsRefused(t *testing.T) {
	for name, test := range map[string]struct {
		mounted bool
		request *guestv1.CopyDiskRequest
	}{
		"no source":         {request: &guestv1.CopyDiskRequest{TargetDevice: "/dev/vda"}},
		"a file as target":  {request: &guestv1.CopyDiskRequest{SourceDevice: "/dev/vdb", TargetDevice: "/etc/passwd"}},
		"a way out of /dev": {request: &guestv1.CopyDiskRequest{SourceDevice: "/dev/../x", TargetDevice: "/dev/vda"}},
		"a file as base":    {request: &guestv1.CopyDiskRequest{SourceDevice: "/dev/vdb", TargetDevice: "/dev/vda", BaseDevice: "x"}},
		"a machine in use":  {mounted: true, request: &guestv1.CopyDiskRequest{SourceDevice: "/dev/vdb", TargetDevice: "/dev/vda"}},
	} {
		service := New(Options{RootMounted: func() bool { return test.mounted }, Log: guard.NewLog(os.Stderr)})
		client := agenttest.BuilderClient{Host: agenttest.Connect(t, service.Methods())}
		stream, err := client.CopyDisk(context.Background(), test.request)
		if err == nil {
			for stream.Receive() {
				t.Errorf("%s: a message", name)
			}
			err = stream.Err()
			stream.Close()
		}
		if agenttest.CodeOf(err) != string(failure.InvalidArgument) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
