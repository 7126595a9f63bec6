#include "worker/network_remover.h"

#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "worker/conntrack.h"

namespace farm {
namespace {

// How long one waits for others to go with it. A slot has eight networks, and a step takes some
// 15 ms at least, so that none waits for the number of one that is waiting here.
constexpr absl::Duration kGatherTime = absl::Milliseconds(50);

}  // namespace

NetworkRemover::NetworkRemover(RouteNetlink host, OnRemoved on_removed)
    : on_removed_(std::move(on_removed)), host_(std::move(host)), thread_([this] { Run(); }) {}

NetworkRemover::~NetworkRemover() {
  {
    MutexLock lock(mu_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void NetworkRemover::Add(Network network) {
  {
    MutexLock lock(mu_);
    ended_.push_back(std::move(network));
  }
  changed_.notify_all();
}

void NetworkRemover::Run() {
  for (;;) {
    const std::vector<Network> networks = TakeAll();
    if (networks.empty()) return;
    const absl::Status status = Remove(networks);
    for (const Network& network : networks) on_removed_(network.number, status);
  }
}

// None: it is over.
std::vector<NetworkRemover::Network> NetworkRemover::TakeAll() {
  MutexLock lock(mu_);
  while (ended_.empty() && !stopping_) lock.Wait(changed_);
  const absl::Time until = absl::Now() + kGatherTime;
  for (absl::Time now = absl::Now(); now < until && !stopping_; now = absl::Now()) {
    lock.WaitFor(changed_, until - now);
  }
  return std::exchange(ended_, {});
}

absl::Status NetworkRemover::Remove(const std::vector<Network>& networks) {
  std::vector<uint32_t> addresses;
  for (const Network& network : networks) {
    addresses.push_back(network.address);
    const absl::Status moved = host_.SetGroup(network.link, kEndedLinkGroup);
    if (!moved.ok() && !absl::IsNotFound(moved)) return moved;
  }
  const absl::Status deleted = host_.DeleteGroup(kEndedLinkGroup);
  // Those of a worker that was killed go by themselves, and another worker takes ours along.
  if (!deleted.ok() && !absl::IsNotFound(deleted)) return deleted;
  // Now that nothing of them can begin another connection.
  return ForgetConnectionsOf(addresses);
}

}  // namespace farm
