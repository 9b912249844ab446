package layer_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"pyro/guest/internal/layer"
)

// sixLayers is an image as builds leave them, and then some: each layer changes what those below brought.
func sixLayers() [][]entry {
	owned := func(e entry, uid, gid int) entry { return e.With(func(h *tar.Header) { h.Uid, h.Gid = uid, gid }) }
	mode := func(e entry, mode int64) entry { return e.With(func(h *tar.Header) { h.Mode = mode }) }
	at := func(e entry, seconds int64) entry {
		return e.With(func(h *tar.Header) { h.ModTime = time.Unix(seconds, 0) })
	}
	capability := "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	nested := "deep/" + strings.Repeat("longer-than-a-header-has-room/", 12)
	return [][]entry{
		{
			mode(dir("./"), 0o755), dir("./usr/"), dir("./usr/lib/"), dir("./usr/bin/"), link("./lib", "usr/lib"), link("./bin", "/usr/bin"),
			dir("./etc/"), file("./etc/passwd", "root:x:0:0\n"), file("./etc/old.conf", "old"), file("./etc/kept", "kept"), dir("./etc/conf.d/"), file("./etc/conf.d/a", "a"), file("./etc/conf.d/b", "b"),
			mode(owned(file("./usr/bin/su", "#!su"), 0, 0), 0o4755), mode(owned(file("./usr/bin/write", "#!write"), 0, 5), 0o2755),
			file("./usr/bin/ping", "#!ping").Xattr("security.capability", capability), hard("./usr/bin/ping6", "./usr/bin/ping"),
			file("./usr/lib/libz.so.1.2", "z1"), link("./usr/lib/libz.so", "libz.so.1.2"), link("./usr/lib/awk", "/etc/alternatives/awk"),
			mode(dir("./tmp/"), 0o1777), dir("./var/"), link("./var/run", "/run"), dir("./run/"), at(owned(dir("./home/"), 1000, 1000), 1_500_000_000), at(owned(file("./home/f", "mine"), 1000, 1000), 1_500_000_001),
			dir("./dev/"), mode(node("./dev/null", tar.TypeChar, 1, 3), 0o666), node("./dev/vda", tar.TypeBlock, 254, 0), mode(node("./dev/pipe", tar.TypeFifo, 0, 0), 0o622),
			file(nested+"f", "deep"), link("./long-link", nested+nested),
		},
		{
			// Through links of the layer below, whiteouts before and after what they are about.
			file("lib/libnew.so", "new"), file("lib/.wh.libz.so", ""), file("bin/tool", "tool"), file("var/run/pid", "1"),
			file("etc/.wh.old.conf", ""), file("etc/new.conf", "new"), file("etc/.wh.nothing", ""), hard("etc/passwd-", "etc/passwd"),
			link("etc/localtime", "/usr/share/zoneinfo/UTC"), hard("etc/localtime2", "etc/localtime"),
		},
		{
			// An opaque directory after its own entries, and one before.
			dir("etc/conf.d/"), file("etc/conf.d/c", "c"), file("etc/conf.d/.wh..wh..opq", ""),
			file("usr/bin/.wh.ping6", ""), dir("opq/"), file("opq/1", "1"), dir("opq/d/"), file("opq/d/2", "2"), dir("whole/"), dir("whole/tree/"), file("whole/tree/f", "f"),
			dir("user/"), file("user/f", "f"),
			dir("marked/").Xattr("user.old", "1").Xattr("user.both", "1"), file("marked/f", "f").Xattr("user.note", "v\x00\xff").Xattr("trusted.note", "t"),
		},
		{
			dir("opq/"), file("opq/.wh..wh..opq", ""), file("opq/3", "3"), file(".wh.whole", ""),
			// Kinds replaced by kinds.
			file("lib", "no link any more"), dir("usr/lib/awk/"), file("usr/lib/awk/gawk", "g"), link("home", "etc"), mode(dir("tmp/"), 0o700), file("deep", "no directory any more"),
			mode(owned(dir("marked/"), 7, 8), 0o3710).Xattr("user.both", "2"), file("dev/null", "no device any more"), dir("dev/pipe/"),
		},
		{
			// A link in the place of a directory, a directory in the place of a link, the same name twice.
			file("home/through", "in etc"), file(".wh.user", ""), dir("user/"), file("user/g", "g"), file("twice", "1"), file("twice", "22"), link("twice-link", "a"), file("twice-link", "b"),
			dir("/abs/"), file("/abs/f", "abs"), file("//abs/./g", "abs"), hard("/abs/h", "/abs/f"), dir("bin"), file("bin/sh", "sh"), at(file("time", ""), 1),
			owned(file("odd \n\x1b[31m", "odd"), 65534, 65534), file("\xff\xfe", "no text").With(func(h *tar.Header) { h.Format = tar.FormatGNU }),
		},
		{
			file("etc/.wh.passwd", ""), file("abs/.wh.f", ""), file("opq/.wh.3", ""), mode(file("etc/kept", "changed"), 0o600), file("implied/by/a/name", "x"),
			file("gone/.wh.x", ""), file("gone2/.wh..wh..opq", ""), dir("."),
		},
	}
}

// needUmoci leaves the test out for those who could not run it anyway, and fails where it should run.
func needUmoci(t *testing.T) {
	t.Helper()
	root := os.Geteuid() == 0
	if _, err := exec.LookPath("umoci"); err == nil && root {
		return
	}
	reason := "only root can have the owners and devices of an image"
	if root {
		reason = "umoci is missing: sudo apt-get install umoci"
	}
	if os.Getenv("CI") != "" || root {
		t.Fatal(reason)
	}
	t.Skip(reason)
}

