package system_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/agenttest"
	"pyro/guest/internal/boot"
	"pyro/guest/internal/guard"
	"pyro/guest/internal/reaper"
	"pyro/guest/internal/rootdir"
	"pyro/guest/internal/system"
	"pyro/guest/internal/workload"
)

// machine writes down what is done to it.
type machine struct {
	mu         sync.Mutex
	done       []string
	switchErr  error
	thawErr    error
	poweredOff chan struct{}
	// The file that shows the boot id; empty for none.
	bootIDFile string
}

func (m *machine) note(what string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done = append(m.done, what)
}

func (m *machine) AddEntropy([]byte) error { m.note("entropy"); return nil }
func (m *machine) SetClock(int64) error    { m.note("clock"); return nil }
func (m *machine) SetHostname(name string) error {
	m.note("hostname " + name)
	return nil
}
func (m *machine) SetBootID(id string) error {
	if len(id) != 36 {
		return errors.New(id)
	}
	m.note("boot id")
	if m.bootIDFile == "" {
		return nil
	}
	return os.WriteFile(m.bootIDFile, []byte(id+"\n"), 0o444)
}
func (m *machine) SwitchRoot(device, _ string) error { m.note("root " + device); return m.switchErr }
func (m *machine) LoadModules(group string) error {
	if group != "boot" {
		return boot.ErrUnknownGroup
	}
	return nil
}
func (m *machine) UncoverTmp() error  { m.note("tmp"); return nil }
func (m *machine) SettleDisks() error { m.note("settle"); return nil }
func (m *machine) FreezeRoot() error  { m.note("freeze"); return nil }
func (m *machine) ThawRoot() error    { m.note("thaw"); return m.thawErr }
func (m *machine) PowerOff()          { m.note("off"); close(m.poweredOff) }

func (m *machine) history() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return strings.Join(m.done, ", ")
}

func newSystem(t *testing.T) (*system.Service, *machine, string) {
	t.Helper()
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	m := &machine{poweredOff: make(chan struct{})}
	service := system.New(system.Options{
		AgentVersion: "1.2.3", KernelRelease: "6.1", Capabilities: []string{"process"},
		Boot:    func() *guestv1.BootTimings { return &guestv1.BootTimings{KernelMs: 7} },
		Epoch:   func(context.Context) uint32 { return 42 },
		Machine: m, Workload: workload.New(reaper.New(), nil, workload.Limits{}), Root: rootdir.New(root), OwnsRoot: true,
		Log: guard.NewLog(os.Stderr), PowerDelay: time.Millisecond, Rehearse: func() error { m.note("rehearsal"); return nil },
		Scrub: func() { m.note("scrub") },
	})
	return service, m, root
}

func personality() *guestv1.PersonalizeRequest {
	return &guestv1.PersonalizeRequest{
		UnixNanos: 1, Entropy: make([]byte, 32), Hostname: "box-1", MachineId: strings.Repeat("0a", 16),
	}
}

func personalize(s *system.Service, request *guestv1.PersonalizeRequest) error {
	_, err := s.Personalize(context.Background(), request)
	return err
}

func mount(s *system.Service, device string) error {
	_, err := s.MountRoot(context.Background(), &guestv1.MountRootRequest{Device: device, Filesystem: "ext4", CreateWorkspace: true})
	return err
}

func content(t *testing.T, root, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Error(err)
	}
	return string(text)
}

func TestHelloSaysWhoIsThere(t *testing.T) {
	s, _, _ := newSystem(t)
	response, err := s.Hello(context.Background(), &guestv1.HelloRequest{})
	if err != nil || response.AgentVersion != "1.2.3" || response.Epoch != 42 || response.Boot.KernelMs != 7 {
		t.Fatalf("%v %v", response, err)
	}
	if _, err := s.Ping(context.Background(), &guestv1.PingRequest{}); err != nil {
		t.Fatal(err)
	}
}

