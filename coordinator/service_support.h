#ifndef FARM_COORDINATOR_SERVICE_SUPPORT_H_
#define FARM_COORDINATOR_SERVICE_SUPPORT_H_

#include <memory>
#include <utility>

#include "coordinator/event_writer.h"
#include "coordinator/services.h"
#include "grpcpp/grpcpp.h"
#include "rpc/status.h"

namespace farm {

// Ends a unary call at once.
inline grpc::ServerUnaryReactor* FinishNow(grpc::CallbackServerContext* call,
                                           const absl::Status& status) {
  grpc::ServerUnaryReactor* reactor = call->DefaultReactor();
  reactor->Finish(ToGrpcStatus(status));
  return reactor;
}

// Runs `work(caller, response)` on `pool` for a client's unary call.
template <typename Response, typename Work>
grpc::ServerUnaryReactor* AnswerOn(Executor& pool, ServiceContext& context,
                                   grpc::CallbackServerContext* call, Response* response,
                                   Work work) {
  absl::StatusOr<Caller> caller = context.authenticator.Authenticate(*call, Role::kClient);
  if (!caller.ok()) return FinishNow(call, caller.status());
  context.sessions.Touch();
  grpc::ServerUnaryReactor* reactor = call->DefaultReactor();
  const bool posted =
      pool.Post([reactor, response, caller = *std::move(caller), work = std::move(work)] {
        reactor->Finish(ToGrpcStatus(work(caller, *response)));
      });
  if (!posted) {
    reactor->Finish(
        ToGrpcStatus(absl::ResourceExhaustedError("the coordinator has too much to do")));
  }
  return reactor;
}

template <typename Response, typename Work>
grpc::ServerUnaryReactor* Answer(ServiceContext& context, grpc::CallbackServerContext* call,
                                 Response* response, Work work) {
  return AnswerOn(context.farm.pool, context, call, response, std::move(work));
}

// Starts the session that `make(options)` gives for a client and streams its events.
template <typename Make>
grpc::ServerWriteReactor<v1::BuildEvent>* StartSession(
    ServiceContext& context, grpc::CallbackServerContext* call,
    std::vector<v1::RegistryCredential> credentials, Make make) {
  auto* writer = new EventWriter(context.farm.loop);
  absl::StatusOr<Caller> caller = context.authenticator.Authenticate(*call, Role::kClient);
  if (!caller.ok()) {
    writer->End(ToGrpcStatus(caller.status()));
    return writer;
  }
  const bool posted = context.farm.loop.Post([&context, writer, caller = *std::move(caller),
                                              credentials = std::move(credentials),
                                              make = std::move(make)]() mutable {
    std::shared_ptr<Session> session =
        make(Session::Options{.id = context.sessions.NewId(),
                              .domain = caller.domain,
                              .credentials = std::move(credentials)});
    writer->Attach(session, 0);
    if (absl::Status status = context.sessions.Start(std::move(session)); !status.ok()) {
      writer->End(ToGrpcStatus(status));
    }
  });
  if (!posted) {
    writer->End(ToGrpcStatus(absl::ResourceExhaustedError("the coordinator has too much to do")));
  }
  return writer;
}

}  // namespace farm

#endif  // FARM_COORDINATOR_SERVICE_SUPPORT_H_
