package agenttest

import (
	"context"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/call"
)

// SupervisorClient calls the SupervisorService.
type SupervisorClient struct{ Host *call.Peer }

func (c SupervisorClient) Start(ctx context.Context, request *guestv1.StartServiceRequest) (*guestv1.StartServiceResponse, error) {
	return Unary(ctx, c.Host, service+"SupervisorService/Start", request, &guestv1.StartServiceResponse{})
}

func (c SupervisorClient) Get(ctx context.Context, request *guestv1.GetServiceRequest) (*guestv1.GetServiceResponse, error) {
	return Unary(ctx, c.Host, service+"SupervisorService/Get", request, &guestv1.GetServiceResponse{})
}

func (c SupervisorClient) List(ctx context.Context, request *guestv1.ListServicesRequest) (*guestv1.ListServicesResponse, error) {
	return Unary(ctx, c.Host, service+"SupervisorService/List", request, &guestv1.ListServicesResponse{})
}

func (c SupervisorClient) Stop(ctx context.Context, request *guestv1.StopServiceRequest) (*guestv1.StopServiceResponse, error) {
	return Unary(ctx, c.Host, service+"SupervisorService/Stop", request, &guestv1.StopServiceResponse{})
}

func (c SupervisorClient) Logs(ctx context.Context, request *guestv1.ServiceLogsRequest) (*Download[guestv1.ServiceLogsResponse, *guestv1.ServiceLogsResponse], error) {
	return OpenDownload[guestv1.ServiceLogsResponse](ctx, c.Host, service+"SupervisorService/Logs", request)
}

func (c SupervisorClient) RewriteLogs(ctx context.Context, request *guestv1.RewriteLogsRequest) (*guestv1.RewriteLogsResponse, error) {
	return Unary(ctx, c.Host, service+"SupervisorService/RewriteLogs", request, &guestv1.RewriteLogsResponse{})
}
