#include <utility>

#include "absl/strings/str_cat.h"
#include "base/ssh_agent_protocol.h"
#include "coordinator/build_session.h"
#include "coordinator/service_support.h"
#include "proto/farm/v1/build.grpc.pb.h"

namespace farm {
namespace {

class BuildService final : public v1::Builds::CallbackService {
 public:
  explicit BuildService(ServiceContext& context) : context_(context) {}

  grpc::ServerWriteReactor<v1::BuildEvent>* Start(grpc::CallbackServerContext* call,
                                                  const v1::StartBuildRequest* request) override {
    return StartSession(context_, call,
                        {request->credentials().begin(), request->credentials().end()},
                        [this, request = *request](Session::Options options) mutable {
                          return std::make_shared<BuildSession>(context_.farm, std::move(options),
                                                                std::move(request));
                        });
  }

  grpc::ServerWriteReactor<v1::BuildEvent>* Attach(grpc::CallbackServerContext* call,
                                                   const v1::AttachRequest* request) override {
    auto* writer = new EventWriter(context_.farm.loop);
    absl::StatusOr<Caller> caller = context_.authenticator.Authenticate(*call, Role::kClient);
    if (!caller.ok()) {
      writer->End(ToGrpcStatus(caller.status()));
      return writer;
    }
    const bool posted =
        context_.farm.loop.Post([this, writer, caller = *std::move(caller), request = *request] {
          const auto session = context_.sessions.Find(caller.domain, request.build_id());
          if (session == nullptr) {
            writer->End(ToGrpcStatus(
                absl::NotFoundError(absl::StrCat("no build ", request.build_id(), " is kept"))));
            return;
          }
          writer->Attach(session, request.after_sequence());
        });
    if (!posted) {
      writer->End(ToGrpcStatus(absl::ResourceExhaustedError("the coordinator has too much to do")));
    }
    return writer;
  }

  grpc::ServerUnaryReactor* AnswerSshAgent(grpc::CallbackServerContext* call,
                                           const v1::AnswerSshAgentRequest* request,
                                           v1::AnswerSshAgentResponse* response) override {
    absl::StatusOr<Caller> caller = context_.authenticator.Authenticate(*call, Role::kClient);
    if (!caller.ok()) return FinishNow(call, caller.status());
    if (request->answer().size() > kSshAgentMessageBytesMax) {
      return FinishNow(call, absl::InvalidArgumentError(absl::StrCat(
                                 "an answer of more than ", kSshAgentMessageBytesMax, " bytes")));
    }
    grpc::ServerUnaryReactor* reactor = call->DefaultReactor();
    const bool posted = context_.farm.loop.Post(
        [this, reactor, response, caller = *std::move(caller), request = *request] {
          const auto session = context_.sessions.Find(caller.domain, request.build_id());
          SshAgentRelay* agents = session == nullptr ? nullptr : session->ssh_agents();
          if (agents == nullptr) {
            reactor->Finish(ToGrpcStatus(
                absl::NotFoundError(absl::StrCat("no build ", request.build_id(), " is kept"))));
            return;
          }
          agents->Poll(request, [reactor, response](auto answer) {
            if (answer.ok()) *response = *std::move(answer);
            reactor->Finish(ToGrpcStatus(answer.status()));
          });
        });
    if (!posted) {
      reactor->Finish(
          ToGrpcStatus(absl::ResourceExhaustedError("the coordinator has too much to do")));
    }
    return reactor;
  }

  grpc::ServerUnaryReactor* Cancel(grpc::CallbackServerContext* call,
                                   const v1::CancelRequest* request, v1::CancelResponse*) override {
    absl::StatusOr<Caller> caller = context_.authenticator.Authenticate(*call, Role::kClient);
    if (!caller.ok()) return FinishNow(call, caller.status());
    grpc::ServerUnaryReactor* reactor = call->DefaultReactor();
    const bool posted = context_.farm.loop.Post(
        [this, reactor, caller = *std::move(caller), id = request->build_id()] {
          const auto session = context_.sessions.Find(caller.domain, id);
          if (session == nullptr) {
            reactor->Finish(
                ToGrpcStatus(absl::NotFoundError(absl::StrCat("no build ", id, " is under way"))));
            return;
          }
          session->Cancel();
          reactor->Finish(grpc::Status::OK);
        });
    if (!posted) {
      reactor->Finish(
          ToGrpcStatus(absl::ResourceExhaustedError("the coordinator has too much to do")));
    }
    return reactor;
  }

 private:
  ServiceContext& context_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeBuildService(ServiceContext& context) {
  return std::make_unique<BuildService>(context);
}

}  // namespace farm
