package serve_test

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/builder"
	"pyro/guest/internal/call"
	"pyro/guest/internal/diagnostics"
	"pyro/guest/internal/file"
	"pyro/guest/internal/guard"
	"pyro/guest/internal/network"
	"pyro/guest/internal/process"
	"pyro/guest/internal/serve"
	"pyro/guest/internal/system"
)

func TestAPanicInAGoroutineIsOnlyTold(t *testing.T) {
	var console safeBuffer
	guard.NewLog(&console).Run("a test", func() { panic("a bug") })
	if !bytes.Contains(console.bytes(), []byte("panic in a test: a bug")) {
		t.Errorf("%s", console.bytes())
	}
}

func TestAllMethodsOfTheProtoFileAreServed(t *testing.T) {
	served := call.Join((*system.Service)(nil).Methods(), (*process.Service)(nil).Methods(), (*file.Service)(nil).Methods(),
		(*builder.Service)(nil).Methods(), (*diagnostics.Service)(nil).Methods())
	services := guestv1.File_pyro_guest_v1_guest_proto.Services()
	for i := range services.Len() {
		// The host's.
		if services.Get(i).Name() == "EventService" {
			continue
		}
		methods := services.Get(i).Methods()
		for j := range methods.Len() {
			name := fmt.Sprintf("%s/%s", services.Get(i).FullName(), methods.Get(j).Name())
			if served[name] == nil {
				t.Errorf("%s is not served", name)
			}
			delete(served, name)
		}
	}
	for name := range served {
		t.Errorf("%s is in no .proto file", name)
	}
}

func TestAllMethodsOfTheNetworkAreServed(t *testing.T) {
	served := (*network.Service)(nil).Methods()
	methods := guestv1.File_pyro_guest_v1_network_proto.Services().ByName("NetworkService").Methods()
	for i := range methods.Len() {
		if name := "pyro.guest.v1.NetworkService/" + string(methods.Get(i).Name()); served[name] == nil {
			t.Errorf("%s is not served", name)
		}
	}
	if len(served) != methods.Len() {
		t.Errorf("%d methods are served", len(served))
	}
}

func TestOutsideOfALinkThereIsNoEpoch(t *testing.T) {
	if serve.Epoch(context.Background()) != 0 {
		t.Fatal("an epoch out of nothing")
	}
}

type safeBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *safeBuffer) bytes() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Clone(b.buffer.Bytes())
}
