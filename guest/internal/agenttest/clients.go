package agenttest

import (
	"context"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/call"
)

const service = "pyro.guest.v1."

// ProcessClient calls the ProcessService.
type ProcessClient struct{ Host *call.Peer }

func (c ProcessClient) Start(ctx context.Context, request *guestv1.StartRequest) (*guestv1.StartResponse, error) {
	return Unary(ctx, c.Host, service+"ProcessService/Start", request, &guestv1.StartResponse{})
}

func (c ProcessClient) Signal(ctx context.Context, request *guestv1.SignalRequest) (*guestv1.SignalResponse, error) {
	return Unary(ctx, c.Host, service+"ProcessService/Signal", request, &guestv1.SignalResponse{})
}

func (c ProcessClient) Get(ctx context.Context, request *guestv1.GetRequest) (*guestv1.GetResponse, error) {
	return Unary(ctx, c.Host, service+"ProcessService/Get", request, &guestv1.GetResponse{})
}

func (c ProcessClient) List(ctx context.Context, request *guestv1.ListRequest) (*guestv1.ListResponse, error) {
	return Unary(ctx, c.Host, service+"ProcessService/List", request, &guestv1.ListResponse{})
}

func (c ProcessClient) Remove(ctx context.Context, request *guestv1.RemoveRequest) (*guestv1.RemoveResponse, error) {
	return Unary(ctx, c.Host, service+"ProcessService/Remove", request, &guestv1.RemoveResponse{})
}

func (c ProcessClient) ReadOutput(ctx context.Context, request *guestv1.ReadOutputRequest) (*Download[guestv1.ReadOutputResponse, *guestv1.ReadOutputResponse], error) {
	return OpenDownload[guestv1.ReadOutputResponse](ctx, c.Host, service+"ProcessService/ReadOutput", request)
}

func (c ProcessClient) Run(ctx context.Context, request *guestv1.StartRequest) (*Download[guestv1.ReadOutputResponse, *guestv1.ReadOutputResponse], error) {
	return OpenDownload[guestv1.ReadOutputResponse](ctx, c.Host, service+"ProcessService/Run", request)
}

func (c ProcessClient) WriteInput(ctx context.Context) *Upload[*guestv1.WriteInputRequest, *guestv1.WriteInputResponse] {
	return OpenUpload[*guestv1.WriteInputRequest](ctx, c.Host, service+"ProcessService/WriteInput", &guestv1.WriteInputResponse{})
}

// FileClient calls the FileService.
type FileClient struct{ Host *call.Peer }

func (c FileClient) Read(ctx context.Context, request *guestv1.ReadRequest) (*Download[guestv1.ReadResponse, *guestv1.ReadResponse], error) {
	return OpenDownload[guestv1.ReadResponse](ctx, c.Host, service+"FileService/Read", request)
}

func (c FileClient) Write(ctx context.Context) *Upload[*guestv1.WriteRequest, *guestv1.WriteResponse] {
	return OpenUpload[*guestv1.WriteRequest](ctx, c.Host, service+"FileService/Write", &guestv1.WriteResponse{})
}

func (c FileClient) ExtractTar(ctx context.Context) *Upload[*guestv1.ExtractTarRequest, *guestv1.ExtractTarResponse] {
	return OpenUpload[*guestv1.ExtractTarRequest](ctx, c.Host, service+"FileService/ExtractTar", &guestv1.ExtractTarResponse{})
}

func (c FileClient) List(ctx context.Context, request *guestv1.ListFilesRequest) (*Download[guestv1.ListFilesResponse, *guestv1.ListFilesResponse], error) {
	return OpenDownload[guestv1.ListFilesResponse](ctx, c.Host, service+"FileService/List", request)
}

func (c FileClient) Edit(ctx context.Context, request *guestv1.EditRequest) (*guestv1.EditResponse, error) {
	return Unary(ctx, c.Host, service+"FileService/Edit", request, &guestv1.EditResponse{})
}

