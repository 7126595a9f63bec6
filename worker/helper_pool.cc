#include "worker/helper_pool.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/byte_stream.h"
#include "base/errno_status.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "worker/sandbox_wire.h"
#include "worker/seccomp_filter.h"

namespace farm {
namespace {

bool IsInsecure(HelperKind kind) {
  return kind == HelperKind::kInsecureNoNetwork || kind == HelperKind::kInsecureHostNetwork ||
         kind == HelperKind::kInsecureIsolatedNetwork;
}

bool IsIsolated(HelperKind kind) {
  return kind == HelperKind::kIsolatedNetwork || kind == HelperKind::kIsolatedRuntime ||
         kind == HelperKind::kInsecureIsolatedNetwork;
}

absl::StatusOr<UniqueFd> SeccompFile() {
  ASSIGN_OR_RETURN(const std::string program, BuildSeccompFilter());
  UniqueFd file(memfd_create("seccomp", MFD_CLOEXEC));
  if (!file.valid()) return ErrnoStatus(errno, "memfd_create");
  RETURN_IF_ERROR(FdSink(file.get()).Write(program)) << "seccomp program";
  return file;
}

}  // namespace

HelperKind HelperKindFor(NetworkMode network, bool is_runtime, bool insecure) {
  if (is_runtime) {
    return network == NetworkMode::kIsolated ? HelperKind::kIsolatedRuntime : HelperKind::kRuntime;
  }
  switch (network) {
    case NetworkMode::kIsolated:
      return insecure ? HelperKind::kInsecureIsolatedNetwork : HelperKind::kIsolatedNetwork;
    case NetworkMode::kHost:
      return insecure ? HelperKind::kInsecureHostNetwork : HelperKind::kHostNetwork;
    case NetworkMode::kNone:
      break;
  }
  return insecure ? HelperKind::kInsecureNoNetwork : HelperKind::kNoNetwork;
}

absl::StatusOr<std::unique_ptr<HelperPool>> HelperPool::Create(Options options,
                                                               CgroupTree& cgroups) {
  ASSIGN_OR_RETURN(UniqueFd program, SealHelperProgram(options.program));
  ASSIGN_OR_RETURN(UniqueFd seccomp, SeccompFile());
  return std::unique_ptr<HelperPool>(
      new HelperPool(std::move(options), cgroups, std::move(program), std::move(seccomp)));
}

HelperPool::HelperPool(Options options, CgroupTree& cgroups, UniqueFd program, UniqueFd seccomp)
    : options_(std::move(options)),
      cgroups_(cgroups),
      program_(std::move(program)),
      seccomp_(std::move(seccomp)),
      thread_([this] { Run(); }) {}

HelperPool::~HelperPool() {
  {
    MutexLock lock(mu_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

absl::StatusOr<std::unique_ptr<HelperProcess>> HelperPool::Take(HelperKind kind,
                                                                const std::string& cgroup_parent) {
  if (!cgroup_parent.empty()) {
    const auto parent = options_.cgroup_parents.find(cgroup_parent);
    if (parent != options_.cgroup_parents.end()) return TakeOrdered(kind, *parent->second);
    return absl::PermissionDeniedError(
        absl::StrCat("control group ", cgroup_parent,
                     ": not permitted on this worker (\"cgroup_parents\" in its configuration)"));
  }
  for (;;) {
    absl::StatusOr<std::unique_ptr<HelperProcess>> helper = TakeNext(kind);
    // One that somebody killed while it was idle is replaced.
    if (!helper.ok() || (*helper)->alive()) return helper;
  }
}

absl::StatusOr<std::unique_ptr<HelperProcess>> HelperPool::TakeNext(HelperKind kind) {
  MutexLock lock(mu_);
  Shelf& shelf = shelves_[static_cast<int>(kind)];
  shelf.in_use = true;
  while (shelf.ready.empty()) {
    ++shelf.waiting;
    changed_.notify_all();
    lock.Wait(changed_);
    --shelf.waiting;
  }
  absl::StatusOr<std::unique_ptr<HelperProcess>> helper = std::move(shelf.ready.front());
  shelf.ready.pop_front();
  shelf.refill_at = absl::Now() + options_.refill_delay;
  changed_.notify_all();
  return helper;
}

absl::StatusOr<std::unique_ptr<HelperProcess>> HelperPool::TakeOrdered(HelperKind kind,
                                                                       CgroupTree& cgroups) {
  Order order{.kind = kind, .cgroups = cgroups, .helper = std::nullopt};
  MutexLock lock(mu_);
  orders_.push_back(&order);
  changed_.notify_all();
  while (!order.helper.has_value()) lock.Wait(changed_);
  return *std::move(order.helper);
}

void HelperPool::Warm(HelperKind kind) {
  MutexLock lock(mu_);
  Shelf& shelf = shelves_[static_cast<int>(kind)];
  shelf.in_use = true;
  changed_.notify_all();
  while (shelf.in_use && static_cast<int>(shelf.ready.size()) < WarmOf(kind)) {
    lock.Wait(changed_);
  }
}

int HelperPool::WarmOf(HelperKind kind) const { return IsInsecure(kind) ? 0 : options_.warm; }

void HelperPool::WaitForCleanup() {
  MutexLock lock(mu_);
  while (cleaning_ || !remains_.empty()) lock.Wait(changed_);
}

void HelperPool::Run() {
  for (uint64_t number = 0;; ++number) {
    std::optional<Work> work;
    std::vector<HelperRemains> remains;
    {
      MutexLock lock(mu_);
      cleaning_ = false;
      changed_.notify_all();
      work = WaitForWork(lock);
      if (!work.has_value()) {
        remains.swap(remains_);
        cleaning_ = true;
        if (stopping_ && remains.empty()) break;
      }
    }
    remains.clear();
    if (!work.has_value()) continue;
    Order* const order = work->order;
    absl::StatusOr<std::unique_ptr<HelperProcess>> helper =
        Start(work->kind, order == nullptr ? cgroups_ : order->cgroups, number);
    MutexLock lock(mu_);
    Shelf& shelf = shelves_[static_cast<int>(work->kind)];
    if (order != nullptr) {
      order->helper = std::move(helper);
    } else if (!helper.ok() && shelf.waiting == 0) {
      LogWarning("no sandbox helper", {{"error", LogText(helper.status())}});
      shelf.in_use = false;  // Until somebody asks again, and gets the error.
    } else {
      shelf.ready.push_back(std::move(helper));
    }
  }
  // Those never used; what they leave is taken down here.
  std::deque<absl::StatusOr<std::unique_ptr<HelperProcess>>> unused[kHelperKinds];
  {
    MutexLock lock(mu_);
    for (int i = 0; i < kHelperKinds; ++i) unused[i].swap(shelves_[i].ready);
  }
  for (auto& helpers : unused) helpers.clear();
  MutexLock lock(mu_);
  remains_.clear();
}

std::optional<HelperPool::Work> HelperPool::WaitForWork(MutexLock& lock) {
  while (!stopping_) {
    // Steps go first, but what they leave must not pile up.
    if (remains_.size() > static_cast<size_t>(options_.warm)) return std::nullopt;
    if (!orders_.empty()) {
      Order* const order = orders_.front();
      orders_.pop_front();
      return Work{.kind = order->kind, .order = order};
    }
    const absl::Time now = absl::Now();
    absl::Time next = absl::InfiniteFuture();
    std::optional<HelperKind> refill;
    for (int i = 0; i < kHelperKinds; ++i) {
      const Shelf& shelf = shelves_[i];
      const int ready = static_cast<int>(shelf.ready.size());
      // A step waits for it.
      if (ready < shelf.waiting) return Work{.kind = static_cast<HelperKind>(i)};
      if (!shelf.in_use || ready >= WarmOf(static_cast<HelperKind>(i))) continue;
      if (shelf.refill_at <= now) refill = static_cast<HelperKind>(i);
      next = std::min(next, shelf.refill_at);
    }
    if (!remains_.empty()) return std::nullopt;
    if (refill.has_value()) return Work{.kind = *refill};
    if (next == absl::InfiniteFuture()) {
      lock.Wait(changed_);
    } else {
      lock.WaitFor(changed_, next - now);
    }
  }
  return std::nullopt;
}

absl::StatusOr<std::unique_ptr<HelperProcess>> HelperPool::Start(HelperKind kind,
                                                                 CgroupTree& cgroups,
                                                                 uint64_t number) {
  const bool is_runtime = kind == HelperKind::kRuntime || kind == HelperKind::kIsolatedRuntime;
  HelperProcess::Start start;
  start.program_fd = program_.get();
  start.prepare.role = is_runtime ? wire::Role::kRuntime : wire::Role::kStep;
  start.prepare.network = kind == HelperKind::kNoNetwork || kind == HelperKind::kInsecureNoNetwork
                              ? wire::Network::kNew
                              : wire::Network::kHost;
  start.prepare.insecure = IsInsecure(kind);
  start.prepare.hide_unified = is_runtime && options_.hide_unified;
  if (!is_runtime) start.seccomp_fd = seccomp_.get();
  if (IsIsolated(kind)) {
    if (options_.isolated_network == nullptr) {
      return absl::InternalError("this worker has no isolated networks");
    }
    start.prepare.network = wire::Network::kGiven;
    ASSIGN_OR_RETURN(start.network, options_.isolated_network->Make());
  }
  ASSIGN_OR_RETURN(start.cgroup, cgroups.Create(absl::StrCat("run-", getpid(), "-", number)));
  start.on_end = [this](HelperRemains remains) {
    {
      MutexLock lock(mu_);
      remains_.push_back(std::move(remains));
    }
    changed_.notify_all();
  };
  return HelperProcess::Launch(std::move(start));
}

}  // namespace farm
