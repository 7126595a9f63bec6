#ifndef FARM_WORKER_NETWORK_REMOVER_H_
#define FARM_WORKER_NETWORK_REMOVER_H_

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "base/mutex.h"
#include "base/unique_fd.h"
#include "worker/route_netlink.h"

namespace farm {

// Takes down what ended networks leave on the host: interfaces, and what the kernel remembers of
// their connections. The kernel makes whoever removes an interface wait for some 20 ms, and for
// many at once as long as for one; so that happens on a thread of its own, for all that ended
// within a moment. Safe for concurrent calls.
class NetworkRemover {
 public:
  struct Network {
    int number = 0;
    std::string link;  // Its end on the host.
    uint32_t address = 0;
    UniqueFd namespace_fd;  // Kept until its interfaces are gone, which its end would remove, too.
  };
  // Called on the remover's thread for each network; with an error its number and address must not
  // be used again.
  using OnRemoved = std::function<void(int number, const absl::Status& status)>;

  // `host` is of the network namespace of the calling thread.
  NetworkRemover(RouteNetlink host, OnRemoved on_removed);
  // Returns when all are gone.
  ~NetworkRemover();

  void Add(Network network);

 private:
  void Run();
  std::vector<Network> TakeAll();
  absl::Status Remove(const std::vector<Network>& networks);

  const OnRemoved on_removed_;
  RouteNetlink host_;
  Mutex mu_;
  std::condition_variable changed_;
  std::vector<Network> ended_ FARM_GUARDED_BY(mu_);
  bool stopping_ FARM_GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace farm

#endif  // FARM_WORKER_NETWORK_REMOVER_H_
