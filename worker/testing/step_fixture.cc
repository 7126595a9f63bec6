#include "worker/testing/step_fixture.h"

#include <stdlib.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/byte_stream.h"
#include "base/check.h"
#include "base/digest_proto.h"
#include "base/sha256.h"
#include "layer/differ.h"
#include "oci/descriptor.h"
#include "worker/overlay_snapshotter.h"

namespace farm {

StepWorld::StepWorld() {
  std::string dir = "/tmp/farm_steps_XXXXXX";
  FARM_CHECK(mkdtemp(dir.data()) != nullptr);
  dir_ = dir;
  for (const char* name : {"/steps", "/tmp"}) FARM_CHECK(mkdir((dir_ + name).c_str(), 0700) == 0);
  Open();
}

StepWorld::~StepWorld() {
  Close();
  std::filesystem::remove_all(dir_);
}

void StepWorld::Open() {
  trash_ = std::make_unique<Trash>(dir_ + "/trash");
  layers_ = LayerCache::Open({.dir = dir_ + "/layers", .boot_id = "boot"}, clock_, *trash_).value();
  caches_ =
      CacheDirectories::Open({.dir = dir_ + "/caches", .boot_id = "boot"}, clock_, *trash_).value();
  inputs_ = std::make_unique<InputFetcher>(blobs_, registry_, *layers_, dir_ + "/tmp");
  sources_ = std::make_unique<SourceClient>(source_options_);
  snapshotter_ = OverlaySnapshotter::Create(dir_, *trash_).value();
  executor_ = std::make_unique<LocalStepExecutor>(
      StepTools{.clock = clock_,
                .blobs = blobs_,
                .get_blobs = GetBlobsOneByOne(blobs_),
                .registry = registry_,
                .layers = *layers_,
                .caches = *caches_,
                .inputs = *inputs_,
                .snapshotter = *snapshotter_,
                .sandbox = sandbox_,
                .sources = *sources_,
                .trash = *trash_,
                .steps_dir = dir_ + "/steps",
                .tmp_dir = dir_ + "/tmp",
                .limits = {},
                .unpack = unpack_,
                .networks = {v1::NETWORK_MODE_NONE, v1::NETWORK_MODE_ISOLATED},
                .isolated_resolv_conf = [] { return std::string(kIsolatedResolvConf); }});
}

void StepWorld::Close() {
  mounts_.clear();
  stacks_.clear();
  executor_.reset();
  inputs_.reset();
  caches_.reset();
  sources_.reset();
  layers_.reset();
  snapshotter_.reset();
  trash_.reset();
}

void StepWorld::LimitUnpacking(const DecompressOptions& unpack) {
  Close();
  unpack_ = unpack;
  Open();
}

void StepWorld::LimitSources(const SourceClient::Options& options) {
  Close();
  source_options_ = options;
  Open();
}

void StepWorld::DropLayers() {
  Close();
  std::filesystem::remove_all(dir_ + "/layers");
  Open();
}

v1::LayerRef StepWorld::MakeLayer(const std::function<void(const ScratchDirectory&)>& fill) {
  const ScratchDirectory scratch;
  fill(scratch);
  StringSink tar;
  const PackedLayer packed = PackTree(scratch.Open().get(), {}, tar).value();
  FARM_CHECK_OK(PutBytes(blobs_, tar.bytes()).status());
  v1::LayerRef ref;
  *ref.mutable_diff_id() = DigestToProto(packed.diff_id);
  *ref.mutable_table() = DigestToProto(PutBytes(blobs_, packed.table.Encode()).value());
  v1::Descriptor& form = *ref.add_forms();
  form.set_media_type(kOciLayerType);
  *form.mutable_digest() = ref.diff_id();
  return ref;
}

v1::LayerRef StepWorld::RefOf(const v1::StepResult& result) {
  v1::LayerRef ref;
  *ref.mutable_diff_id() = result.layer().diff_id();
  *ref.mutable_table() = result.layer().table();
  *ref.add_forms() = result.layer().form();
  return ref;
}

v1::Digest StepWorld::MakeContext(std::vector<TableEntry> entries,
                                  const std::map<std::string, std::string>& contents) {
  for (TableEntry& entry : entries) {
    if (entry.type != EntryType::kFile) continue;
    const std::string& bytes = contents.at(entry.path);
    entry.content = DigestOf(bytes);
    FARM_CHECK_OK(PutBytes(blobs_, bytes).status());
  }
  const Table table = Table::FromEntries(std::move(entries)).value();
  return DigestToProto(PutBytes(blobs_, table.Encode()).value());
}

absl::StatusOr<v1::StepResult> StepWorld::Execute(const v1::StepSpec& spec) {
  phases_.clear();
  return Execute(spec, log_, [this](StepPhase phase) { phases_.push_back(phase); });
}

absl::StatusOr<v1::StepResult> StepWorld::Execute(const v1::StepSpec& spec, LogSink& log) {
  return Execute(spec, log, [](StepPhase) {});
}

absl::StatusOr<v1::StepResult> StepWorld::Execute(const v1::StepSpec& spec, LogSink& log,
                                                  std::function<void(StepPhase)> enter_phase) {
  return executor_->Execute(
      {.id = absl::StrCat("step-", ++next_id_),
       .spec = spec,
       .log = log,
       .cancel = cancel_,
       .enter_phase = std::move(enter_phase),
       .ask_ssh_agent = [this](const std::string& id, absl::string_view question,
                               CancelToken&) -> absl::StatusOr<std::string> {
         return ssh_agent ? ssh_agent(id, question) : absl::StrCat(id, ": ", question);
       }});
}

int StepWorld::Mount(const std::vector<v1::LayerRef>& chain) {
  v1::StepSpec spec;
  for (const v1::LayerRef& layer : chain) *spec.mutable_inputs()->add_root() = layer;
  CancelToken never;
  InputFetcher::Errand errand(spec, never);
  stacks_.push_back(inputs_->FetchLayers(spec.inputs().root(), errand).value());
  mounts_.push_back(
      snapshotter_
          ->Prepare(stacks_.back().directories(), absl::StrCat(dir_, "/mount-", mounts_.size()))
          .value());
  return mounts_.back()->root_fd();
}

std::string StepWorld::Leftovers() {
  caches_->WaitUntilMeasured();
  trash_->WaitUntilEmpty();
  std::vector<std::string> lines;
  for (const char* name : {"/steps", "/tmp", "/trash"}) {
    for (const auto& item : std::filesystem::directory_iterator(dir_ + name)) {
      lines.push_back(item.path());
    }
  }
  for (const auto& item : std::filesystem::directory_iterator(dir_ + "/layers")) {
    if (item.path().filename().string().starts_with("tmp-")) lines.push_back(item.path());
  }
  std::sort(lines.begin(), lines.end());
  const auto fds = std::filesystem::directory_iterator("/proc/self/fd");
  lines.push_back(absl::StrCat("descriptors ", std::distance(begin(fds), end(fds))));
  // Only its own: others mount on this host meanwhile.
  for (const absl::string_view line :
       absl::StrSplit(ReadFile("/proc/self/mountinfo").value(), '\n')) {
    if (absl::StrContains(line, dir_)) lines.emplace_back(line);
  }
  std::string text;
  for (const std::string& line : lines) absl::StrAppend(&text, line, "\n");
  return text;
}

}  // namespace farm
