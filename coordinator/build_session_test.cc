// Builds with everything real but the disk, the registry and the worker: one thread, no clock.
#include "coordinator/build_session.h"

#include <gtest/gtest.h>

#include <functional>

#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/digest_proto.h"
#include "base/sha256.h"
#include "base/testing/fake_clock.h"
#include "base/testing/manual_executor.h"
#include "base/testing/status_matchers.h"
#include "base/thread_pool.h"
#include "base/time_proto.h"
#include "cas/completeness_checking_action_cache.h"
#include "cas/indexed_action_cache.h"
#include "cas/memory_blob_store.h"
#include "cas/memory_index.h"
#include "coordinator/image_sessions.h"
#include "coordinator/session_table.h"
#include "coordinator/store_collector.h"
#include "layer/testing/tar_builder.h"
#include "oci/image_config.h"
#include "oci/testing/fake_registry.h"
#include "oci/testing/image_documents.h"

namespace farm {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

TableEntry File(const std::string& path, const std::string& content, uint32_t mode = 0644) {
  TableEntry entry;
  entry.path = path;
  entry.type = EntryType::kFile;
  entry.mode = mode;
  entry.content = DigestOf(content);
  return entry;
}

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
  std::function<void(const v1::Lease&)> on_lease;  // before it is done
  int acknowledged = 0;

  // One exchange with the coordinator. True if something was done.
  bool Turn(StepRunner& runner) {
    v1::SynchronizeRequest request;
    request.set_worker(name_);
    request.set_incarnation(name_ + "-1");
    request.set_sequence(++sequence_);
    request.set_slots(slots);
    request.mutable_platform()->set_os("linux");
    request.mutable_platform()->set_architecture("amd64");
    request.add_networks(v1::NETWORK_MODE_HOST);
    request.set_isolated_missing(isolated_missing);
    request.set_insecure_allowed(insecure_allowed);
    for (const v1::LeaseState& state : states_) *request.add_leases() = state;
    const bool reports = !states_.empty();
    v1::SynchronizeResponse response;
    runner.Synchronize(request, [&response](absl::StatusOr<v1::SynchronizeResponse> r) {
      response = *std::move(r);
    });
    runner.AnswerAll();
    states_.clear();
    acknowledged += response.acknowledged_size();
    if (silent) return false;
    for (const v1::Lease& lease : response.leases()) {
      if (on_lease != nullptr) on_lease(lease);
      states_.push_back(Execute(lease));
    }
    return reports || !states_.empty();
  }

 private:
  v1::LeaseState Execute(const v1::Lease& lease) {
    v1::LeaseState state;
    *state.mutable_epoch() = lease.epoch();
    state.set_job(lease.job());
    state.set_phase(v1::LeaseState::PHASE_DONE);
    v1::StepResult& result = *state.mutable_result();
    *result.mutable_started() = TimeToProto(clock_.Now());
    *result.mutable_finished() = TimeToProto(clock_.Now());
    const v1::StepIdentity& identity = lease.spec().identity();
    std::string what;
    std::vector<TableEntry> entries;
    if (identity.has_run()) {
      what = identity.run().args(identity.run().args_size() - 1);
      const auto it = writes.find(what);
      entries = it != writes.end() ? it->second : std::vector<TableEntry>{File("ran", what)};
    } else if (identity.has_copy()) {
      what = "COPY " + identity.copy().dest();
      for (const v1::CopyItem& item : identity.copy().items()) {
        if (item.unpack_archive() && !archive.empty()) {
          entries = archive;
        } else if (texts.contains(item.name())) {
          entries.push_back(File(item.name(), texts[item.name()]));
        } else if (item.has_selection()) {
          const Digest table = *DigestFromProto(item.selection());
          const Table selection = *Table::Decode(*GetBytes(blobs_, table));
          entries.assign(selection.entries().begin(), selection.entries().end());
        } else {
          entries.push_back(File("copied-" + item.content().hash(), item.content().hash()));
        }
      }
    } else if (identity.has_make_directory()) {
      what = "MKDIR " + identity.make_directory().path();
    } else if (identity.has_unpack()) {
      what = "UNPACK";
      entries = writes["UNPACK " + identity.unpack().blob().digest().hash()];
    } else if (identity.has_push()) {
      what = "PUSH " + identity.push().repository();
      const Digest digest = *DigestFromProto(identity.push().blob().digest());
      if (registry != nullptr) {
        registry->AddBlob(identity.push().repository(), identity.push().blob().media_type(),
                          *GetBytes(blobs_, digest));
      }
    } else if (identity.has_fetch_file()) {
      const v1::FetchFileOperation& fetch = identity.fetch_file();
      what = "FETCH " + fetch.url();
      const std::string etag = DigestOf(files[fetch.url()]).hex();
      result.set_etag(etag);
      result.set_not_modified(lease.spec().execution().known_file().etag() == etag);
      entries = {File(fetch.file_name(), files[fetch.url()], 0600)};
      if (result.not_modified()) {
        *result.mutable_layer() = lease.spec().execution().known_file().layer();
        ran.push_back("ASK " + fetch.url());
        return state;
      }
    } else if (identity.has_resolve_git()) {
      ran.push_back("RESOLVE " + identity.resolve_git().ref());
      result.mutable_commit()->set_id(
          refs[identity.resolve_git().remote() + " " + identity.resolve_git().ref()]);
      return state;
    } else if (identity.has_fetch_git()) {
      what = "CHECKOUT " + identity.fetch_git().commit();
      const auto tree = trees.find(identity.fetch_git().commit());
      entries = tree != trees.end()
                    ? tree->second
                    : std::vector<TableEntry>{File("src", identity.fetch_git().commit())};
    } else if (identity.has_rewrite_times()) {
      what = absl::StrCat("REWRITE ", identity.rewrite_times().latest());
      entries = {File("rewritten", identity.rewrite_times().diff_id())};
    } else if (identity.has_compress()) {
      what = "COMPRESS";
      v1::Descriptor& blob = *result.mutable_blob();
      blob.set_media_type(kOciLayerGzipType);
      *blob.mutable_digest() = Store("gzip of " + identity.compress().diff_id());
    }
    ran.push_back(what);
    if (errors.contains(what)) {
      state.mutable_error()->set_code(static_cast<int>(errors[what].code()));
      state.mutable_error()->set_message(std::string(errors[what].message()));
      errors.erase(what);
      return state;
    }
    result.set_exit_code(exit_codes.contains(what) ? exit_codes[what] : 0);
    if (identity.has_push() || identity.has_compress() || result.exit_code() != 0) return state;
    // Times of what the step made are its own.
    for (TableEntry& entry : entries) {
      if (entry.mtime == absl::UnixEpoch()) {
        entry.mtime = absl::FromUnixSeconds(absl::ToUnixSeconds(clock_.Now()));
      }
    }
    const Table table = *Table::FromEntries(std::move(entries));
    v1::LayerResult& layer = *result.mutable_layer();
    const std::string tar = TarOf(table);
    *layer.mutable_diff_id() = Store(tar);
    if (identity.has_unpack() && !identity.unpack().diff_id().empty()) {
      layer.mutable_diff_id()->set_hash(identity.unpack().diff_id().substr(7));
    }
    layer.mutable_form()->set_media_type(kOciLayerType);
    *layer.mutable_form()->mutable_digest() = Store(tar);
    *layer.mutable_table() = Store(table.Encode());
    *layer.mutable_canonical() = DigestToProto(
        table.CanonicalDigest(TimeFromProto(result.started()), TimeFromProto(result.finished())));
    if (spoil) spoil(result);
    return state;
  }
  // Real if it is of `texts` alone.
  std::string TarOf(const Table& table) {
    TarBuilder tar;
    for (const TableEntry& entry : table.entries()) {
      if (!texts.contains(entry.path)) return "tar of " + table.Encode();
      tar.File(entry.path, texts[entry.path]);
    }
    return table.empty() ? "tar of " + table.Encode() : tar.Build();
  }
  v1::Digest Store(const std::string& bytes) { return DigestToProto(*PutBytes(blobs_, bytes)); }

  const std::string name_;
  MemoryBlobStore& blobs_;
  Clock& clock_;
  int64_t sequence_ = 0;
  std::vector<v1::LeaseState> states_;
};

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

TEST_F(BuildSessionTest, RunsEachStepAndMakesAnImage) {
  v1::StartBuildRequest request = Request("FROM scratch\nRUN one\nRUN two\nCMD [\"/x\"]\n");
  request.add_tags("app");
  const v1::BuildFinished done = Build(request);
  EXPECT_FALSE(done.has_error()) << done.error().message();
  EXPECT_THAT(worker_.ran, ElementsAre("one", "two"));
  EXPECT_THAT(ConfigOf(done), HasSubstr("\"Cmd\":[\"/x\"]"));
  EXPECT_THAT(std::vector<std::string>(done.image().tags().begin(), done.image().tags().end()),
              ElementsAre("app:latest"));
  EXPECT_OK(images_.Find("main", "app"));
}

TEST_F(BuildSessionTest, WarningsOfTheTargetAreEventsWithTheirRule) {
  EXPECT_FALSE(Build("FROM scratch as a\nMAINTAINER x\nFROM scratch\nCMD x\n").has_error());
  std::vector<std::string> rules;
  for (const v1::BuildEvent& event : events_) {
    if (event.has_warning()) {
      rules.push_back(absl::StrCat(event.warning().rule(), ":", event.warning().line()));
    }
  }
  EXPECT_THAT(rules,
              ElementsAre("FromAsCasing:1", "MaintainerDeprecated:2", "JSONArgsRecommended:4"));
}

