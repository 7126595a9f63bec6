#include "worker/rewrite_times_step.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "base/digest_proto.h"
#include "base/status_macros.h"
#include "layer/tar_reader.h"
#include "layer/tar_writer.h"
#include "layer/twin_sha256.h"
#include "oci/descriptor.h"
#include "worker/layer_output.h"
#include "worker/layer_tar.h"
#include "worker/spool.h"

namespace farm {
namespace {

// A layer that was made here is as TarWriter writes it: what is read and written again differs in
// nothing but times. The digest of what was written.
absl::StatusOr<Digest> RewriteTar(ByteSource& tar, absl::Time latest, int64_t bytes_max,
                                  ByteSink& out) {
  TwinSha256 hash;
  TarLimits limits;
  limits.bytes_max = bytes_max;
  TarReader reader(tar, limits);
  TarWriter writer(out, bytes_max, &hash);
  TarEntry entry;
  while (true) {
    ASSIGN_OR_RETURN(const bool more, reader.Next(&entry));
    if (!more) break;
    entry.mtime = std::min(entry.mtime, latest);
    RETURN_IF_ERROR(writer.AddEntry(entry));
    while (true) {
      ASSIGN_OR_RETURN(const absl::string_view data, reader.NextData());
      if (data.empty()) break;
      RETURN_IF_ERROR(writer.AddData(data));
    }
  }
  RETURN_IF_ERROR(reader.Drain());
  RETURN_IF_ERROR(writer.Finish());
  return hash.Finish();
}

absl::StatusOr<Table> RewriteTable(const Table& table, absl::Time latest) {
  std::vector<TableEntry> entries(table.entries().begin(), table.entries().end());
  for (TableEntry& entry : entries) entry.mtime = std::min(entry.mtime, latest);
  return Table::FromEntries(std::move(entries));
}

}  // namespace

absl::StatusOr<v1::StepResult> ExecuteRewriteTimes(const StepTools& tools, const StepRun& run) {
  const v1::RewriteTimesOperation& operation = run.spec.identity().rewrite_times();
  const absl::Time latest = absl::FromUnixSeconds(operation.latest());
  run.enter_phase(StepPhase::kRunning);
  StepTimes times{.started = tools.clock.Now(), .finished = {}};
  InputFetcher::Errand errand(run.spec, run.cancel);
  std::optional<Spool> spool;
  Digest diff_id;
  RETURN_IF_ERROR(
      ReadLayerTar(tools, run, operation.diff_id(), errand, [&](ByteSource& tar) -> absl::Status {
        spool.emplace(tools.tmp_dir);
        ASSIGN_OR_RETURN(diff_id, RewriteTar(tar, latest, tools.unpack.bytes_max, *spool));
        return absl::OkStatus();
      }));
  ASSIGN_OR_RETURN(const Table before, tools.inputs.FetchTable(run.spec.inputs().root(0).table()));
  ASSIGN_OR_RETURN(const Table table, RewriteTable(before, latest));
  times.finished = tools.clock.Now();

  run.enter_phase(StepPhase::kStoring);
  RETURN_IF_ERROR(spool->Store(diff_id, tools.blobs)) << "layer";
  v1::Descriptor form;
  form.set_media_type(kOciLayerType);
  *form.mutable_digest() = DigestToProto(diff_id);
  v1::StepResult result;
  RETURN_IF_ERROR(StoreTable(tools, diff_id, table, form, times, result));
  v1::ResourceUsage& usage = *result.mutable_usage();
  usage.set_fetched_bytes(errand.fetched_bytes);
  usage.set_stored_bytes(usage.stored_bytes() + diff_id.size_bytes());
  return result;
}

}  // namespace farm
