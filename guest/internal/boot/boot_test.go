package boot

import (
	"slices"
	"testing"
)

func TestAModuleListIsOneNamePerLine(t *testing.T) {
	names := parseModuleList("a.ko\n\n  b.ko \n# c.ko\nd.ko")
	if !slices.Equal(names, []string{"a.ko", "b.ko", "d.ko"}) {
		t.Fatal(names)
	}
}

func TestAGroupNameLeadsNowhereElse(t *testing.T) {
	for group, valid := range map[string]bool{"boot": true, "network-2": true, "": false, "../x": false, "a/b": false, "A": false, "x.list": false} {
		if validGroup(group) != valid {
			t.Errorf("%q", group)
		}
	}
}

func TestCommandsLeaveTheAgentItsShare(t *testing.T) {
	for _, size := range []uint64{128, 512, 1024, 8192, 1 << 20} {
		each, all, memory := commandLimits(size * mib)
		if each < 1024 || each >= all || all > 31_100 || memory >= size*mib || memory < size*mib*3/4 {
			t.Errorf("%d MiB: %d, %d, %d", size, each, all, memory)
		}
	}
}

func TestTheMemoryIsReadFromTheKernel(t *testing.T) {
	if size, err := parseTotalMemory([]byte("MemFree: 5 kB\nMemTotal:      481272 kB\n")); err != nil || size != 481272*1024 {
		t.Fatal(size, err)
	}
	if _, err := parseTotalMemory([]byte("MemTotal: x kB\n")); err == nil {
		t.Fatal("accepted")
	}
	if _, err := parseTotalMemory(nil); err == nil {
		t.Fatal("accepted")
	}
	if size, err := totalMemory(); err != nil || size == 0 {
		t.Fatal(size, err)
	}
}

func TestMountsComeParentsFirst(t *testing.T) {
	var seen []string
	for _, m := range kernelMounts() {
		for _, before := range seen {
			if len(before) > len(m.target) && before[:len(m.target)+1] == m.target+"/" {
				t.Errorf("%s covers %s", m.target, before)
			}
		}
		seen = append(seen, m.target)
	}
}

func TestTheHostIsDescribed(t *testing.T) {
	if Uptime() <= 0 || KernelRelease() == "unknown" {
		t.Fatal(Uptime(), KernelRelease())
	}
}
