#include <utility>

#include "absl/strings/str_cat.h"
#include "base/ssh_agent_protocol.h"
#include "base/version.h"
#include "coordinator/service_support.h"
#include "proto/farm/v1/lease.grpc.pb.h"

namespace farm {
namespace {

constexpr int kSlotsMax = 1024;
constexpr size_t kLogBytesMax = 64 << 10;

absl::Status Check(const v1::SynchronizeRequest& request) {
  if (request.worker().empty() || request.incarnation().empty()) {
    return absl::InvalidArgumentError("a worker has a name and an incarnation");
  }
  if (request.slots() < 0 || request.slots() > kSlotsMax) {
    return absl::InvalidArgumentError(
        absl::StrCat(request.slots(), " slots, expected 0 to ", kSlotsMax));
  }
  if (request.version() != Version()) {
    return absl::FailedPreconditionError(absl::StrCat("the worker is of version ",
                                                      request.version(), ", the coordinator of ",
                                                      Version(), ": install the same"));
  }
  return absl::OkStatus();
}

// Names of enrolled workers are theirs: one can't speak for another.
std::string WorkerName(const Caller& caller, const std::string& name) {
  return caller.name == "local" ? name : absl::StrCat(caller.name, "/", name);
}

class LeaseService final : public v1::Leases::CallbackService {
 public:
  explicit LeaseService(ServiceContext& context) : context_(context) {}

  grpc::ServerUnaryReactor* Synchronize(grpc::CallbackServerContext* call,
                                        const v1::SynchronizeRequest* request,
                                        v1::SynchronizeResponse* response) override {
    absl::StatusOr<Caller> caller = context_.authenticator.Authenticate(*call, Role::kWorker);
    if (!caller.ok()) return FinishNow(call, caller.status());
    if (absl::Status status = Check(*request); !status.ok()) return FinishNow(call, status);
    v1::SynchronizeRequest checked = *request;
    checked.set_worker(WorkerName(*caller, request->worker()));
    grpc::ServerUnaryReactor* reactor = call->DefaultReactor();
    Post(reactor, [this, reactor, response, checked = std::move(checked)] {
      context_.farm.runner.Synchronize(checked, [reactor, response](auto answer) {
        if (answer.ok()) *response = *std::move(answer);
        reactor->Finish(ToGrpcStatus(answer.status()));
      });
    });
    return reactor;
  }

  grpc::ServerUnaryReactor* AppendLog(grpc::CallbackServerContext* call,
                                      const v1::AppendLogRequest* request,
                                      v1::AppendLogResponse* response) override {
    absl::StatusOr<Caller> caller = context_.authenticator.Authenticate(*call, Role::kWorker);
    if (!caller.ok()) return FinishNow(call, caller.status());
    if (request->bytes().size() > kLogBytesMax) {
      return FinishNow(call, absl::InvalidArgumentError(
                                 absl::StrCat("more than ", kLogBytesMax, " bytes of log")));
    }
    grpc::ServerUnaryReactor* reactor = call->DefaultReactor();
    Post(reactor, [this, reactor, response, request = *request] {
      const absl::StatusOr<bool> truncated = context_.farm.runner.AppendLog(request);
      if (truncated.ok()) response->set_truncated(*truncated);
      reactor->Finish(ToGrpcStatus(truncated.status()));
    });
    return reactor;
  }

  grpc::ServerUnaryReactor* AskSshAgent(grpc::CallbackServerContext* call,
                                        const v1::AskSshAgentRequest* request,
                                        v1::AskSshAgentResponse* response) override {
    absl::StatusOr<Caller> caller = context_.authenticator.Authenticate(*call, Role::kWorker);
    if (!caller.ok()) return FinishNow(call, caller.status());
    if (request->question().size() > kSshAgentMessageBytesMax) {
      return FinishNow(call, absl::InvalidArgumentError(absl::StrCat(
                                 "a question of more than ", kSshAgentMessageBytesMax, " bytes")));
    }
    v1::AskSshAgentRequest checked = *request;
    checked.set_worker(WorkerName(*caller, request->worker()));
    grpc::ServerUnaryReactor* reactor = call->DefaultReactor();
    Post(reactor, [this, reactor, response, checked = std::move(checked)] {
      context_.farm.runner.AskSshAgent(checked, [reactor, response](auto answer) {
        if (answer.ok()) response->set_answer(*std::move(answer));
        reactor->Finish(ToGrpcStatus(answer.status()));
      });
    });
    return reactor;
  }

 private:
  void Post(grpc::ServerUnaryReactor* reactor, std::function<void()> work) {
    if (!context_.farm.loop.Post(std::move(work))) {
      reactor->Finish(
          ToGrpcStatus(absl::ResourceExhaustedError("the coordinator has too much to do")));
    }
  }

  ServiceContext& context_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeLeaseService(ServiceContext& context) {
  return std::make_unique<LeaseService>(context);
}

}  // namespace farm