func TestTheIdentityIsWrittenWhicheverComesFirst(t *testing.T) {
	for _, rootFirst := range []bool{true, false} {
		s, m, root := newSystem(t)
		var err error
		if rootFirst {
			err = errors.Join(mount(s, "/dev/vda"), personalize(s, personality()))
		} else {
			err = errors.Join(personalize(s, personality()), mount(s, "/dev/vda"))
		}
		if err != nil {
			t.Fatal(err)
		}
		if content(t, root, "etc/hostname") != "box-1\n" || content(t, root, "etc/machine-id") != strings.Repeat("0a", 16)+"\n" ||
			!strings.Contains(content(t, root, "etc/hosts"), "127.0.1.1\tbox-1\n") || content(t, root, "etc/resolv.conf") == "" {
			t.Error(m.history())
		}
		if !strings.Contains(m.history(), "entropy, clock, hostname box-1, boot id") {
			t.Error(m.history())
		}
		if info, err := os.Stat(filepath.Join(root, "workspace")); err != nil || !info.IsDir() {
			t.Error(err)
		}
	}
}

func TestARootThatIsToStayAsItIsGetsNoFile(t *testing.T) {
	s, m, root := newSystem(t)
	before := tree(t, root)
	_, err := s.MountRoot(context.Background(), &guestv1.MountRootRequest{
		Device: "/dev/vda", Filesystem: "ext4", CreateWorkspace: true, Identity: personality(), AsIs: true,
	})
	if err != nil || !strings.HasSuffix(m.history(), "root /dev/vda, tmp") {
		t.Fatal(err, m.history())
	}
	if after := tree(t, root); after != before {
		t.Errorf("%s became %s", before, after)
	}
}

