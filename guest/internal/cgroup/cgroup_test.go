package cgroup

import "testing"

func TestAValueIsFoundByItsKey(t *testing.T) {
	content := []byte("low 0\noom 1\noom_kill 23\n")
	if value, err := flatValue(content, "oom_kill"); err != nil || value != 23 {
		t.Fatal(value, err)
	}
	if _, err := flatValue(content, "kill"); err == nil {
		t.Fatal("found a part of a key")
	}
}

func FuzzFlatValue(f *testing.F) {
	f.Add([]byte("populated 1\nfrozen 0\n"), "frozen")
	f.Fuzz(func(_ *testing.T, content []byte, key string) { _, _ = flatValue(content, key) })
}

func TestADirectoryThatIsNoControlGroupIsRefused(t *testing.T) {
	if _, err := OpenRoot(t.TempDir()); err == nil {
		t.Fatal("accepted")
	}
	if _, err := OpenRoot("/no/such"); err == nil {
		t.Fatal("accepted")
	}
}
