package archive

import (
	"strings"
	"testing"
)

func FuzzCleanName(f *testing.F) {
	for _, seed := range []string{"a/b", "./a//b/", "../x", "/abs", "a/../b", ".", "", "a\x00b"} {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	f.Fuzz(func(t *testing.T, name string, layer bool) {
		clean, err := cleanName(name, layer)
		if err != nil {
			return
		}
		if strings.HasPrefix(clean, "/") || strings.HasSuffix(clean, "/") || strings.Contains(clean, "//") {
			t.Errorf("%q became %q", name, clean)
		}
		for part := range strings.SplitSeq(clean, "/") {
			if part == ".." || part == "." || (part == "" && clean != "") {
				t.Errorf("%q became %q", name, clean)
			}
		}
		if again, err := cleanName("./"+clean, layer); err != nil && len(clean) < maxPathBytes-2 || err == nil && again != clean {
			t.Errorf("%q became %q and then %q, %v", name, clean, again, err)
		}
	})
}
