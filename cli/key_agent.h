#ifndef FARM_CLI_KEY_AGENT_H_
#define FARM_CLI_KEY_AGENT_H_

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "cli/temporaries.h"

namespace farm {

// An ssh agent of this build's own, with keys from files: the programs ssh-agent and ssh-add of
// OpenSSH. It ends with this object, and with this process however that ends.
class KeyAgent {
 public:
  // Of a key's file.
  static constexpr int64_t kKeyBytesMax = 100 << 10;

  //   NOT_FOUND         a file, or OpenSSH is not installed
  //   INVALID_ARGUMENT  a file that is no private key, or one with a passphrase, which nobody is
  //                     asked for
  //   and other errors of reading and of starting programs
  static absl::StatusOr<std::unique_ptr<KeyAgent>> Start(const std::vector<std::string>& key_files);
  ~KeyAgent();
  KeyAgent(const KeyAgent&) = delete;
  KeyAgent& operator=(const KeyAgent&) = delete;

  // Path of its socket.
  std::string socket() const { return directory_.path() + "/agent"; }

 private:
  explicit KeyAgent(std::string directory) : directory_(std::move(directory)) {}

  absl::Status Run();
  absl::Status AddKey(const std::string& file);

  const ScopedTemporary directory_;  // for its user alone
  UniqueFd lifeline_;                // the agent ends when this is closed
  pid_t pid_ = -1;
};

}  // namespace farm

#endif  // FARM_CLI_KEY_AGENT_H_
