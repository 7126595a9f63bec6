#include "coordinator/testing/scripted_worker.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "base/time_proto.h"
#include "layer/testing/tar_builder.h"
#include "oci/manifest.h"

namespace farm {

TableEntry File(const std::string& path, const std::string& content, uint32_t mode) {
  TableEntry entry;
  entry.path = path;
  entry.type = EntryType::kFile;
  entry.mode = mode;
  entry.content = DigestOf(content);
  return entry;
}

bool ScriptedWorker::Turn(StepRunner& runner) {
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
  for (const std::string& parent : cgroup_parents) request.add_cgroup_parents(parent);
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

v1::LeaseState ScriptedWorker::Execute(const v1::Lease& lease) {
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

std::string ScriptedWorker::TarOf(const Table& table) {
  TarBuilder tar;
  for (const TableEntry& entry : table.entries()) {
    if (!texts.contains(entry.path)) return "tar of " + table.Encode();
    tar.File(entry.path, texts[entry.path]);
  }
  return table.empty() ? "tar of " + table.Encode() : tar.Build();
}

}  // namespace farm