TEST_F(BuildSessionTest, WarningsThatAreErrorsEndTheBuildBeforeItRuns) {
  const v1::BuildFinished done = Build("# check=error=true\nFROM scratch\nRUN a\nCMD x\n");
  EXPECT_THAT(done.error().message(),
              HasSubstr("lint violation found for rules: JSONArgsRecommended"));
  EXPECT_THAT(worker_.ran, IsEmpty());
}

TEST_F(BuildSessionTest, ARunForAnotherPlatformIsRefusedIfNoWorkerHasIt) {
  v1::StartBuildRequest request = Request("FROM scratch\nWORKDIR /w\nRUN a\n");
  request.mutable_platform()->set_os("linux");
  request.mutable_platform()->set_architecture("arm64");
  const v1::BuildFinished done = Build(request);
  EXPECT_THAT(done.error().message(),
              HasSubstr("no worker of this farm has linux/arm64, network host"));
  request.set_dockerfile("FROM scratch\nWORKDIR /w\n");
  EXPECT_FALSE(Build(request).has_error());
}

TEST_F(BuildSessionTest, ARunWithANetworkThatNoWorkerOffersIsRefused) {
  const v1::BuildFinished done = Build("FROM scratch\nWORKDIR /w\nRUN --network=none a\n");
  EXPECT_THAT(done.error().message(),
              HasSubstr("no worker of this farm has linux/amd64, network none"));
  EXPECT_EQ(done.error().line(), 3);
}

TEST_F(BuildSessionTest, ABuildWaitsForTheFirstWorkerAndSaysSo) {
  workers_.clear();
  const auto session = std::make_shared<BuildSession>(
      farm_, Session::Options{.id = "w1", .domain = "main"}, Request("FROM scratch\nRUN one\n"));
  std::vector<std::string> warnings;
  session->events().Watch(0, [&warnings](const EventStream::SharedEvent& event) {
    if (event->has_warning()) warnings.push_back(event->warning().message());
  });
  session->Start();
  Settle();
  EXPECT_THAT(warnings, ElementsAre(HasSubstr("no worker is at this farm")));
  EXPECT_FALSE(session->events().finished());
  workers_ = {&worker_};
  Settle();
  EXPECT_TRUE(session->events().finished());
}

TEST_F(BuildSessionTest, ASecondBuildRunsNothingAndGivesTheSameImage) {
  const std::string dockerfile = "FROM scratch\nRUN one\nRUN two\n";
  const v1::BuildFinished first = Build(dockerfile);
  clock_.Advance(absl::Hours(1));
  const v1::BuildFinished second = Build(dockerfile);
  EXPECT_THAT(worker_.ran, IsEmpty());
  EXPECT_EQ(second.image().steps_cached(), 2);
  EXPECT_EQ(first.image().config().hash(), second.image().config().hash());
}

TEST_F(BuildSessionTest, ALineMoreRunsOneStepMore) {
  Build("FROM scratch\nRUN one\n");
  Build("FROM scratch\nRUN one\nRUN two\n");
  EXPECT_THAT(worker_.ran, ElementsAre("two"));
}

TEST_F(BuildSessionTest, NoCacheRunsAll) {
  Build("FROM scratch\nRUN one\nRUN two\n");
  v1::StartBuildRequest request = Request("FROM scratch\nRUN one\nRUN two\n");
  request.set_no_cache(true);
  Build(request);
  EXPECT_THAT(worker_.ran, ElementsAre("one", "two"));
}

TEST_F(BuildSessionTest, AFailingTriggerIsToldWithTheImageThatItComesFrom) {
  v1::StartBuildRequest request = Request(
      "FROM scratch\nRUN one\nONBUILD RUN --mount=type=secret,id=s,required t\nONBUILD RUN "
      "fails\n");
  request.add_tags("base:1");
  Build(request);
  EXPECT_THAT(Build("# a line\nFROM base:1\n").error().message(),
              AllOf(HasSubstr("Dockerfile:2:1: secret s: not found"),
                    HasSubstr("(from the image base:1: ONBUILD RUN --mount=type=secret")));
  worker_.exit_codes["fails"] = 1;
  request = Request("# a line\nFROM base:1\n");
  request.add_secrets()->set_id("s");
  const v1::BuildFinished done = Build(request);
  EXPECT_THAT(done.error().message(),
              HasSubstr("exit code: 1 (from the image base:1: ONBUILD RUN fails)"));
  worker_.exit_codes.clear();
  worker_.errors["fails"] = absl::InvalidArgumentError("no such user");
  EXPECT_THAT(Build(request).error().message(),
              AllOf(HasSubstr("Dockerfile:2:1: [3/3] ONBUILD RUN fails: no such user"),
                    HasSubstr("(from the image base:1: ONBUILD RUN fails)")));
}

TEST_F(BuildSessionTest, AFailingCommandEndsTheBuildAndIsNotKept) {
  worker_.exit_codes["bad"] = 7;
  for (int i = 0; i < 2; ++i) {
    const v1::BuildFinished done = Build("FROM scratch\nRUN bad\nRUN after\n");
    EXPECT_THAT(done.error().message(), HasSubstr("exit code: 7"));
    EXPECT_NE(done.failed_step(), 0);
    EXPECT_THAT(worker_.ran, ElementsAre("bad"));
  }
}

TEST_F(BuildSessionTest, AnEqualLayerIsAdoptedSoThatNothingAfterItRuns) {
  const v1::BuildFinished first = Build("FROM scratch\nRUN make # v1\nRUN after\n");
  clock_.Advance(absl::Hours(1));
  worker_.writes["make # v2"] = {File("ran", "make # v1")};
  worker_.writes["make # v1"] = {File("ran", "make # v1")};
  const v1::BuildFinished second = Build("FROM scratch\nRUN make # v2\nRUN after\n");
  EXPECT_THAT(worker_.ran, ElementsAre("make # v2"));
  const auto adopted = std::find_if(events_.begin(), events_.end(), [](const v1::BuildEvent& e) {
    return e.step_finished().adopted();
  });
  EXPECT_NE(adopted, events_.end());
  EXPECT_FALSE(second.has_error());
  EXPECT_FALSE(first.has_error());
}

TEST_F(BuildSessionTest, ATimeThatTheStepSetItselfIsContent) {
  TableEntry touched = File("ran", "x");
  touched.mtime = absl::FromUnixSeconds(1000);
  worker_.writes["touch # v1"] = {touched};
  touched.mtime = absl::FromUnixSeconds(2000);
  worker_.writes["touch # v2"] = {touched};
  Build("FROM scratch\nRUN touch # v1\nRUN after\n");
  Build("FROM scratch\nRUN touch # v2\nRUN after\n");
  EXPECT_THAT(worker_.ran, ElementsAre("touch # v2", "after"));
}

TEST_F(BuildSessionTest, ACopyRunsAgainOnlyIfWhatItCopiesChanged) {
  const std::string dockerfile = "FROM scratch\nCOPY a /a\nCOPY b /b\n";
  SetContext({File("a", "1"), File("b", "1"), File("c", "1")});
  Build(dockerfile);
  SetContext({File("a", "1"), File("b", "1"), File("c", "2")});
  Build(dockerfile);
  EXPECT_THAT(worker_.ran, IsEmpty());
  SetContext({File("a", "1"), File("b", "2"), File("c", "2")});
  Build(dockerfile);
  EXPECT_THAT(worker_.ran, ElementsAre("COPY /b"));
  SetContext({File("a", "1", 0755), File("b", "2")});
  Build(dockerfile);
  EXPECT_THAT(worker_.ran, Contains("COPY /a"));
}

TEST_F(BuildSessionTest, ACopyFromAStageIsKeyedByContentAndNotByTheStage) {
  worker_.writes["make # v1"] = {File("out", "same"), File("log", "1")};
  worker_.writes["make # v2"] = {File("out", "same"), File("log", "2")};
  Build("FROM scratch AS b\nRUN make # v1\nFROM scratch\nCOPY --from=b /out /out\n");
  Build("FROM scratch AS b\nRUN make # v2\nFROM scratch\nCOPY --from=b /out /out\n");
  EXPECT_THAT(worker_.ran, ElementsAre("make # v2"));
}

