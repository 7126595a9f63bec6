#ifndef FARM_COORDINATOR_TESTING_SCRIPTED_WORKER_H_
#define FARM_COORDINATOR_TESTING_SCRIPTED_WORKER_H_

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "base/clock.h"
#include "base/digest_proto.h"
#include "cas/memory_blob_store.h"
#include "coordinator/step_runner.h"
#include "layer/table.h"
#include "oci/testing/fake_registry.h"

namespace farm {

// A file for tables, with the digest of its content.
TableEntry File(const std::string& path, const std::string& content, uint32_t mode = 0644);

// Runs what it is lent, without running anything: what a command leaves is scripted by its text.
class ScriptedWorker {
 public:
  ScriptedWorker(std::string name, MemoryBlobStore& blobs, Clock& clock)
      : name_(std::move(name)), blobs_(blobs), clock_(clock) {}

  // What a command writes, by its shell text. Unscripted: a file named after it.
  std::map<std::string, std::vector<TableEntry>> writes;
  std::map<std::string, int> exit_codes;
  std::map<std::string, absl::Status> errors;
  std::vector<std::string> ran;      // the shell text of each RUN, "COPY dest", "MKDIR path", …
  FakeRegistry* registry = nullptr;  // that a push goes to
  std::map<std::string, std::string> files;  // by URL: what a fetch gives
  std::map<std::string, std::string> refs;   // "remote ref" -> commit
  // By commit: its files. Else one that is named "src".
  std::map<std::string, std::vector<TableEntry>> trees;
  // By name: files that are copied with their text, in layers whose tars are real.
  std::map<std::string, std::string> texts;
  std::vector<TableEntry> archive;  // what a file holds that is to be unpacked; none: it is no tar
  int slots = 4;
  bool silent = false;                         // takes leases and never reports
  std::function<void(v1::StepResult&)> spoil;  // what it makes of a good result
  std::string isolated_missing;
  bool insecure_allowed = false;
  std::vector<std::string> cgroup_parents;
  std::function<void(const v1::Lease&)> on_lease;  // before it is done
  int acknowledged = 0;

  // One exchange with the coordinator. True if something was done.
  bool Turn(StepRunner& runner);

 private:
  v1::LeaseState Execute(const v1::Lease& lease);
  // Real if it is of `texts` alone.
  std::string TarOf(const Table& table);
  v1::Digest Store(const std::string& bytes) { return DigestToProto(*PutBytes(blobs_, bytes)); }

  const std::string name_;
  MemoryBlobStore& blobs_;
  Clock& clock_;
  int64_t sequence_ = 0;
  std::vector<v1::LeaseState> states_;
};

}  // namespace farm

#endif  // FARM_COORDINATOR_TESTING_SCRIPTED_WORKER_H_