// tree is the names and sizes of all that is below a directory.
func tree(t *testing.T, root string) string {
	t.Helper()
	var out strings.Builder
	err := filepath.Walk(root, func(path string, info os.FileInfo, err error) error {
		if err == nil {
			fmt.Fprintln(&out, path, info.Mode(), info.Size())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestAnIdentityThatComesWithTheMountIsGivenBefore(t *testing.T) {
	s, m, root := newSystem(t)
	with := func(identity *guestv1.PersonalizeRequest) error {
		_, err := s.MountRoot(context.Background(), &guestv1.MountRootRequest{Device: "/dev/vda", Filesystem: "ext4", Identity: identity})
		return err
	}
	bad := personality()
	bad.Entropy = nil
	if err := with(bad); agenttest.CodeOf(err) != "INVALID_ARGUMENT" || m.history() != "" {
		t.Fatal(err, m.history())
	}
	if err := with(personality()); err != nil {
		t.Fatal(err)
	}
	if m.history() != "entropy, clock, hostname box-1, boot id, root /dev/vda" || content(t, root, "etc/hostname") != "box-1\n" {
		t.Error(m.history())
	}
	if err := os.WriteFile(filepath.Join(root, "etc/hostname"), []byte("mine\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	clock := &guestv1.PersonalizeRequest{UnixNanos: 2, Entropy: make([]byte, 32)}
	if err := personalize(s, clock); err != nil || content(t, root, "etc/hostname") != "mine\n" {
		t.Error("the time alone rewrote a name", err)
	}
}

func TestALongerFileIsCut(t *testing.T) {
	s, _, root := newSystem(t)
	long := []byte(strings.Repeat("a-name-of-the-image", 50))
	if err := os.WriteFile(filepath.Join(root, "etc/hostname"), long, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(personalize(s, personality()), mount(s, "/dev/vda")); err != nil {
		t.Fatal(err)
	}
	if text := content(t, root, "etc/hostname"); text != "box-1\n" {
		t.Errorf("%q", text)
	}
}

func TestAFileIsWrittenOutsideOfEtcTooAndTakenAway(t *testing.T) {
	s, _, root := newSystem(t)
	if err := errors.Join(os.MkdirAll(filepath.Join(root, "usr/share"), 0o755), mount(s, "/dev/vda")); err != nil {
		t.Fatal(err)
	}
	write := func(text []byte) error {
		return s.Rewrite("/usr/share/made", func([]byte) []byte { return text })
	}
	if err := errors.Join(write(nil), write([]byte("made"))); err != nil || content(t, root, "usr/share/made") != "made" {
		t.Fatal(err)
	}
	if err := errors.Join(write([]byte{}), write(nil), write(nil)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(filepath.Join(root, "usr/share/made")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("it is left", err)
	}
	// A link to nowhere in a directory that is not /etc.
	if err := os.Symlink("nowhere/else", filepath.Join(root, "usr/share/made")); err != nil {
		t.Fatal(err)
	}
	if err := write([]byte("again")); err != nil || content(t, root, "usr/share/made") != "again" {
		t.Fatal(err)
	}
	if err := s.Rewrite("/usr/missing/made", func([]byte) []byte { return []byte("made") }); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestARehearsalIsHeld(t *testing.T) {
	s, m, _ := newSystem(t)
	if _, err := s.Rehearse(context.Background(), &guestv1.RehearseRequest{}); err != nil || m.history() != "rehearsal" {
		t.Fatal(err, m.history())
	}
}

func TestAScrubIsDone(t *testing.T) {
	s, m, _ := newSystem(t)
	if _, err := s.Scrub(context.Background(), &guestv1.ScrubRequest{}); err != nil || m.history() != "scrub" {
		t.Fatal(err, m.history())
	}
}

func TestASecondIdentityReplacesTheFirst(t *testing.T) {
	s, _, root := newSystem(t)
	second := personality()
	second.Hostname, second.MachineId = "box-2", strings.Repeat("1b", 16)
	if err := errors.Join(mount(s, "/dev/vda"), personalize(s, personality()), personalize(s, second)); err != nil {
		t.Fatal(err)
	}
	hosts := content(t, root, "etc/hosts")
	if content(t, root, "etc/hostname") != "box-2\n" || strings.Contains(hosts, "box-1") || strings.Count(hosts, "localhost\n") != 1 {
		t.Errorf("%q", hosts)
	}
}

func TestOddFilesOfAnEnvironmentDoNotStopIt(t *testing.T) {
	s, _, root := newSystem(t)
	etc := filepath.Join(root, "etc")
	outside := filepath.Join(t.TempDir(), "outside")
	if err := errors.Join(
		os.WriteFile(outside, []byte("host"), 0o600),
		os.Symlink("../run/systemd/resolve/stub-resolv.conf", filepath.Join(etc, "resolv.conf")),
		os.Symlink(outside, filepath.Join(etc, "hostname")),
		unix.Mkfifo(filepath.Join(etc, "hosts"), 0o600),
		os.Mkdir(filepath.Join(etc, "machine-id"), 0o755),
	); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(mount(s, "/dev/vda"), personalize(s, personality())); err != nil {
		t.Fatal(err)
	}
	if content(t, root, "etc/resolv.conf") != "nameserver 127.0.0.1\n" || content(t, root, "etc/hostname") != "box-1\n" {
		t.Error("the dangling links were not replaced")
	}
	if text, err := os.ReadFile(outside); err != nil || string(text) != "host" {
		t.Errorf("%q %v", text, err)
	}
}

func TestWhatTheEnvironmentBringsIsKept(t *testing.T) {
	s, _, root := newSystem(t)
	if err := errors.Join(
		os.WriteFile(filepath.Join(root, "etc/resolv.conf"), []byte("nameserver 10.0.0.1\n"), 0o644),
		os.WriteFile(filepath.Join(root, "etc/hosts"), []byte("127.0.0.1 me localhost # here\n10.0.0.2 db\n127.0.1.1 build\n# end"), 0o644),
		mount(s, "/dev/vda"), personalize(s, personality()),
	); err != nil {
		t.Fatal(err)
	}
	if content(t, root, "etc/resolv.conf") != "nameserver 10.0.0.1\n" {
		t.Error("resolv.conf was changed")
	}
	if hosts := content(t, root, "etc/hosts"); hosts != "127.0.0.1 me localhost # here\n10.0.0.2 db\n# end\n127.0.1.1\tbox-1\n" {
		t.Errorf("%q", hosts)
	}
}

func TestABadIdentityIsRefusedBeforeAnythingIsDone(t *testing.T) {
	s, m, _ := newSystem(t)
	for name, change := range map[string]func(*guestv1.PersonalizeRequest){
		"little entropy": func(r *guestv1.PersonalizeRequest) { r.Entropy = make([]byte, 31) },
		"much entropy":   func(r *guestv1.PersonalizeRequest) { r.Entropy = make([]byte, 4097) },
		"a past clock":   func(r *guestv1.PersonalizeRequest) { r.UnixNanos = -1 },
		"a slash":        func(r *guestv1.PersonalizeRequest) { r.Hostname = "a/b" },
		"a newline":      func(r *guestv1.PersonalizeRequest) { r.Hostname = "a\nb" },
		"a long name":    func(r *guestv1.PersonalizeRequest) { r.Hostname = strings.Repeat("a", 64) },
		"a hyphen":       func(r *guestv1.PersonalizeRequest) { r.Hostname = "-a" },
		"a short id":     func(r *guestv1.PersonalizeRequest) { r.MachineId = "0a" },
		"an odd id":      func(r *guestv1.PersonalizeRequest) { r.MachineId = strings.Repeat("0A", 16) },
	} {
		request := personality()
		change(request)
		if err := personalize(s, request); agenttest.CodeOf(err) != "INVALID_ARGUMENT" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if m.history() != "" {
		t.Error(m.history())
	}
}

func TestTheRootIsMountedOnce(t *testing.T) {
	s, m, _ := newSystem(t)
	for _, device := range []string{"vda", "/etc/passwd", "/dev/../etc/passwd", ""} {
		if err := mount(s, device); agenttest.CodeOf(err) != "INVALID_ARGUMENT" {
			t.Errorf("%q: %v", device, err)
		}
	}
	m.switchErr = unix.EINVAL
	if err := mount(s, "/dev/vda"); agenttest.CodeOf(err) != "ENVIRONMENT_DAMAGED" {
		t.Error(err)
	}
	m.switchErr = unix.ENXIO
	if err := mount(s, "/dev/vdz"); agenttest.CodeOf(err) != "INVALID_ARGUMENT" || s.RootMounted() {
		t.Error(err)
	}
	m.switchErr = nil
	if err := errors.Join(mount(s, "/dev/vda"), mount(s, "/dev/vda")); err != nil || !s.RootMounted() {
		t.Fatal(err)
	}
	if err := mount(s, "/dev/vdb"); agenttest.CodeOf(err) != "INVALID_ARGUMENT" {
		t.Error(err)
	}
	if strings.Count(m.history(), "root /dev/vda") != 2 {
		t.Error(m.history())
	}
}

func TestModulesComeFromKnownGroups(t *testing.T) {
	s, _, _ := newSystem(t)
	load := func(group string) error {
		_, err := s.LoadModules(context.Background(), &guestv1.LoadModulesRequest{Group: group})
		return err
	}
	if err := load("boot"); err != nil {
		t.Error(err)
	}
	if err := load("other"); agenttest.CodeOf(err) != "INVALID_ARGUMENT" {
		t.Error(err)
	}
}

func TestWithoutControlGroupsNothingCanBeFrozen(t *testing.T) {
	s, _, _ := newSystem(t)
	_, err := s.SetFrozen(context.Background(), &guestv1.SetFrozenRequest{Frozen: true})
	if agenttest.CodeOf(err) != "INVALID_ARGUMENT" {
		t.Error(err)
	}
}

func TestShutdownAnswersAndThenEndsTheMachine(t *testing.T) {
	s, m, _ := newSystem(t)
	for range 2 {
		if _, err := s.Shutdown(context.Background(), &guestv1.ShutdownRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	<-m.poweredOff
	if m.history() != "settle, off" {
		t.Error(m.history())
	}
}

func TestAMachineThatWasSavedMountedGetsAnIdentityOfItsOwn(t *testing.T) {
	s, m, root := newSystem(t)
	take := func(hostname string) {
		identity := personality()
		identity.Hostname = hostname
		if _, err := s.MountRoot(context.Background(), &guestv1.MountRootRequest{
			Device: "/dev/vda", Filesystem: "ext4", CreateWorkspace: true, Identity: identity,
		}); err != nil {
			t.Fatal(err)
		}
	}
	take("template")
	before := m.history()
	take("box-2")
	if got := strings.TrimPrefix(m.history(), before); got != ", entropy, clock, hostname box-2, boot id" {
		t.Error(got)
	}
	if content(t, root, "etc/hostname") != "box-2\n" || strings.Contains(content(t, root, "etc/hosts"), "template") {
		t.Error("the names of before are still there")
	}
}
