package shell

import "testing"

func TestASystemCallIsReadFromItsLine(t *testing.T) {
	number, args, ok := parseSystemCall([]byte("23 0x1 0x7ffd2c4c8d60 0x0 0x0 0x0 0x8 0x7ffd2c4c8cd8 0x7f0a0d1ff8f4\n"))
	if !ok || number != 23 || args[0] != 1 || args[1] != 0x7ffd2c4c8d60 || args[4] != 0 {
		t.Fatal(number, args, ok)
	}
	for _, line := range []string{"running\n", "-1 0x7ffd 0x7f0a\n", "", "0 1 2", "x 0x0 0x0 0x0 0x0 0x0 0x0"} {
		if _, _, ok := parseSystemCall([]byte(line)); ok {
			t.Errorf("%q was read", line)
		}
	}
}

func FuzzParseSystemCall(f *testing.F) {
	f.Add([]byte("0 0x0 0x1 0x2 0x3 0x4 0x5 0x6 0x7"))
	f.Fuzz(func(_ *testing.T, line []byte) { _, _, _ = parseSystemCall(line) })
}