func (c FileClient) PackTar(ctx context.Context, request *guestv1.PackTarRequest) (*Download[guestv1.PackTarResponse, *guestv1.PackTarResponse], error) {
	return OpenDownload[guestv1.PackTarResponse](ctx, c.Host, service+"FileService/PackTar", request)
}

func (c FileClient) Commit(ctx context.Context) *Upload[*guestv1.CommitRequest, *guestv1.CommitResponse] {
	return OpenUpload[*guestv1.CommitRequest](ctx, c.Host, service+"FileService/Commit", &guestv1.CommitResponse{})
}

func (c FileClient) Changes(ctx context.Context, request *guestv1.ChangesRequest) (*Download[guestv1.ChangesResponse, *guestv1.ChangesResponse], error) {
	return OpenDownload[guestv1.ChangesResponse](ctx, c.Host, service+"FileService/Changes", request)
}

// BuilderClient calls the BuilderService.
type BuilderClient struct{ Host *call.Peer }

func (c BuilderClient) BuildImage(ctx context.Context, request *guestv1.BuildImageRequest) (*Download[guestv1.BuildImageResponse, *guestv1.BuildImageResponse], error) {
	return OpenDownload[guestv1.BuildImageResponse](ctx, c.Host, service+"BuilderService/BuildImage", request)
}

func (c BuilderClient) PackImage(ctx context.Context, request *guestv1.PackImageRequest) (*Download[guestv1.PackImageResponse, *guestv1.PackImageResponse], error) {
	return OpenDownload[guestv1.PackImageResponse](ctx, c.Host, service+"BuilderService/PackImage", request)
}

func (c BuilderClient) CopyDisk(ctx context.Context, request *guestv1.CopyDiskRequest) (*Download[guestv1.CopyDiskResponse, *guestv1.CopyDiskResponse], error) {
	return OpenDownload[guestv1.CopyDiskResponse](ctx, c.Host, service+"BuilderService/CopyDisk", request)
}

// ShellClient calls the ShellService.
type ShellClient struct{ Host *call.Peer }

func (c ShellClient) Open(ctx context.Context, request *guestv1.OpenShellRequest) (*guestv1.OpenShellResponse, error) {
	return Unary(ctx, c.Host, service+"ShellService/Open", request, &guestv1.OpenShellResponse{})
}

func (c ShellClient) Read(ctx context.Context, request *guestv1.ReadShellRequest) (*Download[guestv1.ReadShellResponse, *guestv1.ReadShellResponse], error) {
	return OpenDownload[guestv1.ReadShellResponse](ctx, c.Host, service+"ShellService/Read", request)
}

func (c ShellClient) Write(ctx context.Context, request *guestv1.WriteShellRequest) (*guestv1.WriteShellResponse, error) {
	return Unary(ctx, c.Host, service+"ShellService/Write", request, &guestv1.WriteShellResponse{})
}

func (c ShellClient) Signal(ctx context.Context, request *guestv1.SignalShellRequest) (*guestv1.SignalShellResponse, error) {
	return Unary(ctx, c.Host, service+"ShellService/Signal", request, &guestv1.SignalShellResponse{})
}

func (c ShellClient) Resize(ctx context.Context, request *guestv1.ResizeShellRequest) (*guestv1.ResizeShellResponse, error) {
	return Unary(ctx, c.Host, service+"ShellService/Resize", request, &guestv1.ResizeShellResponse{})
}

func (c ShellClient) Close(ctx context.Context, request *guestv1.CloseShellRequest) (*guestv1.CloseShellResponse, error) {
	return Unary(ctx, c.Host, service+"ShellService/Close", request, &guestv1.CloseShellResponse{})
}

func (c ShellClient) List(ctx context.Context) (*guestv1.ListShellsResponse, error) {
	return Unary(ctx, c.Host, service+"ShellService/List", &guestv1.ListShellsRequest{}, &guestv1.ListShellsResponse{})
}

func (c ShellClient) Rewrite(ctx context.Context, request *guestv1.RewriteShellRequest) (*guestv1.RewriteShellResponse, error) {
	return Unary(ctx, c.Host, service+"ShellService/Rewrite", request, &guestv1.RewriteShellResponse{})
}
