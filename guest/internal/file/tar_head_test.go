package file

import (
	"archive/tar"
	"bytes"
	"io"
	"strings"
	"testing"
	"time"
)

func TestHeadsOfATarSayWhatTheyWereMadeOf(t *testing.T) {
	long := strings.Repeat("d/", 49) + "ab/" + strings.Repeat("name", 60)
	now := int64(1_700_000_000)
	heads := []tarHead{
		{name: "plain", kind: '0', mode: 0o644, size: 0, seconds: now},
		{name: strings.Repeat("x", 100), kind: '5', mode: 0o1777, seconds: now, nanoseconds: 1},
		{name: strings.Repeat("x", 101), kind: '5', mode: 0o755, seconds: now, nanoseconds: 999_999_999},
		{name: long, kind: '2', link: long, mode: 0o777, seconds: now},
		{name: "\xff\xfe=\n", kind: '2', link: "\x01", mode: 0o777, seconds: -2, nanoseconds: 500_000_000},
		{name: "early", kind: '5', mode: 0o7777, seconds: -1, nanoseconds: 500_000_000},
		{name: "earlier", kind: '5', mode: 0, seconds: -86_400},
		{name: "late", kind: '5', seconds: 1 << 34, uid: 1<<32 - 1, gid: 1 << 21},
		{name: "owned", kind: '5', seconds: now, uid: 1<<21 - 1, gid: 1000},
	}
	// One whose length of two digits becomes three by itself.
	for length := 85; length < 100; length++ {
		heads = append(heads, tarHead{name: "\xff" + strings.Repeat("y", length), kind: '5', seconds: now})
	}
	var archive bytes.Buffer
	var maker tarHeads
	for index := range heads {
		archive.Write(maker.of(&heads[index]))
	}
	reader := tar.NewReader(&archive)
	for _, head := range heads {
		got, err := reader.Next()
		if err != nil {
			t.Fatalf("%.20q: %v", head.name, err)
		}
		at := time.Unix(head.seconds, head.nanoseconds)
		if got.Name != head.name || got.Linkname != head.link || got.Typeflag != head.kind || got.Mode != int64(head.mode) ||
			got.Uid != int(head.uid) || got.Gid != int(head.gid) || !got.ModTime.Equal(at) {
			t.Errorf("%+v became %+v", head, got)
		}
	}
	if _, err := reader.Next(); err != io.EOF {
		t.Error(err)
	}
}

func TestTheHeadOfALargeFileSaysItsSize(t *testing.T) {
	for _, size := range []int64{1<<33 - 1, 1 << 33, 1 << 50} {
		var maker tarHeads
		got, err := tar.NewReader(bytes.NewReader(maker.of(&tarHead{name: "f", kind: '0', size: size}))).Next()
		if err != nil || got.Size != size {
			t.Errorf("%d: %+v %v", size, got, err)
		}
	}
}
