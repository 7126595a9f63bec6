#include "worker/step_sources.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "layer/context_table.h"

namespace farm {

absl::StatusOr<SourceFiles> FetchSource(const StepTools& tools, const v1::CopySource& source,
                                        InputFetcher::Errand& errand) {
  SourceFiles files;
  switch (source.source_case()) {
    case v1::CopySource::kContextTable: {
      if (source.context_table().hash().empty()) {
        files.context.emplace();
        return files;
      }
      ASSIGN_OR_RETURN(files.context, tools.inputs.FetchTable(source.context_table()),
                       _ << "context");
      // The coordinator has done so, too; this host is ours to guard.
      RETURN_IF_ERROR(CheckContextTable(*files.context)) << "context";
      return files;
    }
    case v1::CopySource::kLayers: {
      ASSIGN_OR_RETURN(files.layers, tools.inputs.FetchLayers(source.layers().layers(), errand));
      return files;
    }
    case v1::CopySource::SOURCE_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError("a source of the step is not set");
}

bool IsCleanPath(absl::string_view path) {
  if (path.empty()) return true;
  for (const absl::string_view name : absl::StrSplit(path, '/')) {
    if (name.empty() || name == "." || name == "..") return false;
  }
  return !absl::StrContains(path, absl::string_view("\0", 1));
}

}  // namespace farm
