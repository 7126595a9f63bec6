#include <unistd.h>

#include <utility>

#include "base/status_macros.h"
#include "base/time_proto.h"
#include "base/version.h"
#include "coordinator/service_support.h"
#include "proto/farm/v1/admin.grpc.pb.h"

namespace farm {
namespace {

class AdminService final : public v1::Admin::CallbackService {
 public:
  explicit AdminService(ServiceContext& context) : context_(context) {}

  grpc::ServerUnaryReactor* Info(grpc::CallbackServerContext* call, const v1::InfoRequest*,
                                 v1::InfoResponse* response) override {
    absl::StatusOr<Caller> caller = context_.authenticator.Authenticate(*call, Role::kClient);
    if (!caller.ok()) return FinishNow(call, caller.status());
    response->set_version(Version());
    *response->mutable_started() = TimeToProto(context_.started);
    response->set_builds_running(context_.sessions.open_sessions());
    *response->mutable_idle() = DurationToProto(context_.sessions.idle());
    response->set_stopping(context_.sessions.closed());
    if (IsUnixSocket(*call)) response->set_coordinator_pid(getpid());
    grpc::ServerUnaryReactor* reactor = call->DefaultReactor();
    const bool posted = context_.farm.loop.Post([this, reactor, response] {
      const absl::Time now = context_.farm.clock.Now();
      for (const Scheduler::WorkerView& view : context_.scheduler.Workers()) {
        v1::WorkerInfo& worker = *response->add_workers();
        worker.set_name(view.name);
        worker.set_version(view.report.version());
        *worker.mutable_platform() = view.report.platform();
        worker.set_slots(view.report.slots());
        worker.set_slots_busy(view.slots_busy);
        worker.set_draining(view.report.draining());
        *worker.mutable_last_seen() = DurationToProto(now - view.last_seen);
        *worker.mutable_limits_missing() = view.report.limits_missing();
      }
      response->set_steps_waiting(context_.scheduler.waiting());
      reactor->Finish(grpc::Status::OK);
    });
    if (!posted) {
      reactor->Finish(
          ToGrpcStatus(absl::ResourceExhaustedError("the coordinator has too much to do")));
    }
    return reactor;
  }

  grpc::ServerUnaryReactor* DiskUsage(grpc::CallbackServerContext* call,
                                      const v1::DiskUsageRequest*,
                                      v1::DiskUsageResponse* response) override {
    return AnswerOn(context_.farm.slow_pool, context_, call, response,
                    [this](const Caller&, v1::DiskUsageResponse& out) -> absl::Status {
                      ASSIGN_OR_RETURN(out, context_.collector.DiskUsage());
                      return absl::OkStatus();
                    });
  }

  grpc::ServerUnaryReactor* Prune(grpc::CallbackServerContext* call,
                                  const v1::PruneRequest* request,
                                  v1::PruneResponse* response) override {
    return AnswerOn(context_.farm.slow_pool, context_, call, response,
                    [this, request](const Caller& caller, v1::PruneResponse& out) -> absl::Status {
                      const absl::Time stored_max =
                          context_.farm.clock.Now() - DurationFromProto(request->unused_for());
                      ASSIGN_OR_RETURN(
                          const std::vector<std::string> images,
                          context_.farm.images.RemoveUntagged(caller.domain, stored_max));
                      ASSIGN_OR_RETURN(out, context_.collector.Prune(*request));
                      out.mutable_images_removed()->Add(images.begin(), images.end());
                      return absl::OkStatus();
                    });
  }

  grpc::ServerUnaryReactor* Shutdown(grpc::CallbackServerContext* call, const v1::ShutdownRequest*,
                                     v1::ShutdownResponse*) override {
    if (!IsUnixSocket(*call)) {
      return FinishNow(call, absl::PermissionDeniedError(
                                 "a coordinator is stopped on its own host, by its unix socket"));
    }
    grpc::ServerUnaryReactor* reactor = call->DefaultReactor();
    const bool posted = context_.farm.loop.Post([this, reactor] {
      context_.drain();
      reactor->Finish(grpc::Status::OK);
    });
    if (!posted) {
      reactor->Finish(
          ToGrpcStatus(absl::ResourceExhaustedError("the coordinator has too much to do")));
    }
    return reactor;
  }

 private:
  static bool IsUnixSocket(const grpc::CallbackServerContext& call) {
    return call.peer().rfind("unix:", 0) == 0;
  }

  ServiceContext& context_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeAdminService(ServiceContext& context) {
  return std::make_unique<AdminService>(context);
}

}  // namespace farm
