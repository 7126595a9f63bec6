#ifndef FARM_COORDINATOR_TESTING_SESSION_TEST_BASE_H_
#define FARM_COORDINATOR_TESTING_SESSION_TEST_BASE_H_

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/digest_proto.h"
#include "base/testing/fake_clock.h"
#include "base/testing/manual_executor.h"
#include "base/testing/status_matchers.h"
#include "cas/completeness_checking_action_cache.h"
#include "cas/indexed_action_cache.h"
#include "cas/memory_blob_store.h"
#include "cas/memory_index.h"
#include "coordinator/build_session.h"
#include "coordinator/testing/scripted_worker.h"
#include "oci/testing/fake_registry.h"

namespace farm {

// A farm in which all is real but the disk, the registry and the worker: one thread, no clock.
class BuildSessionTest : public testing::Test {
 protected:
  BuildSessionTest() {
    farm_.platform.set_os("linux");
    farm_.platform.set_architecture("amd64");
    farm_.run_network_default = v1::NETWORK_MODE_HOST;
  }

  void SetContext(std::vector<TableEntry> entries) {
    context_ = DigestToProto(*PutBytes(blobs_, Table::FromEntries(std::move(entries))->Encode()));
  }

  v1::StartBuildRequest Request(const std::string& dockerfile) {
    v1::StartBuildRequest request;
    request.set_dockerfile(dockerfile);
    request.set_dockerfile_name("Dockerfile");
    if (context_.has_value()) *request.mutable_context_table() = *context_;
    return request;
  }

  // Lets the farm work until nothing moves any more.
  void Settle() {
    for (bool moved = true; moved;) {
      while (!loop_.empty() || !pool_.empty() || !slow_pool_.empty()) {
        loop_.RunAll();
        pool_.RunAll();
        slow_pool_.RunAll();
      }
      moved = false;
      for (ScriptedWorker* worker : workers_) moved |= worker->Turn(runner_);
      moved |= !loop_.empty() || !pool_.empty();
    }
  }

  v1::BuildFinished Finish(const std::shared_ptr<Session>& session) {
    events_.clear();
    session->events().Watch(
        0, [this](const EventStream::SharedEvent& event) { events_.push_back(*event); });
    session->Start();
    Settle();
    EXPECT_FALSE(events_.empty());
    EXPECT_TRUE(events_.back().has_finished()) << "the session hangs";
    return events_.empty() ? v1::BuildFinished() : events_.back().finished();
  }

  v1::BuildFinished Build(v1::StartBuildRequest request) {
    worker_.ran.clear();
    auto session = std::make_shared<BuildSession>(
        farm_, Session::Options{.id = absl::StrCat("b", ++builds_), .domain = domain_},
        std::move(request));
    return Finish(session);
  }
  v1::BuildFinished Build(const std::string& dockerfile) { return Build(Request(dockerfile)); }

  std::string ConfigOf(const v1::BuildFinished& finished) {
    return *GetBytes(blobs_, *DigestFromProto(finished.image().config()));
  }

  std::vector<std::string> Names(v1::StepFinished::Outcome outcome) const {
    std::map<int, std::string> names;
    std::vector<std::string> found;
    for (const v1::BuildEvent& event : events_) {
      for (const v1::PlannedStep& step : event.planned().steps()) names[step.id()] = step.name();
      if (event.has_step_finished() && event.step_finished().outcome() == outcome) {
        found.push_back(names[event.step_finished().id()]);
      }
    }
    return found;
  }

  // "STEP|bytes" of each log event.
  std::vector<std::string> Logs() const {
    std::map<int, std::string> names;
    std::vector<std::string> logs;
    for (const v1::BuildEvent& event : events_) {
      for (const v1::PlannedStep& step : event.planned().steps()) names[step.id()] = step.name();
      if (event.has_log()) {
        logs.push_back(absl::StrCat(names[event.log().id()], "|", event.log().bytes()));
      }
    }
    return logs;
  }

  // The blob of the layer that the step gave whose name has `word` in it.
  Digest TarOf(const std::string& word) {
    Digest tar;
    EXPECT_OK(
        index_.Scan(IndexTable::kAction, "", "", [&](absl::string_view, absl::string_view value) {
          v1::ActionRecord record;
          record.ParseFromArray(value.data(), static_cast<int>(value.size()));
          if (!absl::StrContains(record.name(), word)) return true;
          tar = *DigestFromProto(record.result().layer().form().digest());
          return false;
        }));
    return tar;
  }

  std::string Reasons() const {
    std::string reasons;
    for (const v1::BuildEvent& event : events_) {
      absl::StrAppend(&reasons, absl::StrJoin(event.step_started().reasons(), "; "));
    }
    return reasons;
  }

  std::string domain_ = "main";
  int builds_ = 0;
  std::optional<v1::Digest> context_;
  std::vector<v1::BuildEvent> events_;
  FakeClock clock_;
  ManualExecutor loop_, pool_, slow_pool_;
  MemoryBlobStore blobs_{clock_};
  MemoryIndex index_;
  IndexedActionCache all_actions_{index_};
  CompletenessCheckingActionCache actions_{all_actions_, blobs_};
  Publisher publisher_{blobs_, index_, actions_};
  TableCache tables_{blobs_, 1 << 20};
  ImageStore images_{blobs_, index_, clock_};
  FakeRegistry registry_;
  Scheduler scheduler_{{}};
  StepRunner runner_{{}, clock_, loop_, pool_, publisher_, scheduler_};
  FarmContext farm_{.clock = clock_,
                    .loop = loop_,
                    .pool = pool_,
                    .slow_pool = slow_pool_,
                    .blobs = blobs_,
                    .actions = actions_,
                    .publisher = publisher_,
                    .tables = tables_,
                    .images = images_,
                    .registry = registry_,
                    .runner = runner_};
  ScriptedWorker worker_{"w1", blobs_, clock_};
  std::vector<ScriptedWorker*> workers_ = {&worker_};
};

}  // namespace farm

#endif  // FARM_COORDINATOR_TESTING_SESSION_TEST_BASE_H_