TEST_F(BuildSessionTest, AContextThatNoWorkerWouldCopyIsRefusedBeforeAnythingRuns) {
  TableEntry file = File("a", "1");
  file.xattrs["trusted.overlay.opaque"] = "y";
  SetContext({file});
  const v1::BuildFinished done = Build("FROM scratch\nRUN one\nCOPY a /a\n");
  EXPECT_EQ(done.error().code(), static_cast<int>(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(done.error().message(),
              HasSubstr("build context: \"a\" has the xattr trusted.overlay.opaque"));
  EXPECT_THAT(worker_.ran, IsEmpty());
}

TEST_F(BuildSessionTest, StagesThatTheTargetDoesNotNeedAreLeftOut) {
  v1::StartBuildRequest request =
      Request("FROM scratch AS a\nRUN a\nFROM scratch AS b\nRUN b\nFROM scratch AS c\nRUN c\n");
  request.set_target("b");
  Build(request);
  EXPECT_THAT(worker_.ran, ElementsAre("b"));
}

TEST_F(BuildSessionTest, AMissingSourceIsAnErrorWithItsPlace) {
  SetContext({File("a", "1")});
  const v1::BuildFinished done = Build("FROM scratch\nCOPY nothing /x\n");
  EXPECT_EQ(done.error().line(), 2);
  EXPECT_THAT(done.error().message(), HasSubstr("nothing"));
}

TEST_F(BuildSessionTest, AMissingSourceIsToldBeforeAnythingRuns) {
  SetContext({File("a", "1")});
  for (const char* line : {"COPY --exclude=x nothing /x", "ADD nothing https://example.com/f /x/",
                           "RUN --mount=source=nothing,target=/x two"}) {
    const v1::BuildFinished done =
        Build(absl::StrCat("FROM scratch AS a\nRUN one\nFROM a\nCOPY a /a\n", line, "\n"));
    EXPECT_EQ(done.error().line(), 5) << line;
    EXPECT_THAT(done.error().message(), HasSubstr("\"/nothing\": not found")) << line;
    EXPECT_NE(done.failed_step(), 0) << line;
    EXPECT_THAT(worker_.ran, IsEmpty()) << line;
  }
}

TEST_F(BuildSessionTest, AStageThatTheTargetDoesNotNeedMayMissItsSource) {
  SetContext({File("a", "1")});
  EXPECT_FALSE(Build("FROM scratch\nCOPY nothing /x\nFROM scratch\nCOPY a /a\n").has_error());
}

TEST_F(BuildSessionTest, AMissingSourceIsToldWithThePatternThatExcludesIt) {
  SetContext({File("a", "1")});
  v1::StartBuildRequest request = Request("FROM scratch\nCOPY key /key\n");
  request.mutable_ignore_file()->set_name("app.dockerignore");
  request.mutable_ignore_file()->set_text("b\nk*\n");
  EXPECT_THAT(Build(request).error().message(), HasSubstr("app.dockerignore:2 excludes it"));
  request.mutable_ignore_file()->set_text("[");
  EXPECT_THAT(Build(request).error().message(), HasSubstr("app.dockerignore:1"));
}

TEST_F(BuildSessionTest, AUrlIsAskedForAtEachBuildAndItsFileIsCopiedOnlyIfItChanged) {
  const std::string url = "https://example.com/file";
  worker_.files[url] = "one";
  const std::string dockerfile = "FROM scratch\nADD " + url + " /f\nRUN use\n";
  Build(dockerfile);
  EXPECT_THAT(worker_.ran, ElementsAre("FETCH " + url, "COPY /f", "use"));
  Build(dockerfile);
  EXPECT_THAT(worker_.ran, ElementsAre("ASK " + url));
  EXPECT_THAT(Names(v1::StepFinished::OUTCOME_CACHED), SizeIs(3));
  worker_.files[url] = "two";
  Build(dockerfile);
  EXPECT_THAT(worker_.ran, ElementsAre("FETCH " + url, "COPY /f", "use"));
  worker_.files[url] = "one";
  Build(dockerfile);
  EXPECT_THAT(worker_.ran, ElementsAre("FETCH " + url));
}

TEST_F(BuildSessionTest, AFileThatIsLostIsFetchedAgainWholly) {
  const std::string url = "https://example.com/file";
  worker_.files[url] = "one";
  const std::string dockerfile = "FROM scratch\nADD " + url + " /f\n";
  Build(dockerfile);
  ASSERT_OK(blobs_.Delete(TarOf("fetch " + url)));
  Build(dockerfile);
  EXPECT_THAT(worker_.ran, ElementsAre("FETCH " + url));
}

TEST_F(BuildSessionTest, AFileOfAKnownChecksumIsNotAskedForWhereverItLies) {
  const std::string add = "ADD --checksum=" + DigestOf("one").oci() + " https://example.com/";
  worker_.files["https://example.com/a/file"] = "one";
  Build("FROM scratch\n" + add + "a/file /f\n");
  EXPECT_THAT(worker_.ran, ElementsAre("FETCH https://example.com/a/file", "COPY /f"));
  Build("FROM scratch\n" + add + "b/file /f\n");
  EXPECT_THAT(worker_.ran, IsEmpty());
}

TEST_F(BuildSessionTest, ABranchIsAskedForAtEachBuildAndItsCommitIsFetchedOnce) {
  const std::string remote = "https://example.com/r.git";
  worker_.refs[remote + " main"] = std::string(40, '1');
  const std::string dockerfile = "FROM scratch\nADD " + remote + "#main /src\n";
  Build(dockerfile);
  EXPECT_THAT(worker_.ran,
              ElementsAre("RESOLVE main", "CHECKOUT " + std::string(40, '1'), "COPY /src"));
  Build(dockerfile);
  EXPECT_THAT(worker_.ran, ElementsAre("RESOLVE main"));
  worker_.refs[remote + " main"] = std::string(40, '2');
  Build(dockerfile);
  EXPECT_THAT(worker_.ran,
              ElementsAre("RESOLVE main", "CHECKOUT " + std::string(40, '2'), "COPY /src"));
  Build("FROM scratch\nADD " + remote + "#" + std::string(40, '2') + " /src\n");
  EXPECT_THAT(worker_.ran, IsEmpty());
}

TEST_F(BuildSessionTest, ACommitThatIsNotTheOneExpectedEndsTheBuildAtItsLine) {
  worker_.refs["https://example.com/r.git main"] = std::string(40, '1');
  const v1::BuildFinished done =
      Build("FROM scratch\nADD --checksum=22 https://example.com/r.git#main /src\n");
  EXPECT_THAT(done.error().message(),
              AllOf(HasSubstr("Dockerfile:2:1"), HasSubstr("expected commit 22, got 1111")));
  EXPECT_THAT(worker_.ran, ElementsAre("RESOLVE main"));
}

TEST_F(BuildSessionTest, WhatCanNotBeFetchedEndsTheBuildAtItsLine) {
  const std::string url = "https://user:pass@example.com/file";
  worker_.errors["FETCH " + url] = absl::InvalidArgumentError("404 Not Found");
  const v1::BuildFinished done = Build("FROM scratch\nADD " + url + " /f\n");
  EXPECT_THAT(done.error().message(),
              AllOf(HasSubstr("Dockerfile:2:1"), HasSubstr("404 Not Found")));
  for (const v1::BuildEvent& event : events_) {
    for (const v1::PlannedStep& step : event.planned().steps()) {
      EXPECT_THAT(step.name(), Not(HasSubstr("pass")));
    }
  }
}

TEST_F(BuildSessionTest, ARepositoryOverSshIsRefusedBeforeAnythingRuns) {
  const v1::BuildFinished done = Build("FROM scratch\nRUN one\nADD git@example.com:r.git /src\n");
  EXPECT_THAT(done.error().message(),
              AllOf(HasSubstr("Dockerfile:3:1"), HasSubstr("needs an ssh agent")));
  EXPECT_THAT(worker_.ran, IsEmpty());
}

TEST_F(BuildSessionTest, WhatTheClientDidNotAllowIsRefusedBeforeAnythingRuns) {
  v1::StartBuildRequest request =
      Request("FROM scratch\nRUN one\nRUN --network=host two\nRUN --security=insecure three\n");
  EXPECT_THAT(Build(request).error().message(),
              AllOf(HasSubstr("Dockerfile:3:1"), HasSubstr("--allow network.host")));
  request.add_entitlements("network.host");
  EXPECT_THAT(Build(request).error().message(),
              AllOf(HasSubstr("Dockerfile:4:1"), HasSubstr("--allow security.insecure")));
  EXPECT_THAT(worker_.ran, IsEmpty());
  request.add_entitlements("security.insecure");
  worker_.insecure_allowed = true;
  EXPECT_FALSE(Build(request).has_error());
}

TEST_F(BuildSessionTest, ABuildWithTheHostsNetworkMaySaySoInALine) {
  v1::StartBuildRequest request = Request("FROM scratch\nRUN --network=host one\n");
  request.set_network(v1::NETWORK_MODE_HOST);
  EXPECT_FALSE(Build(request).has_error());
}

TEST_F(BuildSessionTest, AnInsecureRunThatNoWorkerPermitsIsRefusedWithItsLine) {
  // By its first step the worker is known.
  v1::StartBuildRequest request =
      Request("FROM scratch\nWORKDIR /w\nRUN --security=insecure one\n");
  request.add_entitlements("security.insecure");
  const v1::BuildFinished done = Build(request);
  EXPECT_EQ(done.error().line(), 3);
  EXPECT_THAT(done.error().message(), HasSubstr("insecure_allowed"));
  EXPECT_THAT(worker_.ran, ElementsAre("MKDIR /w"));
}

TEST_F(BuildSessionTest, WhatNoClientOfOursWouldAskForIsRefused) {
  v1::StartBuildRequest request = Request("FROM scratch\nRUN one\n");
  request.add_entitlements("device");
  EXPECT_THAT(Build(request).error().message(), HasSubstr("unknown entitlement \"device\""));
  request = Request("FROM scratch\nRUN one\n");
  v1::HostAlias& host = *request.add_extra_hosts();
  host.set_name("a\n10.0.0.1 b");
  host.set_address("10.0.0.1");
  EXPECT_THAT(Build(request).error().message(), HasSubstr("is no host name"));
  request = Request("FROM scratch\nRUN one\n");
  request.add_ulimits()->set_name("nofiles");
  EXPECT_THAT(Build(request).error().message(), HasSubstr("unknown ulimit"));
  request = Request("FROM scratch\nRUN one\n");
  for (int i = 0; i < 2; ++i) request.add_ulimits()->set_name("nofile");
  EXPECT_THAT(Build(request).error().message(), HasSubstr("nofile is given twice"));
  request = Request("FROM scratch\nRUN one\n");
  request.set_shm_bytes(-1);
  EXPECT_THAT(Build(request).error().message(), HasSubstr("/dev/shm"));
}

TEST_F(BuildSessionTest, AStepsSshAgentIsThatOfTheClient) {
  v1::StartBuildRequest request = Request("FROM scratch\nRUN --mount=type=ssh,id=a one\n");
  request.add_ssh_agents("a");
  const auto session =
      std::make_shared<BuildSession>(farm_, Session::Options{.id = "s", .domain = "main"}, request);
  std::vector<std::string> answers;
  worker_.on_lease = [&](const v1::Lease& lease) {
    EXPECT_THAT(lease.spec().execution().ssh_agents(), ElementsAre("a"));
    const auto ask = [&](const std::string& worker, const std::string& agent) {
      v1::AskSshAgentRequest question;
      question.set_worker(worker);
      *question.mutable_epoch() = lease.epoch();
      question.set_agent(agent);
      question.set_question("list");
      runner_.AskSshAgent(question, [&](absl::StatusOr<std::string> answer) {
        answers.push_back(
            answer.ok() ? *answer : std::string(absl::StatusCodeToString(answer.status().code())));
      });
    };
    ask("w1", "a");
    ask("w1", "b");
    ask("w2", "a");
  };
  // The client waits already.
  session->ssh_agents()->Poll({}, [&](absl::StatusOr<v1::AnswerSshAgentResponse> question) {
    ASSERT_OK(question.status());
    EXPECT_EQ(question->agent(), "a");
    v1::AnswerSshAgentRequest answer;
    answer.set_number(question->number());
    answer.set_answer(question->question() + " of a");
    session->ssh_agents()->Poll(answer, [](const auto&) {});
  });
  EXPECT_FALSE(Finish(session).has_error());
  EXPECT_THAT(answers, ElementsAre("list of a", "PERMISSION_DENIED", "ABORTED"));
}

TEST_F(BuildSessionTest, AnSshAgentThatIsRequiredAndNotThereEndsTheBuildAtItsLine) {
  const v1::BuildFinished done =
      Build("FROM scratch\nRUN --mount=type=ssh,id=a,required=true one\n");
  EXPECT_EQ(done.error().line(), 2);
  EXPECT_THAT(done.error().message(), HasSubstr("give it with --ssh a"));
  EXPECT_THAT(worker_.ran, IsEmpty());
}

TEST_F(BuildSessionTest, WhetherThereIsAnSshAgentIsInNoKey) {
  v1::StartBuildRequest request = Request("FROM scratch\nRUN --mount=type=ssh one\n");
  EXPECT_FALSE(Build(request).has_error());
  request.add_ssh_agents("default");
  EXPECT_EQ(Build(request).image().steps_cached(), 1);
}

TEST_F(BuildSessionTest, AStepIsNotJoinedByOneThatHasAnotherSshAgent) {
  v1::StartBuildRequest request = Request("FROM scratch\nRUN --mount=type=ssh one\n");
  const auto without = std::make_shared<BuildSession>(
      farm_, Session::Options{.id = "s1", .domain = "main"}, request);
  request.add_ssh_agents("default");
  const auto with = std::make_shared<BuildSession>(
      farm_, Session::Options{.id = "s2", .domain = "main"}, request);
  std::vector<int> agents;
  worker_.on_lease = [&](const v1::Lease& lease) {
    agents.push_back(lease.spec().execution().ssh_agents_size());
  };
  without->Start();
  EXPECT_FALSE(Finish(with).has_error());
  EXPECT_THAT(agents, UnorderedElementsAre(0, 1));
}

// ---- a context from a URL

class UrlContextTest : public BuildSessionTest {
 protected:
  // A repository whose branch main is commit `digit`, with this Dockerfile and file.
  void SetTree(char digit, const std::string& dockerfile, const std::string& file) {
    const std::string commit(40, digit);
    worker_.refs["https://example.com/r.git main"] = commit;
    worker_.trees[commit] = {File("Dockerfile", dockerfile), File("file", file),
                             File("key", "secret")};
    worker_.texts["Dockerfile"] = dockerfile;
  }
  static v1::StartBuildRequest UrlRequest(const std::string& url) {
    v1::StartBuildRequest request;
    request.set_dockerfile_name("Dockerfile");
    request.set_context_url(url);
    return request;
  }
  v1::BuildFinished BuildMain() { return Build(UrlRequest("https://example.com/r.git#main")); }

  const std::string first_ = std::string(40, '1');
  const std::string second_ = std::string(40, '2');
};

TEST_F(UrlContextTest, IsFetchedReadAndCopiedFrom) {
  SetTree('1', "FROM scratch\nCOPY file /f\n", "one");
  const v1::BuildFinished done = BuildMain();
  EXPECT_FALSE(done.has_error()) << done.error().message();
  EXPECT_THAT(worker_.ran, ElementsAre("RESOLVE main", "CHECKOUT " + first_, "COPY /", "COPY /f"));
  EXPECT_EQ(done.image().steps_ran(), 1);
  std::string text;
  for (const v1::BuildEvent& event : events_) text += event.dockerfile_read().text();
  EXPECT_EQ(text, "FROM scratch\nCOPY file /f\n");
  BuildMain();
  EXPECT_THAT(worker_.ran, ElementsAre("RESOLVE main"));
}

TEST_F(UrlContextTest, ACommitOfEqualFilesRunsNothing) {
  SetTree('1', "FROM scratch\nCOPY file /f\n", "one");
  BuildMain();
  SetTree('2', "FROM scratch\nCOPY file /f\n", "one");
  BuildMain();
  EXPECT_THAT(worker_.ran, ElementsAre("RESOLVE main", "CHECKOUT " + second_));
}

TEST_F(UrlContextTest, WhatItsIgnoreFileNamesIsNotThere) {
  SetTree('1', "FROM scratch\nCOPY key /k\n", "one");
  EXPECT_FALSE(BuildMain().has_error());
  worker_.trees[first_].push_back(File(".dockerignore", "/k*\n"));
  worker_.texts[".dockerignore"] = "/k*\n";
  v1::StartBuildRequest request = UrlRequest("https://example.com/r.git#main");
  request.set_no_cache(true);
  EXPECT_THAT(Build(request).error().message(),
              AllOf(HasSubstr("Dockerfile:2"), HasSubstr("not found"),
                    HasSubstr(".dockerignore:1 excludes it by \"k*\"")));
  worker_.texts["Dockerfile"] = "FROM scratch\nCOPY file /f\n";
  EXPECT_FALSE(Build(request).has_error());
}

TEST_F(UrlContextTest, WhatIsMissingInItIsToldBeforeAnyStepRuns) {
  SetTree('1', "FROM scratch\nRUN one\nCOPY nothing /f\n", "one");
  EXPECT_EQ(BuildMain().error().line(), 3);
  EXPECT_THAT(worker_.ran, ElementsAre("RESOLVE main", "CHECKOUT " + first_, "COPY /"));
}

TEST_F(UrlContextTest, ADockerfileFromElsewhereGoesBeforeItsOwn) {
  SetTree('1', "FROM scratch\nRUN own\n", "one");
  v1::StartBuildRequest request = UrlRequest("https://example.com/r.git#main");
  request.set_dockerfile("FROM scratch\nCOPY file /elsewhere\n");
  EXPECT_FALSE(Build(request).has_error());
  EXPECT_THAT(worker_.ran, ElementsAre("RESOLVE main", "CHECKOUT " + first_, "COPY /elsewhere"));
}

TEST_F(UrlContextTest, AMissingDockerfileIsNamed) {
  SetTree('1', "FROM scratch\n", "one");
  v1::StartBuildRequest request = UrlRequest("https://u:secret@example.com/r.git#main");
  worker_.refs["https://u:secret@example.com/r.git main"] = first_;
  request.set_dockerfile_path("docker/Dockerfile");
  const v1::BuildFinished done = Build(request);
  EXPECT_THAT(done.error().message(),
              AllOf(HasSubstr("open docker/Dockerfile: no such file"),
                    HasSubstr("use -f Dockerfile"), Not(HasSubstr("secret"))));
}

TEST_F(UrlContextTest, AnArchiveIsUnpacked) {
  const std::string url = "https://example.com/c.tgz";
  worker_.files[url] = "archive";
  worker_.texts["Dockerfile"] = "FROM scratch\nCOPY a /a\n";
  worker_.archive = {File("Dockerfile", worker_.texts["Dockerfile"]), File("a", "a")};
  const v1::BuildFinished done = Build(UrlRequest(url));
  EXPECT_FALSE(done.has_error()) << done.error().message();
  EXPECT_THAT(worker_.ran, ElementsAre("FETCH " + url, "COPY /", "COPY /", "COPY /a"));
  Build(UrlRequest(url));
  EXPECT_THAT(worker_.ran, ElementsAre("ASK " + url));
}

TEST_F(UrlContextTest, AFileThatIsNoArchiveIsADockerfile) {
  const std::string url = "https://example.com/app.Dockerfile";
  worker_.files[url] = worker_.texts["context"] = "FROM scratch\nRUN one\n";
  EXPECT_FALSE(Build(UrlRequest(url)).has_error());
  EXPECT_THAT(worker_.ran, ElementsAre("FETCH " + url, "COPY /", "one"));
  v1::StartBuildRequest request = UrlRequest(url);
  request.set_dockerfile_path("x");
  EXPECT_THAT(Build(request).error().message(), HasSubstr("it is no tar archive"));
}

TEST_F(UrlContextTest, ALostLayerIsFetchedAgainFromTheSameCommit) {
  SetTree('1', "FROM scratch\nCOPY file /f\nRUN one\n", "one");
  worker_.errors["COPY /f"] = absl::NotFoundError("a blob is lost");
  const v1::BuildFinished done = BuildMain();
  EXPECT_FALSE(done.has_error()) << done.error().message();
  EXPECT_THAT(worker_.ran, ElementsAre("RESOLVE main", "CHECKOUT " + first_, "COPY /", "COPY /f",
                                       "COPY /f", "one"));
}

TEST_F(UrlContextTest, OneThatChangedBeneathItsPlanEndsTheBuild) {
  const std::string url = "https://example.com/c.tgz";
  worker_.files[url] = "archive";
  worker_.texts["Dockerfile"] = "FROM scratch\nRUN one\nCOPY a /a\n";
  worker_.archive = {File("Dockerfile", worker_.texts["Dockerfile"]), File("a", "a")};
  worker_.errors["COPY /a"] = absl::NotFoundError("a blob is lost");
  worker_.spoil = [this, url](v1::StepResult&) {
    if (worker_.ran.back() != "one") return;
    worker_.files[url] = "another";
    worker_.archive.push_back(File("b", "b"));
  };
  EXPECT_THAT(Build(UrlRequest(url)).error().message(), HasSubstr("has changed since"));
}

TEST_F(UrlContextTest, WhatCanNotBeFetchedNamesTheContext) {
  worker_.errors["FETCH https://example.com/x"] = absl::InvalidArgumentError("404 Not Found");
  EXPECT_THAT(Build(UrlRequest("https://example.com/x")).error().message(),
              HasSubstr("build context https://example.com/x: 404 Not Found"));
  EXPECT_THAT(Build(UrlRequest("git@example.com:r.git")).error().message(),
              HasSubstr("needs an ssh agent"));
}

// ---- named contexts

class NamedContextTest : public BuildSessionTest {
 protected:
  // Of the client, with this text as "f"; "" if it was not sent.
  void AddFiles(const std::string& name, const std::string& text, v1::StartBuildRequest& request) {
    v1::NamedContext& context = *request.add_named_contexts();
    context.set_name(name);
    context.mutable_table();
    if (text.empty()) return;
    const Table table = *Table::FromEntries({File("f", text)});
    *context.mutable_table() = DigestToProto(*PutBytes(blobs_, table.Encode()));
  }
};

TEST_F(NamedContextTest, FilesAreCopiedByTheirContent) {
  const auto build = [this](const std::string& text) {
    v1::StartBuildRequest request = Request("FROM scratch\nCOPY --from=a f /f\n");
    AddFiles("unused", "", request);
    AddFiles("a:latest", text, request);
    const v1::BuildFinished done = Build(request);
    EXPECT_FALSE(done.has_error()) << done.error().message();
    return worker_.ran;
  };
  EXPECT_THAT(build("one"), ElementsAre("COPY /f"));
  EXPECT_THAT(build("two"), ElementsAre("COPY /f"));
  EXPECT_THAT(build("one"), IsEmpty());
}

TEST_F(NamedContextTest, FilesThatAreNeededButWereNotSentAreAskedFor) {
  v1::StartBuildRequest request = Request("FROM scratch\nCOPY --from=a f /f\n");
  AddFiles("a", "", request);
  const v1::BuildFinished done = Build(request);
  EXPECT_EQ(done.error().code(), static_cast<int>(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(done.error().message(), HasSubstr("context a"));
}

TEST_F(NamedContextTest, WhatIsMissingIsToldBeforeAnythingRuns) {
  v1::StartBuildRequest request =
      Request("FROM scratch AS a\nRUN one\nFROM a\nCOPY --from=c f g /d/\n");
  AddFiles("c", "text", request);
  request.mutable_named_contexts(0)->mutable_ignore_file()->set_name(".dockerignore");
  request.mutable_named_contexts(0)->mutable_ignore_file()->set_text("g");
  EXPECT_THAT(Build(request).error().message(),
              HasSubstr("\"/g\": not found in the context c: .dockerignore:1 excludes it"));
  EXPECT_THAT(worker_.ran, IsEmpty());
}

TEST_F(NamedContextTest, WhatAUrlLacksIsToldOnceItHasCome) {
  const std::string url = "https://example.com/file";
  v1::StartBuildRequest request =
      Request("FROM scratch AS a\nRUN one\nRUN two\nRUN three\nFROM a\nCOPY --from=c nothing /x\n");
  v1::NamedContext& context = *request.add_named_contexts();
  context.set_name("c");
  context.set_url(url);
  const v1::BuildFinished done = Build(request);
  EXPECT_EQ(done.error().line(), 6);
  EXPECT_THAT(worker_.ran, Not(Contains("three")));
}

TEST_F(NamedContextTest, AUrlIsFetchedOnlyIfItIsRead) {
  const std::string url = "https://example.com/file";
  worker_.files[url] = "one";
  v1::StartBuildRequest request = Request("FROM scratch AS b\nRUN one\nFROM b\n");
  v1::NamedContext& context = *request.add_named_contexts();
  context.set_name("a");
  context.set_url(url);
  EXPECT_FALSE(Build(request).has_error());
  EXPECT_THAT(worker_.ran, ElementsAre("one"));
  context.set_name("b");
  EXPECT_FALSE(Build(request).has_error());
  EXPECT_THAT(worker_.ran, ElementsAre("FETCH " + url, "COPY /"));
}

// The image of an OCI layout that a client has.
class LayoutContextTest : public NamedContextTest {
 protected:
  LayoutContextTest() {
    ImageConfig config;
    config.platform = {.os = "linux", .architecture = "amd64"};
    config.config.env = {"OF=layout"};
    documents_ = MakeImageDocuments(config, {{.media_type = kOciLayerType, .digest = layer_}});
  }

  v1::StartBuildRequest LayoutRequest(const std::string& dockerfile) {
    v1::StartBuildRequest request = Request(dockerfile);
    v1::NamedContext& context = *request.add_named_contexts();
    context.set_name("a");
    context.mutable_layout()->set_reference("a@" + documents_.manifest.digest.oci());
    return request;
  }
  void Send(v1::StartBuildRequest& request, bool complete = false) {
    v1::OciLayout& layout = *request.mutable_named_contexts(0)->mutable_layout();
    layout.clear_images();
    v1::OciLayout::Image& image = *layout.add_images();
    image.set_manifest_json(documents_.manifest_bytes);
    image.set_config_json(documents_.config_bytes);
    layout.set_complete(complete);
  }

  const Digest layer_ = DigestOf("layer");
  ImageDocuments documents_;
};

TEST_F(LayoutContextTest, ItIsABaseAndASourceAndHasNoName) {
  ASSERT_OK(PutBytes(blobs_, "layer"));
  worker_.writes["UNPACK " + layer_.hex()] = {File("f", "text")};
  v1::StartBuildRequest request = LayoutRequest("FROM a\nRUN one\nCOPY --from=a f /f\n");
  Send(request);
  const v1::BuildFinished done = Build(request);
  ASSERT_FALSE(done.has_error()) << done.error().message();
  EXPECT_THAT(worker_.ran, ElementsAre("UNPACK", "one", "COPY /f"));
  EXPECT_THAT(ConfigOf(done), AllOf(HasSubstr("OF=layout"), HasSubstr(layer_.oci())));
  EXPECT_THAT(images_.List(domain_, "a"), IsOkAndHolds(IsEmpty()));
  EXPECT_FALSE(Build(request).has_error());
  EXPECT_THAT(worker_.ran, IsEmpty());
}

TEST_F(LayoutContextTest, WhatWasNotSentIsAskedFor) {
  v1::StartBuildRequest request = LayoutRequest("FROM a\nRUN one\n");
  const v1::BuildFinished no_image = Build(request);
  EXPECT_EQ(no_image.error().code(), static_cast<int>(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(no_image.error().message(), HasSubstr("the image for linux/amd64"));
  Send(request);
  const v1::BuildFinished no_layer = Build(request);
  EXPECT_EQ(no_layer.error().code(), static_cast<int>(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(no_layer.error().message(), HasSubstr(layer_.oci()));
}

TEST_F(LayoutContextTest, APlatformThatItHasNotIsNamedWithThoseThatItHas) {
  ASSERT_OK(PutBytes(blobs_, "layer"));
  v1::StartBuildRequest request = LayoutRequest("FROM --platform=linux/arm64 a\n");
  Send(request, /*complete=*/true);
  const v1::BuildFinished done = Build(request);
  EXPECT_EQ(done.error().code(), static_cast<int>(absl::StatusCode::kNotFound));
  EXPECT_THAT(done.error().message(), AllOf(HasSubstr("linux/arm64"), HasSubstr("linux/amd64")));
}

TEST_F(LayoutContextTest, DocumentsThatDoNotFitAreRefused) {
  v1::StartBuildRequest request = LayoutRequest("FROM a\n");
  Send(request);
  v1::OciLayout::Image& image =
      *request.mutable_named_contexts(0)->mutable_layout()->mutable_images(0);
  image.set_config_json(image.config_json() + " ");
  EXPECT_THAT(Build(request).error().message(), HasSubstr("the manifest names another config"));
}

TEST_F(LayoutContextTest, ItsLayersAreLiveWhileTheBuildIsOpen) {
  ASSERT_OK(PutBytes(blobs_, "layer"));
  v1::StartBuildRequest request = LayoutRequest("FROM a\nRUN one\n");
  Send(request);
  BuildSession session(farm_, Session::Options{.id = "b", .domain = domain_}, request);
  Session::LiveBlobs live;
  session.AddLiveBlobs(live);
  EXPECT_THAT(live.blobs, Contains(layer_));
}

TEST_F(NamedContextTest, BadOnesAreRefused) {
  v1::StartBuildRequest request = Request("FROM scratch\n");
  v1::NamedContext& context = *request.add_named_contexts();
  context.set_name("A b");
  context.set_image("x");
  EXPECT_THAT(Build(request).error().message(), HasSubstr("invalid context name"));
  context.set_name("a");
  context.set_url("git@example.com:a/b.git");
  EXPECT_THAT(Build(request).error().message(), HasSubstr("ssh agent"));
  context.clear_source();
  EXPECT_THAT(Build(request).error().message(), HasSubstr("context a has no source"));
}

TEST_F(BuildSessionTest, ALostLayerIsMadeAgain) {
  const std::string dockerfile = "FROM scratch\nRUN one\nRUN two\n";
  Build(dockerfile);
  // The layer of "one" is gone from the store: its step is no hit any more.
  ASSERT_OK(blobs_.Delete(TarOf("one")));
  const v1::BuildFinished done = Build(dockerfile);
  EXPECT_FALSE(done.has_error()) << done.error().message();
  EXPECT_THAT(worker_.ran, ElementsAre("one"));
}

// Workers are told of the tar alone.
TEST_F(BuildSessionTest, ALostTarIsMadeAgainThoughTheLayerIsThereCompressed) {
  v1::StartBuildRequest request = Request("FROM scratch\nRUN one\n");
  request.add_tags("localhost:5000/app:v1");
  request.add_exports()->set_kind(v1::Export::KIND_PUSH);
  worker_.registry = &registry_;
  ASSERT_FALSE(Build(request).has_error());
  ASSERT_OK(blobs_.Delete(TarOf("one")));
  const v1::BuildFinished done = Build("FROM scratch\nRUN one\nRUN two\n");
  EXPECT_FALSE(done.has_error()) << done.error().message();
  EXPECT_THAT(worker_.ran, ElementsAre("one", "two"));
}

TEST_F(BuildSessionTest, AWorkerThatFindsABlobDamagedHasItMadeAgain) {
  Build("FROM scratch\nRUN one\n");
  worker_.errors["two"] = absl::DataLossError("layer is damaged");
  const v1::BuildFinished done = Build("FROM scratch\nRUN one\nRUN two\n");
  EXPECT_FALSE(done.has_error()) << done.error().message();
  EXPECT_THAT(worker_.ran, ElementsAre("two", "two"));
}

TEST_F(BuildSessionTest, AResultThatIsNoneEndsTheBuildAndIsNotKept) {
  worker_.spoil = [](v1::StepResult& result) {
    result.mutable_layer()->mutable_diff_id()->set_hash("no hash");
  };
  const v1::BuildFinished done = Build("FROM scratch\nRUN one\nRUN two\n");
  EXPECT_EQ(done.error().code(), static_cast<int>(absl::StatusCode::kInternal));
  EXPECT_THAT(done.error().message(), HasSubstr("diffID"));
  worker_.spoil = nullptr;
  EXPECT_FALSE(Build("FROM scratch\nRUN one\nRUN two\n").has_error());
  EXPECT_THAT(worker_.ran, ElementsAre("one", "two"));
}

TEST_F(BuildSessionTest, EqualStepsInFlightAreJoined) {
  auto one = std::make_shared<BuildSession>(farm_, Session::Options{.id = "x1", .domain = "main"},
                                            Request("FROM scratch\nRUN slow\n"));
  one->Start();
  const v1::BuildFinished two = Build("FROM scratch\nRUN slow\n");
  EXPECT_THAT(worker_.ran, ElementsAre("slow"));
  EXPECT_TRUE(one->events().finished());
  EXPECT_FALSE(two.has_error());
}

TEST_F(BuildSessionTest, DomainsShareNothing) {
  Build("FROM scratch\nRUN one\n");
  domain_ = "other";
  Build("FROM scratch\nRUN one\n");
  EXPECT_THAT(worker_.ran, ElementsAre("one"));
}

TEST_F(BuildSessionTest, ACancelledBuildStopsItsSteps) {
  worker_.silent = true;
  auto session = std::make_shared<BuildSession>(
      farm_, Session::Options{.id = "c1", .domain = "main"}, Request("FROM scratch\nRUN slow\n"));
  session->Start();
  Settle();
  EXPECT_EQ(scheduler_.leased(), 1);
  session->Cancel();
  EXPECT_TRUE(session->events().finished());
  EXPECT_EQ(scheduler_.leased(), 0);
  EXPECT_EQ(runner_.jobs(), 0);
}

TEST_F(BuildSessionTest, ALostWorkersStepRunsElsewhere) {
  worker_.silent = true;
  auto session = std::make_shared<BuildSession>(
      farm_, Session::Options{.id = "l1", .domain = "main"}, Request("FROM scratch\nRUN one\n"));
  session->Start();
  Settle();
  ScriptedWorker second("w2", blobs_, clock_);
  workers_ = {&second};
  clock_.Advance(absl::Minutes(1));
  Settle();
  runner_.OnTick();
  Settle();
  EXPECT_TRUE(session->events().finished());
  EXPECT_THAT(second.ran, ElementsAre("one"));
}

TEST_F(BuildSessionTest, ExplainNamesWhatIsNew) {
  Build("FROM scratch\nENV A=1\nRUN one\n");
  v1::StartBuildRequest request = Request("FROM scratch\nENV A=2\nRUN one\n");
  request.set_explain(true);
  Build(request);
  EXPECT_THAT(Reasons(), HasSubstr("variable A"));
}

TEST_F(BuildSessionTest, AStepThatFailedBeforeIsExplainedByThat) {
  worker_.exit_codes["one"] = 7;
  v1::StartBuildRequest request = Request("FROM scratch\nRUN one\n");
  request.set_explain(true);
  Build(request);
  EXPECT_EQ(Reasons(), "no earlier run of it is known");
  Build(request);
  EXPECT_EQ(Reasons(), "it failed when it ran last: exit code: 7");
  worker_.exit_codes.clear();
  request.set_dockerfile("FROM scratch\nENV A=1\nRUN one\n");
  Build(request);
  EXPECT_THAT(Reasons(), AllOf(HasSubstr("variable A"), HasSubstr("it failed when it ran last")));
  request.set_dockerfile("FROM scratch\nENV A=2\nRUN one\n");
  Build(request);
  EXPECT_THAT(Reasons(), Not(HasSubstr("failed")));
}

TEST_F(BuildSessionTest, AStepIsNotExplainedByTheOneInItsPlaceOfAnotherRepository) {
  v1::StartBuildRequest theirs = Request("FROM scratch\nRUN one\n");
  theirs.add_tags("theirs:1");
  Build(theirs);
  v1::StartBuildRequest ours = Request("FROM scratch\nRUN two\n");
  ours.add_tags("ours:1");
  ours.set_explain(true);
  Build(ours);
  EXPECT_THAT(Reasons(), HasSubstr("no earlier run"));
  ours.set_dockerfile("FROM scratch\nRUN three\n");
  ours.set_tags(0, "ours:2");
  Build(ours);
  EXPECT_THAT(Reasons(), HasSubstr("was: "));
}

TEST_F(BuildSessionTest, AScriptOfAnyLengthIsBuiltAndExplained) {
  const std::string run = "RUN <<EOF\n" + std::string(100'000, 'x') + "\nEOF\n";
  EXPECT_FALSE(Build("FROM scratch\nENV A=1\n" + run).has_error());
  v1::StartBuildRequest request = Request("FROM scratch\nENV A=2\n" + run);
  request.set_explain(true);
  EXPECT_FALSE(Build(request).has_error());
  EXPECT_THAT(Reasons(), HasSubstr("variable A"));
}

TEST_F(BuildSessionTest, RunIsRefusedWithTheReasonWhereNoWorkerHasItsNetwork) {
  farm_.run_network_default = v1::NETWORK_MODE_ISOLATED;
  worker_.isolated_missing = "it forwards no packets";
  const v1::BuildFinished done = Build("FROM scratch\nWORKDIR /w\nRUN one\n");
  EXPECT_THAT(done.error().message(), HasSubstr("network isolated"));
  EXPECT_THAT(done.error().message(), HasSubstr("it forwards no packets"));
  EXPECT_EQ(done.error().line(), 3);
}

TEST_F(BuildSessionTest, AStepThatCouldNotBeReadByItsWorkerIsRefused) {
  const v1::BuildFinished done = Build("FROM scratch\nWORKDIR /w\nRUN echo \xff\n");
  EXPECT_THAT(done.error().message(), HasSubstr("not UTF-8"));
}

TEST_F(BuildSessionTest, ALocalFarmsWorkerChoosesTheNetwork) {
  farm_.run_network_default = v1::NETWORK_MODE_UNSPECIFIED;
  EXPECT_FALSE(Build("FROM scratch\nRUN one\n").has_error());
}

TEST_F(BuildSessionTest, ABadTagIsRefusedBeforeAnythingRuns) {
  v1::StartBuildRequest request = Request("FROM scratch\nRUN one\n");
  request.add_tags("UPPER");
  EXPECT_THAT(Build(request).error().message(), HasSubstr("must be lowercase"));
  EXPECT_THAT(worker_.ran, IsEmpty());
}

TEST_F(BuildSessionTest, AnImportedTarIsAnImageThatFromFinds) {
  v1::ImportImageRequest import;
  *import.mutable_blob() = DigestToProto(*PutBytes(blobs_, "a tar"));
  import.set_tag("centos:7");
  import.add_changes("CMD [\"/bin/bash\"]");
  auto session = std::make_shared<ImportSession>(
      farm_, Session::Options{.id = "i1", .domain = "main"}, import);
  const v1::BuildFinished imported = Finish(session);
  EXPECT_FALSE(imported.has_error()) << imported.error().message();
  const v1::BuildFinished built = Build("FROM centos:7\nRUN mkdir /cc\n");
  EXPECT_FALSE(built.has_error()) << built.error().message();
  EXPECT_THAT(worker_.ran, ElementsAre("mkdir /cc"));
  EXPECT_THAT(ConfigOf(built), HasSubstr("/bin/bash"));
}

TEST_F(BuildSessionTest, AnImageThatCannotBeHadIsToldWithItsLineAndTheStageThatMayBeMeant) {
  const v1::BuildFinished done =
      Build("FROM scratch AS build\nFROM scratch\nCOPY --from=biuld /a /a\n");
  EXPECT_THAT(done.error().message(), HasSubstr("Dockerfile:3:1: "));
  EXPECT_THAT(done.error().message(), HasSubstr("(did you mean the stage build?)"));
  EXPECT_THAT(Names(v1::StepFinished::OUTCOME_FAILED),
              ElementsAre("[internal] load metadata for docker.io/library/biuld:latest"));
}

TEST_F(BuildSessionTest, AnImageThatCannotBeHadIsToldWithTheFarmsOwnThatMayBeMeant) {
  for (const char* tag : {"basis", "other:1"}) {
    v1::StartBuildRequest request = Request("FROM scratch\nRUN one\n");
    request.add_tags(tag);
    EXPECT_FALSE(Build(request).has_error());
  }
  EXPECT_THAT(Build("FROM bassi\n").error().message(),
              HasSubstr("(did you mean the farm's image basis:latest?)"));
  EXPECT_THAT(Build("FROM other\n").error().message(),
              HasSubstr("(did you mean the farm's image other:1?)"));
  EXPECT_THAT(Build("FROM another/thing\n").error().message(), Not(HasSubstr("did you mean")));
  registry_.RequireLogin("docker.io", {.username = "u", .password = "p", .identity_token = ""});
  EXPECT_THAT(Build("FROM bassi\n").error().message(), HasSubstr("image basis:latest?"));
}

TEST_F(BuildSessionTest, AnImageThatTheFarmHasForAnotherPlatformIsSaidToBeThat) {
  v1::StartBuildRequest request = Request("FROM scratch\nCMD x\n");
  request.mutable_platform()->set_os("linux");
  request.mutable_platform()->set_architecture("arm64");
  request.add_tags("app");
  ASSERT_FALSE(Build(request).has_error());
  EXPECT_THAT(Build("FROM app\n").error().message(),
              HasSubstr("; the farm has app:latest for linux/arm64 only"));
  EXPECT_THAT(Logs(), ElementsAre("[internal] load metadata for docker.io/library/app:latest|"
                                  "the farm has app:latest for linux/arm64 only: asking docker.io "
                                  "for linux/amd64\n"));
}

TEST_F(BuildSessionTest, ARegistryThatIsAskedAgainShowsInTheLogOfTheLookup) {
  registry_.AddImage("alpine", ImageConfig{.platform = {.os = "linux", .architecture = "amd64"}},
                     {});
  registry_.RemarkNext("registry docker.io: no answer; attempt 2 of 5 in 1s");
  EXPECT_FALSE(Build("FROM alpine\n").has_error());
  EXPECT_THAT(Logs(), ElementsAre("[internal] load metadata for docker.io/library/alpine:latest|"
                                  "registry docker.io: no answer; attempt 2 of 5 in 1s\n"));
}

TEST_F(BuildSessionTest, EachLookupIsShownWithItsOwnTime) {
  registry_.AddImage("one", ImageConfig{.platform = {.os = "linux", .architecture = "amd64"}}, {});
  EXPECT_TRUE(Build("FROM one\nFROM two\nCOPY --from=0 /a /a\n").has_error());
  EXPECT_THAT(Names(v1::StepFinished::OUTCOME_RAN),
              ElementsAre("[internal] load metadata for docker.io/library/one:latest"));
  EXPECT_THAT(Names(v1::StepFinished::OUTCOME_FAILED),
              ElementsAre("[internal] load metadata for docker.io/library/two:latest"));
  std::vector<std::string> order;
  for (const v1::BuildEvent& event : events_) {
    if (event.has_step_started())
      order.push_back(absl::StrCat("start ", event.step_started().id()));
    if (event.has_step_finished())
      order.push_back(absl::StrCat("end ", event.step_finished().id()));
  }
  EXPECT_THAT(order, ElementsAre("start 1", "end 1", "start 2", "end 2"));
}

TEST_F(BuildSessionTest, WhatWasUnderWayWhenABuildEndsIsShownAsCancelled) {
  v1::StartBuildRequest request = Request("FROM scratch\nRUN one\nRUN two\n");
  request.add_tags("localhost:5000/app:v1");
  request.add_exports()->set_kind(v1::Export::KIND_PUSH);
  worker_.slots = 1;  // The second push waits.
  worker_.errors["PUSH localhost:5000/app"] = absl::PermissionDeniedError("not yours");
  EXPECT_TRUE(Build(request).has_error());
  EXPECT_THAT(Names(v1::StepFinished::OUTCOME_FAILED),
              ElementsAre(HasSubstr("[export] push layer")));
  EXPECT_THAT(Names(v1::StepFinished::OUTCOME_CANCELLED),
              ElementsAre(HasSubstr("[export] push layer")));
}

TEST_F(BuildSessionTest, SourceDateEpochIsTheLatestTimeOfTheImage) {
  v1::StartBuildRequest request = Request("FROM scratch\nRUN one\n");
  (*request.mutable_build_args())["SOURCE_DATE_EPOCH"] = "0";
  const v1::BuildFinished done = Build(request);
  EXPECT_FALSE(done.has_error()) << done.error().message();
  EXPECT_THAT(ConfigOf(done), HasSubstr("\"created\":\"1970-01-01T00:00:00Z\""));
}

TEST_F(BuildSessionTest, TimesOfTheBuildsOwnLayersAreRewritten) {
  v1::StartBuildRequest request = Request("FROM scratch\nRUN one\nRUN two\n");
  request.add_tags("base");
  const v1::BuildFinished base = Build(request);
  request = Request("FROM base\nRUN three\n");
  request.add_tags("app");
  request.set_rewrite_timestamps(true);
  (*request.mutable_build_args())["SOURCE_DATE_EPOCH"] = "7";
  const v1::BuildFinished done = Build(request);
  EXPECT_FALSE(done.has_error()) << done.error().message();
  EXPECT_THAT(worker_.ran, ElementsAre("three", "REWRITE 7"));
  ASSERT_OK_AND_ASSIGN(const ImageConfig below, ParseImageConfig(ConfigOf(base)));
  ASSERT_OK_AND_ASSIGN(const ImageConfig config, ParseImageConfig(ConfigOf(done)));
  ASSERT_EQ(config.diff_ids.size(), 3u);
  EXPECT_EQ(config.diff_ids[0], below.diff_ids[0]);
  EXPECT_EQ(config.diff_ids[1], below.diff_ids[1]);
  // The manifest names the layers that the config does.
  const std::string manifest = *GetBytes(blobs_, *DigestFromProto(done.image().manifest()));
  for (const std::string& diff_id : config.diff_ids) EXPECT_THAT(manifest, HasSubstr(diff_id));
  // Again nothing runs.
  EXPECT_EQ(Build(request).image().manifest().hash(), done.image().manifest().hash());
  EXPECT_THAT(worker_.ran, IsEmpty());
}

TEST_F(BuildSessionTest, RewritingTimesNeedsATimeBeforeAnythingRuns) {
  v1::StartBuildRequest request = Request("FROM scratch\nRUN one\n");
  request.set_rewrite_timestamps(true);
  EXPECT_THAT(Build(request).error().message(), HasSubstr("needs a time"));
  EXPECT_THAT(worker_.ran, IsEmpty());
}

TEST_F(BuildSessionTest, PushCompressesAndPushesEachLayer) {
  v1::StartBuildRequest request = Request("FROM scratch\nRUN one\n");
  request.add_tags("localhost:5000/app:v1");
  request.add_exports()->set_kind(v1::Export::KIND_PUSH);
  worker_.registry = &registry_;
  const v1::BuildFinished done = Build(request);
  EXPECT_FALSE(done.has_error()) << done.error().message();
  EXPECT_THAT(worker_.ran, ElementsAre("one", "COMPRESS", "PUSH localhost:5000/app"));
  ASSERT_EQ(done.image().pushed_size(), 1);
  EXPECT_EQ(done.image().pushed(0).name(), "localhost:5000/app:v1");
}

// As many builds as the pool has threads may wait for one, and the store must answer all the same.
TEST_F(BuildSessionTest, EachExportOfLayersHasAManifestOfItsOwn) {
  v1::StartBuildRequest request = Request("FROM scratch\nRUN one\n");
  request.add_tags("app");
  for (const std::string compression : {"", "gzip"}) {
    v1::Export& wanted = *request.add_exports();
    wanted.set_kind(v1::Export::KIND_LAYERS);
    wanted.set_compression(compression);
  }
  request.add_exports()->set_kind(v1::Export::KIND_IMAGE);
  const v1::BuildFinished done = Build(request);
  EXPECT_FALSE(done.has_error()) << done.error().message();
  ASSERT_EQ(done.image().export_manifests_size(), 3);
  const auto media_type = [&](int i) {
    const Digest digest = *DigestFromProto(done.image().export_manifests(i));
    return ParseManifest(*GetBytes(blobs_, digest))->layers.at(0).media_type;
  };
  EXPECT_EQ(media_type(0), kOciLayerType);
  EXPECT_EQ(media_type(1), kOciLayerGzipType);
  EXPECT_EQ(done.image().export_manifests(2).hash(), "");
  EXPECT_EQ(images_.Find("main", "app")->manifest.layers.at(0).media_type, kOciLayerType)
      << "the tag stays where it is";
}

// After a power cut a name must lead to bytes.
TEST_F(BuildSessionTest, ASessionEndsOnceAllThatItNamesIsPublished) {
  v1::StartBuildRequest request = Request("FROM scratch\nRUN one\n");
  v1::Export& wanted = *request.add_exports();
  wanted.set_kind(v1::Export::KIND_LAYERS);
  wanted.set_compression("gzip");
  int published = 0;
  auto session = std::make_shared<BuildSession>(
      farm_, Session::Options{.id = "e1", .domain = "main"}, request);
  session->events().Watch(0, [&](const EventStream::SharedEvent& event) {
    if (!event->has_finished()) return;
    EXPECT_OK(index_.Scan(IndexTable::kAction, "", "",
                          [&](absl::string_view, absl::string_view) { return ++published > 0; }));
  });
  session->Start();
  // One turn of the pool at a time, the last work first: what is published comes late.
  for (int turn = 0; turn < 1000 && !session->events().finished(); ++turn) {
    loop_.RunAll();
    slow_pool_.RunAll();
    if (!pool_.RunLast()) worker_.Turn(runner_);
  }
  EXPECT_EQ(published, 2) << "the step and its compressed layer";
}

TEST_F(BuildSessionTest, ARegistryIsWaitedForApartFromTheRest) {
  auto session = std::make_shared<BuildSession>(
      farm_, Session::Options{.id = "r1", .domain = "main"}, Request("FROM alpine\nRUN one\n"));
  session->Start();
  loop_.RunAll();
  pool_.RunAll();
  EXPECT_THAT(registry_.calls(), IsEmpty());
  slow_pool_.RunAll();
  EXPECT_THAT(registry_.calls(), Not(IsEmpty()));
}

TEST_F(BuildSessionTest, ACancelledBuildPushesNoManifest) {
  v1::StartBuildRequest request = Request("FROM scratch\nRUN one\n");
  request.add_tags("localhost:5000/app:v1");
  request.add_exports()->set_kind(v1::Export::KIND_PUSH);
  worker_.registry = &registry_;
  auto session = std::make_shared<BuildSession>(
      farm_, Session::Options{.id = "p1", .domain = "main"}, request);
  session->Start();
  slow_pool_.RunAll();  // It has no base to resolve, and so only the push is left for it.
  for (bool moved = true; moved;) {
    while (!loop_.empty() || !pool_.empty()) {
      loop_.RunAll();
      pool_.RunAll();
    }
    moved = worker_.Turn(runner_) || !loop_.empty() || !pool_.empty();
  }
  ASSERT_THAT(worker_.ran, Contains("PUSH localhost:5000/app"));
  ASSERT_FALSE(slow_pool_.empty());
  session->Cancel();
  Settle();
  EXPECT_FALSE(registry_.HasManifest("localhost:5000/app:v1"));
}

TEST_F(BuildSessionTest, AfterItIsClosedNoPollOfAWorkerIsKept) {
  v1::SynchronizeRequest request;
  request.set_worker("w2");
  request.set_incarnation("w2-1");
  std::vector<absl::Status> answers;
  const auto poll = [&] {
    request.set_sequence(request.sequence() + 1);
    runner_.Synchronize(request, [&](absl::StatusOr<v1::SynchronizeResponse> answer) {
      answers.push_back(answer.status());
    });
  };
  poll();  // The first is answered at once, the next has to wait.
  poll();
  EXPECT_THAT(answers, ElementsAre(absl::OkStatus()));
  runner_.Close();
  poll();
  EXPECT_THAT(answers, ElementsAre(absl::OkStatus(), absl::OkStatus(),
                                   StatusIs(absl::StatusCode::kUnavailable)));
}

// A store that notes what is read of it.
class ReadLog final : public BlobStore {
 public:
  explicit ReadLog(BlobStore& inner) : inner_(inner) {}
  std::vector<Digest> read;

  absl::Status Get(const Digest& digest, int64_t offset, ByteSink& sink) override {
    read.push_back(digest);
    return inner_.Get(digest, offset, sink);
  }
  absl::Status Put(const Digest& digest, ByteSource& source) override {
    return inner_.Put(digest, source);
  }
  absl::Status PutFile(const Digest& digest, const std::string& path) override {
    return inner_.PutFile(digest, path);
  }
  absl::StatusOr<UniqueFd> OpenFile(const Digest& digest) override {
    return inner_.OpenFile(digest);
  }
  absl::StatusOr<std::vector<Digest>> FindMissing(absl::Span<const Digest> digests) override {
    return inner_.FindMissing(digests);
  }
  absl::Status Sync(absl::Span<const Digest> digests) override { return inner_.Sync(digests); }
  absl::Status Delete(const Digest& digest) override { return inner_.Delete(digest); }

 private:
  BlobStore& inner_;
};

class SessionTableTest : public BuildSessionTest {
 protected:
  absl::Status Start(const std::string& dockerfile) {
    return sessions_.Start(std::make_shared<BuildSession>(
        farm_, Session::Options{.id = sessions_.NewId(), .domain = "main"}, Request(dockerfile)));
  }
  SessionTable sessions_{{}, clock_};
};

TEST_F(SessionTableTest, OneThatIsIdleClosesAndRefusesWhatComes) {
  sessions_.Touch();
  EXPECT_FALSE(sessions_.CloseIfIdle(absl::Minutes(1)));
  clock_.Advance(absl::Minutes(2));
  EXPECT_TRUE(sessions_.CloseIfIdle(absl::Minutes(1)));
  EXPECT_THAT(Start("FROM scratch\nRUN one\n"), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_EQ(sessions_.open_sessions(), 0);
}

TEST_F(SessionTableTest, OneWithAnOpenSessionIsNotIdle) {
  EXPECT_OK(Start("FROM scratch\nRUN one\n"));
  clock_.Advance(absl::Hours(1));
  EXPECT_FALSE(sessions_.CloseIfIdle(absl::Minutes(1)));
  sessions_.Close();
  Settle();  // A session that was accepted is done all the same.
  EXPECT_EQ(sessions_.open_sessions(), 0);
  EXPECT_THAT(worker_.ran, ElementsAre("one"));
}

// An image without a tag is held by nothing else.
TEST_F(SessionTableTest, WhatItsClientHasYetToFetchIsHeldWhileAFinishedSessionIsKept) {
  v1::StartBuildRequest request = Request("FROM scratch\nRUN one\n");
  request.add_exports()->set_kind(v1::Export::KIND_LAYERS);
  const auto session = std::make_shared<BuildSession>(
      farm_, Session::Options{.id = "s1", .domain = "main"}, request);
  v1::BuiltImage image;
  session->events().Watch(0, [&image](const EventStream::SharedEvent& event) {
    if (event->has_finished()) image = event->finished().image();
  });
  EXPECT_OK(sessions_.Start(session));
  Settle();
  ASSERT_EQ(sessions_.open_sessions(), 0);
  EXPECT_THAT(sessions_.LiveBlobs().blobs,
              IsSupersetOf({TarOf("one"), *DigestFromProto(image.manifest()),
                            *DigestFromProto(image.config())}));
  clock_.Advance(absl::Minutes(6));
  sessions_.OnTick();
  EXPECT_THAT(sessions_.LiveBlobs().blobs, IsEmpty());
}

TEST_F(SessionTableTest, AFinishedSessionHoldsNothingThatNobodyFetches) {
  EXPECT_OK(Start("FROM scratch\nRUN one\n"));
  Settle();
  ASSERT_EQ(sessions_.open_sessions(), 0);
  EXPECT_THAT(sessions_.LiveBlobs().blobs, IsEmpty());
}

// A layer may be large, and is no table.
TEST_F(SessionTableTest, TheCollectorReadsTheContextsTableAlone) {
  SetContext({File("a", "1")});
  EXPECT_OK(Start("FROM scratch\nCOPY a /a\nRUN one\n"));
  Settle();
  worker_.silent = true;
  EXPECT_OK(Start("FROM scratch\nCOPY a /a\nRUN one\nRUN two\n"));
  Settle();
  ASSERT_EQ(sessions_.open_sessions(), 1);
  ReadLog read(blobs_);
  TableCache tables(read, 1000);
  ThreadPool loop({.threads = 1});
  CancelToken stopping;
  StoreCollector collector(clock_, loop, blobs_, index_, images_, tables, sessions_, stopping,
                           {.high_mark_bytes = 1, .low_mark_bytes = 0});
  clock_.Advance(absl::Hours(7));
  EXPECT_OK(collector.Collect());
  EXPECT_THAT(read.read, ElementsAre(*DigestFromProto(*context_)));
  EXPECT_THAT(blobs_.FindMissing(sessions_.LiveBlobs().blobs), IsOkAndHolds(IsEmpty()));
}

// Killed between a step's end and the index' write, a coordinator would lose work that is done.
TEST_F(BuildSessionTest, AResultIsAcknowledgedOnceItIsInTheActionCache) {
  auto session = std::make_shared<BuildSession>(
      farm_, Session::Options{.id = "b1", .domain = "main"}, Request("FROM scratch\nRUN one\n"));
  session->Start();
  while (worker_.ran.empty()) {
    loop_.RunAll();
    pool_.RunAll();
    slow_pool_.RunAll();
    worker_.Turn(runner_);
  }
  worker_.Turn(runner_);  // Reports the result; nothing is published yet, for the pool stands.
  EXPECT_EQ(worker_.acknowledged, 0);
  Settle();
  EXPECT_EQ(worker_.acknowledged, 1);
}

}  // namespace
}  // namespace farm
