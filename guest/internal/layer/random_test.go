package layer_test

import (
	"archive/tar"
	"fmt"
	"math/rand/v2"
	"os"
	"path"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// randomLayers are few entries with few names, so that most of them meet another: links on their own way, whiteouts through
// links, kinds over kinds.
func randomLayers(seed uint64) (layers [][]entry) {
	names := []string{
		"a", "a/b", "a/b/c", "l", "l/a", "l/l", "a/l", "a/l/b", "./a/", "/a", "//l/./a", "./", "l/b", "b", "b/c", "b/c/d",
		".wh.a", ".wh.l", "a/.wh.b", "l/.wh.b", "l/.wh.l", "a/l/.wh..wh..opq", ".wh..wh..opq", "l/.wh..wh..opq", "a/.wh..wh..opq",
	}
	targets := []string{"a", "a/b", "l", "..", "../..", "/", "/a", "b", "/b/c", "../b", "nowhere", "/none/x", "."}
	kinds := []byte{tar.TypeDir, tar.TypeDir, tar.TypeDir, tar.TypeSymlink, tar.TypeSymlink, tar.TypeFifo, tar.TypeReg, tar.TypeLink}
	random := rand.New(rand.NewPCG(seed, 0))
	for i := range 2 + random.IntN(2) {
		var entries []entry
		// The specification has no name twice in a layer, and umoci no hard link to itself.
		seen := map[string]bool{}
		for range 2 + random.IntN(5) {
			name := names[random.IntN(len(names))]
			e := entry{Header: tar.Header{Typeflag: kinds[random.IntN(len(kinds))], Name: name, Mode: int64(0o600 + random.IntN(64)), Uid: random.IntN(3)}}
			target := targets[random.IntN(len(targets))]
			whiteout := strings.Contains(name, ".wh.")
			switch {
			case whiteout:
				e.Typeflag = tar.TypeReg
			case strings.HasSuffix(name, "/"):
				e.Typeflag = tar.TypeDir
			case e.Typeflag == tar.TypeReg:
				e.Content = strconv.Itoa(random.IntN(1000))
			case e.Typeflag == tar.TypeSymlink, e.Typeflag == tar.TypeLink:
				e.Linkname = target
			}
			key := path.Join("/", name)
			if seen[key] || whiteout && i == 0 || e.Typeflag == tar.TypeLink && path.Join("/", target) == key {
				continue
			}
			seen[key] = true
			entries = append(entries, e)
		}
		layers = append(layers, entries)
	}
	return layers
}

func TestRandomImagesComeToTheSameTreesAsByUmoci(t *testing.T) {
	needUmoci(t)
	count, compared := 60, 0
	if more := os.Getenv("PYRO_RANDOM_IMAGES"); more != "" {
		var err error
		if count, err = strconv.Atoi(more); err != nil {
			t.Fatal(err)
		}
	}
	for seed := range uint64(count) {
		layers := randomLayers(seed)
		p := newPlace(t)
		ourErr := p.layers(layers...)
		theirs, theirErr := byUmoci(t, layers)
		p.checkCanary()
		if (ourErr != nil) != (theirErr != nil) {
			t.Errorf("image %d: %v; umoci: %v\n%s", seed, ourErr, theirErr, shown(layers))
			continue
		}
		if ourErr != nil {
			continue
		}
		compared++
		got, want := withoutTimes(tree(t, p.root)), withoutTimes(tree(t, theirs))
		if left, right := onlyIn(got, want), onlyIn(want, got); len(left)+len(right) > 0 {
			t.Errorf("image %d\n%s\nonly here:\n%s\nonly by umoci:\n%s", seed, shown(layers), strings.Join(left, "\n"), strings.Join(right, "\n"))
		}
	}
	if compared < count/3 {
		t.Errorf("of %d images only %d could be unpacked", count, compared)
	}
}

var timeOfLine = regexp.MustCompile(` @-?[0-9]+\.[0-9]{9}`)

// withoutTimes: umoci forgets the time of a directory that it makes two more below.
func withoutTimes(lines []string) (without []string) {
	for _, line := range lines {
		without = append(without, timeOfLine.ReplaceAllString(line, ""))
	}
	return without
}

func shown(layers [][]entry) string {
	var all strings.Builder
	for i, entries := range layers {
		for _, e := range entries {
			fmt.Fprintf(&all, "  %d: %c %s -> %s\n", i+1, e.Typeflag, e.Name, e.Linkname)
		}
	}
	return all.String()
}
