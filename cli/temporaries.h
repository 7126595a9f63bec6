#ifndef FARM_CLI_TEMPORARIES_H_
#define FARM_CLI_TEMPORARIES_H_

#include <string>

namespace farm {

// A file or directory of ours that must not outlive us: removed, with all that is in it, by the
// destructor, or by RemoveTemporaries() if the program ends without destructors.
class ScopedTemporary {
 public:
  explicit ScopedTemporary(std::string path);
  ~ScopedTemporary();
  ScopedTemporary(const ScopedTemporary&) = delete;
  ScopedTemporary& operator=(const ScopedTemporary&) = delete;

  const std::string& path() const { return path_; }
  // It stays, or has another name now.
  void Keep();

 private:
  std::string path_;  // "" once it is kept.
};

// Removes those that are in scope anywhere. Safe for concurrent calls, but not for signal handlers.
void RemoveTemporaries();

}  // namespace farm

#endif  // FARM_CLI_TEMPORARIES_H_
