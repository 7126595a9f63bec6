// The coordinator's gRPC services: they check who calls and what is asked, and hand over to the
// event loop or the pool. None blocks a gRPC thread.
#ifndef FARM_COORDINATOR_SERVICES_H_
#define FARM_COORDINATOR_SERVICES_H_

#include <functional>
#include <memory>
#include <string>

#include "coordinator/collector.h"
#include "coordinator/farm_context.h"
#include "coordinator/scheduler.h"
#include "coordinator/session_table.h"
#include "rpc/auth.h"

namespace grpc {
class Service;
}  // namespace grpc

namespace farm {

// What the services work with. Borrows.
struct ServiceContext {
  FarmContext& farm;
  const Authenticator& authenticator;
  SessionTable& sessions;
  Scheduler& scheduler;  // owned by the loop
  Collector& collector;
  absl::Time started;
  std::function<void()>
      drain;  // begins the coordinator's end, once its sessions are over; on the loop
};

std::unique_ptr<grpc::Service> MakeBuildService(ServiceContext& context);
std::unique_ptr<grpc::Service> MakeImageService(ServiceContext& context);
std::unique_ptr<grpc::Service> MakeLeaseService(ServiceContext& context);
std::unique_ptr<grpc::Service> MakeAdminService(ServiceContext& context);

}  // namespace farm

#endif  // FARM_COORDINATOR_SERVICES_H_
