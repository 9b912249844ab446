// Package serve carries the services over the link: for each epoch an HTTP/2 server on the control and the bulk
// channel, and a client on the event channel.
package serve

import (
	"context"
	"fmt"
	"net/http"
	"runtime/debug"

	"connectrpc.com/connect"

	"pyro/guest/gen/pyro/guest/v1/guestv1connect"
	"pyro/guest/internal/failure"
	"pyro/guest/internal/guard"
)

// maxMessageBytes bounds one message of a call; bulk comes in chunks of 256 KiB.
const maxMessageBytes = 16 << 20

// Services are what the agent offers; a nil one is left out.
type Services struct {
	System      guestv1connect.SystemServiceHandler
	Process     guestv1connect.ProcessServiceHandler
	File        guestv1connect.FileServiceHandler
	Builder     guestv1connect.BuilderServiceHandler
	Diagnostics guestv1connect.DiagnosticsServiceHandler
}

// Handler answers the calls of all services. A panic in one becomes an error of its call.
func Handler(services Services, log guard.Log) http.Handler {
	options := connect.WithHandlerOptions(
		connect.WithReadMaxBytes(maxMessageBytes),
		// The link is a pipe of this machine: compressing costs more than it saves.
		connect.WithCompression("gzip", nil, nil),
		connect.WithRecover(func(_ context.Context, spec connect.Spec, _ http.Header, recovered any) error {
			log.Printf("panic in %s: %v\n%s", spec.Procedure, recovered, debug.Stack())
			return failure.From(fmt.Errorf("%s failed inside: %v", spec.Procedure, recovered))
		}),
	)
	mux := http.NewServeMux()
	if services.System != nil {
		mux.Handle(guestv1connect.NewSystemServiceHandler(services.System, options))
	}
	if services.Process != nil {
		mux.Handle(guestv1connect.NewProcessServiceHandler(services.Process, options))
	}
	if services.File != nil {
		mux.Handle(guestv1connect.NewFileServiceHandler(services.File, options))
	}
	if services.Builder != nil {
		mux.Handle(guestv1connect.NewBuilderServiceHandler(services.Builder, options))
	}
	if services.Diagnostics != nil {
		mux.Handle(guestv1connect.NewDiagnosticsServiceHandler(services.Diagnostics, options))
	}
	return mux
}
