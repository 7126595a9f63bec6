#include "cli/temporaries.h"

#include <filesystem>
#include <set>
#include <system_error>
#include <utility>

#include "base/mutex.h"

namespace farm {
namespace {

struct Registered {
  Mutex mu;
  std::multiset<std::string> paths FARM_GUARDED_BY(mu);
};

// Never destroyed: a thread may still use it when static objects go.
Registered& AllTemporaries() {
  static auto* const all = new Registered;
  return *all;
}

void Remove(const std::string& path) {
  std::error_code ignored;  // It is about to be forgotten either way.
  std::filesystem::remove_all(path, ignored);
}

}  // namespace

ScopedTemporary::ScopedTemporary(std::string path) : path_(std::move(path)) {
  Registered& all = AllTemporaries();
  MutexLock lock(all.mu);
  all.paths.insert(path_);
}

ScopedTemporary::~ScopedTemporary() {
  if (path_.empty()) return;
  Remove(path_);
  Keep();
}

void ScopedTemporary::Keep() {
  Registered& all = AllTemporaries();
  MutexLock lock(all.mu);
  if (const auto found = all.paths.find(path_); found != all.paths.end()) all.paths.erase(found);
  path_.clear();
}

void RemoveTemporaries() {
  Registered& all = AllTemporaries();
  MutexLock lock(all.mu);
  for (const std::string& path : all.paths) Remove(path);
}

}  // namespace farm
