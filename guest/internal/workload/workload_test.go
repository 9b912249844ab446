package workload_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"pyro/guest/internal/cgroup"
	"pyro/guest/internal/reaper"
	"pyro/guest/internal/workload"
)

// newParent makes a control group of the test's own, and gives where it lies.
func newParent(t *testing.T) (*cgroup.Group, string) {
	t.Helper()
	for _, mount := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		root, err := cgroup.OpenRoot(mount)
		if err != nil {
			continue
		}
		name := fmt.Sprintf("pyro-workload-test-%d", os.Getpid())
		parent, err := root.Create(name)
		if err != nil {
			continue
		}
		t.Cleanup(func() {
			if err := parent.Remove(); err != nil {
				t.Error(err)
			}
		})
		return parent, filepath.Join(mount, name)
	}
	t.Skip("no control groups can be made here")
	return nil, ""
}

func groupsIn(t *testing.T, path string) []string {
	t.Helper()
	groups, err := filepath.Glob(filepath.Join(path, "command-*"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range groups {
		groups[i] = filepath.Base(groups[i])
	}
	return groups
}

func TestACommandTakesTheGroupThatWasMadeAhead(t *testing.T) {
	parent, path := newParent(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	collector := reaper.New()
	go collector.Run(ctx)
	w := workload.New(collector, parent, workload.Limits{})
	w.Replenish()
	w.Replenish()
	if groups := groupsIn(t, path); !slices.Equal(groups, []string{"command-1"}) {
		t.Fatal(groups)
	}
	run := func() {
		t.Helper()
		null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer null.Close()
		task, err := w.Start(ctx, workload.Spec{
			Owner: "somebody", Path: "/bin/true", Argv: []string{"true"}, Dir: "/", Files: []uintptr{null.Fd(), null.Fd(), null.Fd()},
		})
		if err != nil {
			t.Fatal(err)
		}
		<-task.Done()
		if err := task.KillTree(ctx); err != nil {
			t.Fatal(err)
		}
		group := groupsIn(t, path)[0]
		stat, err := os.Stat(filepath.Join(path, group))
		if err != nil {
			t.Fatal(err)
		}
		number := stat.Sys().(*syscall.Stat_t).Ino
		if owner := w.OwnerOf(number); owner != "somebody" {
			t.Errorf("%s is %q's", group, owner)
		}
		if err := task.Release(); err != nil {
			t.Fatal(err)
		}
		if owner := w.OwnerOf(number); owner != "" {
			t.Errorf("what is gone is %q's", owner)
		}
	}
	run()
	if groups := groupsIn(t, path); len(groups) != 0 {
		t.Fatal(groups)
	}
	// Without one it makes its own.
	run()
	if groups := groupsIn(t, path); len(groups) != 0 {
		t.Fatal(groups)
	}
}

func TestACommandHasTheDefaultsThatItsOwnEnvironmentDoesNotName(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	collector := reaper.New()
	go collector.Run(ctx)
	w := workload.New(collector, nil, workload.Limits{})
	environment := func(env ...string) string {
		t.Helper()
		out := filepath.Join(t.TempDir(), "out")
		file, err := os.Create(out)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		task, err := w.Start(ctx, workload.Spec{
			Path: "/usr/bin/env", Argv: []string{"env"}, Env: env, Dir: "/",
			Files: []uintptr{file.Fd(), file.Fd(), file.Fd()},
		})
		if err != nil {
			t.Fatal(err)
		}
		<-task.Done()
		text, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	w.SetDefaults([]string{"A=1", "AB=2"})
	if got := environment("AB=mine", "C=3"); got != "AB=mine\nC=3\nA=1\n" {
		t.Errorf("%q", got)
	}
	w.SetDefaults(nil)
	if got := environment("C=3"); got != "C=3\n" {
		t.Errorf("%q", got)
	}
}