func TestAnImageOfSixLayersComesToTheSameTreeAsByUmoci(t *testing.T) {
	needUmoci(t)
	layers := sixLayers()
	p := newPlace(t)
	if err := p.layers(layers...); err != nil {
		t.Fatal(err)
	}
	theirs, err := byUmoci(t, layers)
	if err != nil {
		t.Fatal(err)
	}
	got, want := withoutTimesOfNow(tree(t, p.root)), withoutTimesOfNow(tree(t, theirs))
	left, right := onlyIn(got, want), onlyIn(want, got)
	if len(left)+len(right) > 0 {
		t.Errorf("only here:\n%s\nonly by umoci:\n%s", strings.Join(left, "\n"), strings.Join(right, "\n"))
	}
	all := strings.Join(got, "\n")
	for _, must := range []string{"security.capability=", "user.both=32", "user.note=7600ff", "trusted.note=", " = ", " -> ", " 254,0 "} {
		if !strings.Contains(all, must) {
			t.Errorf("there is nothing with %q to compare:\n%s", must, all)
		}
	}
	p.checkCanary()
}

func onlyIn(lines, others []string) (only []string) {
	known := map[string]bool{}
	for _, line := range others {
		known[line] = true
	}
	for _, line := range lines {
		if !known[line] {
			only = append(only, line)
		}
	}
	return only
}

// byUmoci unpacks the layers with umoci, every other one compressed, and gives the root; it is removed with the test.
func byUmoci(t *testing.T, layers [][]entry) (string, error) {
	t.Helper()
	var tars [][]byte
	for _, entries := range layers {
		tars = append(tars, pack(t, entries...))
	}
	return tarsByUmoci(t, tars)
}

func tarsByUmoci(t *testing.T, tars [][]byte) (string, error) {
	t.Helper()
	image := t.TempDir()
	blobs := filepath.Join(image, "blobs", "sha256")
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		t.Fatal(err)
	}
	type descriptor struct {
		MediaType   string            `json:"mediaType"`
		Digest      string            `json:"digest"`
		Size        int               `json:"size"`
		Annotations map[string]string `json:"annotations,omitempty"`
	}
	put := func(mediaType string, data []byte) descriptor {
		name := digest(data)
		if err := os.WriteFile(filepath.Join(blobs, strings.TrimPrefix(name, "sha256:")), data, 0o644); err != nil {
			t.Fatal(err)
		}
		return descriptor{MediaType: mediaType, Digest: name, Size: len(data)}
	}
	document := func(value any) []byte {
		data, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	var diffIDs []string
	var descriptors []descriptor
	for i, content := range tars {
		diffIDs = append(diffIDs, digest(content))
		if i%2 == 0 {
			descriptors = append(descriptors, put("application/vnd.oci.image.layer.v1.tar+gzip", gzipped(t, content)))
		} else {
			descriptors = append(descriptors, put("application/vnd.oci.image.layer.v1.tar", content))
		}
	}
	config := put("application/vnd.oci.image.config.v1+json", document(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux", "config": map[string]any{},
		"rootfs": map[string]any{"type": "layers", "diff_ids": diffIDs},
	}))
	manifest := put("application/vnd.oci.image.manifest.v1+json", document(map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": descriptors,
	}))
	manifest.Annotations = map[string]string{"org.opencontainers.image.ref.name": "six"}
	for name, content := range map[string][]byte{
		"oci-layout": []byte(`{"imageLayoutVersion":"1.0.0"}`),
		"index.json": document(map[string]any{"schemaVersion": 2, "manifests": []descriptor{manifest}}),
	} {
		if err := os.WriteFile(filepath.Join(image, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	bundle := filepath.Join(t.TempDir(), "bundle")
	command := exec.Command("umoci", "unpack", "--image", image+":six", bundle)
	if output, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("umoci: %w\n%s", err, output)
	}
	return filepath.Join(bundle, "rootfs"), nil
}

func TestTheSameLayersComeToTheSameTreeWhateverTheirCompression(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can have the owners and devices of an image")
	}
	var trees []string
	for _, compression := range []layer.Compression{layer.None, layer.Gzip, layer.Zstd} {
		p := newPlace(t)
		limits := layer.DefaultLimits()
		for i, entries := range sixLayers() {
			blob := pack(t, entries...)
			switch compression {
			case layer.Gzip:
				blob = gzipped(t, blob)
			case layer.Zstd:
				blob = zstandard(t, blob)
			}
			options := layer.Options{HasLower: i > 0, Limits: limits}
			if _, err := p.applyFrom(bytes.NewReader(blob), int64(len(blob)), compression, options); err != nil {
				t.Fatal(compression, err)
			}
		}
		trees = append(trees, strings.Join(withoutTimesOfNow(tree(t, p.root)), "\n"))
	}
	if trees[0] != trees[1] || trees[0] != trees[2] {
		t.Errorf("%s\n\n%s\n\n%s", trees[0], trees[1], trees[2])
	}
}

// withoutTimesOfNow leaves out when directories were made that no layer has an entry for.
func withoutTimesOfNow(lines []string) []string {
	for i, line := range lines {
		if strings.HasPrefix(line, "implied") || strings.HasPrefix(line, "deep/") {
			lines[i], _, _ = strings.Cut(line, " @")
		}
	}
	return lines
}
